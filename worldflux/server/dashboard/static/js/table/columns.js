// What a column of the runs table is called, how wide it is, and what it shows of a run.
import { h } from "../dom.js";
import { ago, count, duration, interval, metric, moment, money, setting, short, shown } from "../format.js";
import { evidence, status, support, tag } from "../state.js";

const span = (text, kind) => h(kind ? `span.${kind}` : "span", { title: text || null }, text);
const name = (text) => h("span", { title: shown(text || "") }, h("bdi", shown(text || "")));

const FIXED = [
  { id: "status", label: "Status", width: 118, sort: "status", cell: status, plain: (run) => run.status },
  { id: "recipe", label: "Recipe", width: 140, sort: "recipe", cell: (run) => name(run.recipe), plain: (run) => run.recipe },
  { id: "project", label: "Project", width: 104, sort: "project", cell: (run) => name(run.project), plain: (run) => run.project },
  { id: "task", label: "Task", width: 90, sort: "task", cell: (run) => name(run.task), plain: (run) => run.task },
  { id: "adapter", label: "Adapter", width: 150, sort: "adapter", cell: (run) => [name(run.adapter)], plain: (run) => run.adapter },
  { id: "runtime", label: "Runtime", width: 150, sort: "runtime", cell: (run) => [name(run.runtime), support(run.support)], plain: (run) => `${run.runtime} ${run.support}` },
  { id: "duration", label: "Duration", width: 104, number: true, sort: "duration", cell: (run) => span(took(run)), plain: (run) => run.duration_seconds },
  { id: "cost", label: "Cost", width: 76, number: true, sort: "cost", cell: (run) => span(money(run.cost_usd)), plain: (run) => run.cost_usd },
  { id: "created", label: "Created", width: 124, sort: "created_at", cell: (run) => h("span", { title: moment(run.created_at) }, ago(run.created_at)), plain: (run) => run.created_at },
  { id: "finished", label: "Finished", width: 136, sort: "finished_at", cell: (run) => h("span", { title: moment(run.finished_at) }, ago(run.finished_at)), plain: (run) => run.finished_at },
  { id: "commit", label: "Commit", width: 126, sort: "commit", cell: commit, plain: (run) => (run.git ? `${run.git.commit} ${run.git.dirty}` : "") },
  { id: "branch", label: "Branch", width: 120, sort: "branch", cell: (run) => name(run.git && run.git.branch), plain: (run) => run.git && run.git.branch },
  { id: "who", label: "Who", width: 120, sort: "who", cell: (run) => name(run.who), plain: (run) => run.who },
  { id: "seed", label: "Seed", width: 76, number: true, sort: "seed", cell: (run) => name(run.seed === null ? "" : run.seed), plain: (run) => run.seed },
  { id: "tags", label: "Tags", width: 170, cell: (run) => (run.tags || []).map((each) => tag(each)), plain: (run) => (run.tags || []).join(" ") },
  { id: "notes", label: "Notes", width: 220, cell: (run) => name(firstLine(run.notes)), plain: (run) => run.notes },
  { id: "attempt", label: "Attempt", width: 84, number: true, sort: "attempt", cell: (run) => span(count(run.attempt)), plain: (run) => run.attempt },
  { id: "sweep", label: "Sweep", width: 120, sort: "sweep_id", cell: (run) => name(run.sweep_id && short(run.sweep_id, 13)), plain: (run) => run.sweep_id },
  { id: "error", label: "Error", width: 260, cell: (run) => name(run.error && run.error.message), plain: (run) => run.error && run.error.message },
  { id: "evidence", label: "Evidence", width: 120, sort: "evidence", cell: (run) => evidence(run.evidence), plain: (run) => run.evidence },
  { id: "received", label: "Received", width: 136, sort: "received_at", cell: (run) => h("span", { title: moment(run.received_at) }, ago(run.received_at)), plain: (run) => run.received_at },
];

const OFTEN_EMPTY = ["adapter", "cost", "commit", "tags"];
const STANDARD = ["status", "recipe", "project", "adapter", "runtime"];
const STANDARD_END = ["duration", "cost", "created", "commit", "who", "tags"];

function took(run) {
  if (run.duration_seconds !== null && run.duration_seconds !== undefined) return duration(run.duration_seconds);
  if (run.status !== "running" || !run.started_at) return "";
  return duration(Math.max(0, Math.floor((Date.now() - Date.parse(run.started_at)) / 1000)));
}

function commit(run) {
  if (!run.git || !run.git.commit) return span("");
  const title = run.git.dirty ? "with changes that are not committed" : shown(run.git.commit);
  return [h("span.mono", { title }, shown(short(run.git.commit))), run.git.dirty ? h("span.badge", { title }, "dirty") : null];
}

const firstLine = (text) => (text ? text.split("\n", 1)[0] : "");

function metricColumn(id) {
  const key = id.slice("metrics.".length);
  return {
    id, label: key, width: 138, number: true, sort: id, key,
    cell: (run) => {
      const found = run.metrics && run.metrics[key];
      const range = interval(found);
      return [h("span", metric(found)), range ? h("span.interval", range) : null];
    },
    plain: (run) => run.metrics && run.metrics[key] && run.metrics[key].value,
  };
}

function paramColumn(id) {
  const key = id.slice("params.".length);
  const value = (run) => (run.params ? run.params[key] : undefined);
  return { id, label: key, width: 128, sort: id, key, cell: (run) => name(value(run) === undefined ? "" : setting(value(run))), plain: (run) => JSON.stringify(value(run)) };
}

/** The column of an id; null when there is none. */
export function column(id) {
  if (id.startsWith("metrics.")) return metricColumn(id);
  if (id.startsWith("params.")) return paramColumn(id);
  return FIXED.find((each) => each.id === id) || null;
}

export const fixed = () => FIXED.map((each) => each.id);

/** What is shown until somebody chooses: the usual facts, and the metrics most runs have. */
export function standard(known, project) {
  const metrics = [...known.metrics].sort((a, b) => b.runs - a.runs).slice(0, 4).map((each) => `metrics.${each.name}`);
  const first = STANDARD.filter((id) => id !== "project" || !project);
  return [...first, ...metrics, ...STANDARD_END];
}

/** Of the standard columns those that say something about some of the runs. */
export function telling(columns, runs) {
  if (!runs.length) return columns;
  return columns.filter((each) => !OFTEN_EMPTY.includes(each.id) || runs.some((run) => { const value = each.plain(run); return value !== null && value !== undefined && value !== ""; }));
}

/** Of these columns those in which the given runs are not all the same. */
export function differing(columns, runs) {
  if (runs.length < 2) return columns;
  return columns.filter((each) => {
    const first = each.plain(runs[0]);
    return runs.some((run) => each.plain(run) !== first);
  });
}
