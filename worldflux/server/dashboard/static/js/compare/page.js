// Runs side by side.
import { get } from "../api.js";
import { command } from "../clip.js";
import { find, h } from "../dom.js";
import { plural, setting, shown } from "../format.js";
import { icon } from "../icon.js";
import { kind, media } from "../run/artifacts.js";
import { crumbs, start, title } from "../shell.js";
import { empty, waiting } from "../state.js";
import { complain } from "../toast.js";
import { CurvesPart } from "./curvespart.js";
import { groupsPart, likelyKey } from "./groups.js";
import { ParallelPart } from "./parallel.js";
import { address, differing, keysOf, load, value, wanted } from "./runs.js";

function legend(runs) {
  const ids = runs.map((run) => run.id);
  const chip = (run) => h("span.chip", h("span.dot", { style: { background: run.colour } }), h("a.clip", { href: `/runs/${run.id}`, title: run.label }, run.label),
    h("a.button.ghost.small.icon", { href: address(ids.filter((id) => id !== run.id)), "aria-label": `Leave out ${run.label}` }, icon("close")));
  return h("div.legend", runs.map(chip));
}

function differences(runs) {
  const box = h("div.body.flush");
  const all = h("input", { type: "checkbox", onchange: () => draw() });
  const varied = new Set(differing(runs));
  function row(key) {
    const first = JSON.stringify(value(runs[0], key) ?? null);
    const cells = runs.map((run) => {
      const found = value(run, key);
      const off = varied.has(key) && JSON.stringify(found ?? null) !== first;
      return h(off ? "td.off" : "td", h("bdi", found === null || found === undefined ? "–" : setting(found)));
    });
    return h(varied.has(key) ? "tr" : "tr.same", h("th", { scope: "row" }, shown(key)), cells);
  }
  function draw() {
    const keys = all.checked ? keysOf(runs) : [...varied];
    const head = h("tr", h("th", "Setting"), runs.map((run) => h("th", h("span.dot", { style: { background: run.colour } }), run.label)));
    box.replaceChildren(keys.length ? h("table.compare-table", { "aria-label": "Settings" }, h("thead", head), h("tbody", keys.map(row))) : h("p.muted", { style: { padding: "14px" } }, "All settings are the same."));
  }
  draw();
  return h("section.card", { id: "differences" }, h("header", h("h2", "Settings that differ"), h("label.row.tight.muted.small", all, "Show all")), box);
}

async function pictures(runs, place) {
  const lists = await Promise.all(runs.slice(0, 12).map((run) => get(`/api/runs/${run.id}/artifacts`).then((found) => found.artifacts).catch(() => [])));
  const paths = new Map();
  lists.forEach((list, at) => {
    for (const each of list) {
      if (!each.present || !["image", "film"].includes(kind(each)) || each.bytes > 40e6) continue;
      if (!paths.has(each.path)) paths.set(each.path, []);
      paths.get(each.path).push([runs[at], each]);
    }
  });
  const shared = [...paths].sort((a, b) => b[1].length - a[1].length).slice(0, 8);
  if (!shared.length) { place.remove(); return; }
  const parts = await Promise.all(shared.map(async ([path, found]) => {
    const figures = await Promise.all(found.map(async ([run, each]) => h("figure", await media(run.id, each), h("figcaption", h("span.dot", { style: { background: run.colour, display: "inline-block", width: "9px", height: "9px", "border-radius": "50%", "margin-right": "6px" } }), run.label))));
    return h("div", h("h3", shown(path)), h("div.across", figures));
  }));
  place.replaceChildren(h("header", h("h2", "Pictures and films")), h("div.body.media", parts));
}

function nothing() {
  return empty("compare", "Choose runs to compare", h("p", "In the table of runs, choose two or more (Space, or Shift with the arrow keys) and press c."),
    h("div.row", h("a.button.primary", { href: "/" }, "To the runs")), h("p.small", "A sweep over seeds gives each setting an interval, and pairs to test with:"), command("worldflux-run -m +recipe=cpu-smoke seed=1,2,3,4,5 params.episodes=300,600"));
}

async function open() {
  title("Compare");
  crumbs(h("span", "Compare"));
  const page = h("div.page.wide", waiting(4));
  find("#main").append(page);
  const ids = wanted();
  if (!ids.length) { page.replaceChildren(nothing()); return; }
  const { runs, faults } = await load(ids);
  const lost = faults.length ? h("p.note.warn", `${plural(faults.length, "run")} can not be shown: ${shown(faults[0][1].message)}`) : null;
  if (!runs.length) { page.replaceChildren(...[lost, nothing()].filter(Boolean)); return; }
  title(`Compare ${plural(runs.length, "run")}`);
  const curvesPart = new CurvesPart(runs);
  const results = groupsPart(runs, likelyKey(runs), (key) => curvesPart.regroup(key));
  const films = h("section.card", { id: "media" });
  const parts = [lost, legend(runs), results, curvesPart.element, differences(runs), runs.length > 1 ? new ParallelPart(runs).element : null, films];
  page.replaceChildren(h("div.cards", parts.filter(Boolean)));
  await Promise.all([curvesPart.open(), pictures(runs, films)]);
}

start();
open().catch(complain);
