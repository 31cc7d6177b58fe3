// Runs by a key: how many, how they ended, and each metric's mean with its interval.
import { get } from "../api.js";
import { h } from "../dom.js";
import { count, interval, metric, setting, shown } from "../format.js";
import { empty, intervalBar } from "../state.js";

/** The server measures as many at once. */
const MOST_METRICS = 20;
const listed = (name) => name.replace(/[\\,]/g, (unit) => `\\${unit}`);
const ORDER = ["succeeded", "running", "queued", "cancelled", "interrupted", "refused", "timeout", "failed"];

/** Keys that runs can be grouped by. */
export function groupKeys(known) {
  const fixed = ["recipe", "project", "status", "adapter", "runtime", "task", "seed", "who", "commit", "branch", "sweep_id"];
  return [...fixed, ...known.params.filter((each) => each.distinct > 1).map((each) => `params.${each.name}`),
    ...known.params.filter((each) => each.distinct <= 1).map((each) => `params.${each.name}`)];
}

/** The filter that leaves one group's runs. */
const within = (group, filter) => (filter ? `(${filter}) and ${group.filter}` : group.filter);

function statuses(found) {
  const total = Object.values(found).reduce((sum, each) => sum + each, 0) || 1;
  const names = [...ORDER.filter((name) => found[name]), ...Object.keys(found).filter((name) => !ORDER.includes(name) && found[name])];
  const words = names.map((name) => `${found[name]} ${name}`).join(", ");
  const bars = names.map((name) => {
    const bar = h(`i.${ORDER.includes(name) ? name : "other"}`);
    bar.style.width = `${(100 * found[name]) / total}%`;
    return bar;
  });
  return h("span.statuses", { role: "img", "aria-label": words, title: words }, bars);
}

function cell(found, scale) {
  if (!found || found.n === 0) return h("td.num.muted", "–");
  const range = interval(found);
  return h("td.num", { title: `${found.n} runs` }, h("span.row.tight.fixed", { style: { "justify-content": "flex-end" } },
    intervalBar(found.low, found.mean, found.high, scale[0], scale[1]), h("span", metric(found)), range ? h("span.interval", range) : null));
}

function scaleOf(groups, name) {
  const values = groups.flatMap((group) => { const m = group.metrics[name]; return m ? [m.low, m.high, m.mean] : []; }).filter((v) => typeof v === "number");
  return [Math.min(...values), Math.max(...values)];
}

/** The table of groups; `open(filter)` shows the runs of one. */
export async function groupTable(view, metrics, open, signal) {
  const query = { project: view.project, by: view.group, metric: metrics.slice(0, MOST_METRICS).map(listed).join(","), filter: view.filter, state: view.state };
  const { groups } = await get("/api/runs/groups", query, signal);
  if (!groups.length) return empty("group", "No runs to group", h("p", "No run fits the filter."));
  const shownMetrics = metrics.filter((name) => groups.some((group) => group.metrics[name] && group.metrics[name].n));
  const scales = Object.fromEntries(shownMetrics.map((name) => [name, scaleOf(groups, name)]));
  const rows = groups.map((group) => {
    const label = [group.key].flat().map((key) => (key === null ? "(not set)" : setting(key))).join(" · ");
    const go = h("button.button.ghost.small", { type: "button", onclick: () => open(within(group, view.filter)) }, h("bdi", label));
    return h("tr", h("td", go), h("td.num", count(group.count)), h("td", statuses(group.by_status)), shownMetrics.map((name) => cell(group.metrics[name], scales[name])));
  });
  const body = h("tbody", rows);
  const sort = sorter(body, rows);
  const byMetric = (name) => groups.map((group) => (group.metrics[name] && group.metrics[name].n ? group.metrics[name].mean : null));
  const title = shown(view.group.replaceAll("params.", "").replaceAll(",", " · "));
  const head = h("tr", sort("th", title, groups.map((group) => JSON.stringify(group.key))), sort("th.num", "Runs", groups.map((group) => group.count)), h("th", "Status"),
    shownMetrics.map((name) => sort("th.num", h("bdi", shown(name)), byMetric(name))));
  return h("table.plain.groups", { "aria-label": `Runs by ${shown(view.group)}` }, h("thead", head), body);
}

/** Heads that order the rows by the values they are given, largest first and then smallest first; nothing comes last. */
function sorter(body, rows) {
  return (kind, label, values) => {
    const cell = h(kind, { "aria-sort": "none" });
    const turn = () => {
      const down = cell.getAttribute("aria-sort") !== "descending";
      for (const other of cell.parentElement.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => (a === b ? 0 : (a < b ? 1 : -1) * (down ? 1 : -1));
      const places = values.map((_, at) => at).sort((a, b) => (values[a] === null) - (values[b] === null) || order(values[a], values[b]));
      body.append(...places.map((at) => rows[at]));
    };
    cell.append(h("button.head", { type: "button", onclick: turn }, label));
    return cell;
  };
}
