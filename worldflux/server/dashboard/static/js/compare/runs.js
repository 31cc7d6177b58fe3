// The runs that are compared: loaded, named, coloured, and what differs between them.
import { get } from "../api.js";
import { colour } from "../chart.js";
import { setting, shown } from "../format.js";

/** As many runs as a page compares. */
export const MOST = 50;
/** Where and from what a run came: no cause to group by. */
export const ABOUT = ["commit", "seed", "runtime"];
const FILED = /^(sweep|cost_guard|runs_dir|sync|name|tags|project|description|objective)(\.|$)/;

/** Ids of the address. */
export function wanted() {
  const ids = (new URLSearchParams(location.search).get("runs") || "").split(",").map((each) => each.trim()).filter(Boolean);
  return [...new Set(ids)].slice(0, MOST);
}

export function address(ids) { return `/compare?runs=${ids.join(",")}`; }

/** Load runs, six at a time; those that are gone are left out and counted. */
export async function load(ids) {
  const found = new Array(ids.length).fill(null);
  const queue = ids.map((id, place) => [id, place]);
  const faults = [];
  async function worker() {
    for (let next = queue.shift(); next; next = queue.shift()) {
      try { found[next[1]] = await get(`/api/runs/${next[0]}`); } catch (error) { faults.push([next[0], error]); }
    }
  }
  await Promise.all(Array.from({ length: 6 }, worker));
  const runs = found.filter(Boolean);
  runs.forEach((run, place) => { run.colour = colour(place); });
  label(runs);
  return { runs, faults };
}

/** A word for each run that tells it from the others: its name, else what differs, else its id. */
function label(runs) {
  const names = new Set(runs.map((run) => run.name));
  const alone = names.size === runs.length && !names.has("");
  const keys = alone ? [] : differing(runs).filter((key) => !ABOUT.includes(key)).slice(0, 2);
  for (const run of runs) {
    const parts = keys.map((key) => `${key.split(".").pop()}=${setting(value(run, key))}`);
    if (!alone && run.seed !== null && run.seed !== undefined) parts.push(`seed ${run.seed}`);
    run.label = shown([run.name || run.recipe, ...parts].filter(Boolean).join(" · "));
  }
  const taken = new Map();
  for (const run of runs) taken.set(run.label, (taken.get(run.label) || 0) + 1);
  for (const run of runs) if (taken.get(run.label) > 1) run.label += ` · …${run.id.slice(-6)}`;
}

/** A setting or fact of a run. */
export function value(run, key) {
  if (key === "recipe" || key === "adapter" || key === "runtime" || key === "project" || key === "status") return run[key];
  if (key === "commit") return run.git && run.git.commit ? run.git.commit.slice(0, 10) : null;
  if (key === "seed") return run.seed ?? (run.params || {}).seed;
  return (run.params || {})[key];
}

/** Keys of all settings, facts first. */
export function keysOf(runs) {
  const params = new Set(runs.flatMap((run) => Object.keys(run.params || {})));
  for (const each of ["recipe", "adapter", "seed", "runtime"]) params.delete(each);
  return ["recipe", "adapter", "runtime", "commit", "seed", ...[...params].sort()];
}

/** Keys in which the runs are not all the same; how they are filed does not count. */
export function differing(runs) {
  return keysOf(runs).filter((key) => !FILED.test(key) && new Set(runs.map((run) => JSON.stringify(value(run, key) ?? null))).size > 1);
}

/** Names of metrics, those that most runs have first. */
export function metricsOf(runs) {
  const seen = new Map();
  for (const run of runs) for (const name of Object.keys(run.metrics || {})) seen.set(name, (seen.get(name) || 0) + 1);
  const success = (name) => runs.some((run) => run.metrics[name] && run.metrics[name].kind === "success");
  return [...seen.keys()].sort((a, b) => seen.get(b) - seen.get(a) || success(b) - success(a) || (a < b ? -1 : 1));
}
