// Where it ran: machine, system, packages, variables.
import { h } from "../dom.js";
import { bytes, count, short, shown } from "../format.js";
import { card, empty, facts } from "../state.js";
import { tree } from "./tree.js";

function packages(found) {
  const all = Object.entries(found);
  const body = h("tbody");
  const draw = (wanted) => body.replaceChildren(...all.filter(([name]) => name.toLowerCase().includes(wanted)).map(([name, version]) => h("tr", h("td", shown(name)), h("td.mono", shown(version)))));
  draw("");
  const search = h("input", { type: "search", placeholder: "Find a package", "aria-label": "Find a package", oninput: (event) => draw(event.target.value.trim().toLowerCase()) });
  const table = h("div", { style: { "max-height": "460px", overflow: "auto" } }, h("table.plain", { "aria-label": "Packages" }, body));
  return card(`Packages (${count(all.length)})`, table, search);
}

function accelerators(list) {
  if (!list.length) return "none";
  return h("ul", { style: { "list-style": "none" } }, list.map((each) => h("li", `${shown(each.vendor)} ${shown(each.model)}${each.memory_bytes ? `, ${bytes(each.memory_bytes)}` : ""}${each.compute_capability ? `, sm ${shown(each.compute_capability)}` : ""}`)));
}

export function environmentTab({ manifest }) {
  if (!manifest) return empty("file", "Not known yet", h("p", "It comes with the run's manifest."));
  const { environment: place, hardware, runtime } = manifest;
  const { name, plugin, plugin_version: version, ...rest } = runtime;
  const machine = hardware ? facts([["Processor", hardware.cpu.model ? shown(hardware.cpu.model) : ""], ["Cores", hardware.cpu.logical ? `${hardware.cpu.logical} logical${hardware.cpu.physical ? `, ${hardware.cpu.physical} physical` : ""}` : ""],
    ["Memory", bytes(hardware.memory_bytes)], ["Accelerators", accelerators(hardware.accelerators)], ["Driver", hardware.driver && shown(hardware.driver)], ["CUDA", hardware.cuda && shown(hardware.cuda)]]) : h("p.muted", "Not recorded.");
  const inputs = manifest.inputs.length ? card("Inputs", tree(manifest.inputs, 2)) : null;
  if (!place) return h("div.cards", card("Machine", machine));
  const variables = Object.entries(place.variables).map(([key, value]) => h("tr", h("td.mono.fit", shown(key)), h("td.mono", shown(value))));
  const forwarded = place.forwarded.map((key) => h("tr", h("td.mono.fit", shown(key)), h("td.muted", "given by name; its value is recorded nowhere")));
  return h("div.cards", h("div.split",
    h("div.cards", card("Machine", machine), card("System", facts([["System", shown(place.os)], ["Platform", shown(place.platform)], ["Python", shown(`${place.python.implementation} ${place.python.version}`)],
      ["Lock file", place.lock ? h("code", `${shown(place.lock.path || "")} ${short(place.lock.sha256, 16)}`) : "none"], ["WorldFlux", shown(manifest.producer.version)]])),
    card("Runtime", h("div.stack", facts([["Name", shown(name)], ["Plugin", h("code", shown(plugin || ""))], ["Version", shown(version || "")]]), tree(rest, 1))), inputs),
    packages(place.packages)),
  card("Variables", h("table.plain", { "aria-label": "Variables" }, h("tbody", variables, forwarded))));
}
