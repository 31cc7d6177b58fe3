// The logs of a run, one at a time.
import { h } from "../dom.js";
import { bytes, shown } from "../format.js";
import { empty } from "../state.js";
import { complain } from "../toast.js";
import { LogView } from "./log.js";

function names(run, manifest) {
  const streams = Object.keys(run.streams || {}).filter((name) => name.startsWith("log:")).map((name) => name.slice(4));
  const known = manifest ? manifest.logs.map((each) => each.name) : [];
  return [...new Set([...streams, ...known])];
}

export function logTab(view) {
  const box = h("div.stack");
  const all = names(view.run, view.manifest);
  if ((view.run.withheld || []).includes("logs")) return empty("file", "The log was not uploaded", h("p", "This run was synced with --no-logs. It is in the run's folder, below logs/."));
  if (!all.length) return empty("file", "No log yet", h("p", "Its lines come here as the run prints them."));
  let log = null;
  const open = (name) => {
    if (log) log.stop();
    log = new LogView(view.run, name);
    for (const each of tabs.children) each.setAttribute("aria-pressed", String(each.dataset.name === name));
    box.replaceChildren(...(all.length > 1 ? [tabs] : []), log.element);
    log.open().catch((error) => { if (error.status === 404) box.replaceChildren(empty("file", "The log is not here", h("p", shown(error.message)))); else complain(error); });
  };
  const size = (name) => (view.run.streams && view.run.streams[`log:${name}`] ? ` ${bytes(view.run.streams[`log:${name}`].bytes ?? view.run.streams[`log:${name}`])}` : "");
  const tabs = h("div.joined", all.map((name) => h("button.button.small", { type: "button", data: { name }, onclick: () => open(name) }, shown(name), size(name))));
  open(all[0]);
  return { element: box, update: () => {}, shown: () => log && log.draw() };
}
