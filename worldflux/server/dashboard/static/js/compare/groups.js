// Groups of the compared runs: rates with intervals, means, and a paired test where seeds match.
import { colour } from "../chart.js";
import { h } from "../dom.js";
import { interval, metric, number, percent, setting, shown } from "../format.js";
import { meanInterval, paired, wilson } from "../stats.js";
import { intervalBar } from "../state.js";
import { ABOUT, differing, metricsOf, value } from "./runs.js";

/** Runs by their value of a key, in the order they were given. */
export function grouped(runs, key) {
  const groups = new Map();
  for (const run of runs) {
    const name = key ? setting(value(run, key) ?? null) : run.label;
    if (!groups.has(name)) groups.set(name, { name, runs: [], colour: key ? colour(groups.size) : run.colour });
    groups.get(name).runs.push(run);
  }
  return [...groups.values()];
}

/** One metric over a group: success rates pool their trials, other values have a mean. */
export function summary(group, name) {
  const found = group.runs.map((run) => run.metrics[name]).filter(Boolean);
  if (!found.length) return null;
  if (found.every((each) => each.kind === "success" && each.n)) {
    const [k, n] = [found.reduce((sum, each) => sum + each.k, 0), found.reduce((sum, each) => sum + each.n, 0)];
    const [low, high] = wilson(k, n);
    return { kind: "success", value: k / n, low, high, words: `${number(k)} of ${number(n)}` };
  }
  const values = found.map((each) => each.value).filter((each) => typeof each === "number");
  if (!values.length) return { kind: "value", value: found[0].value, low: null, high: null, words: "" };
  const { mean, low, high, n } = meanInterval(values);
  return { kind: "value", value: mean, low, high, unit: found[0].unit, words: n > 1 ? `${n} runs` : "" };
}

/** Differences of a metric between two groups at the seeds that both have. */
export function pairs(first, second, name) {
  const bySeed = (group) => {
    const seeds = new Map();
    for (const run of group.runs) {
      const seed = value(run, "seed");
      const found = run.metrics[name];
      if (seed !== null && seed !== undefined && found && typeof found.value === "number") seeds.set(String(seed), found.value);
    }
    return seeds;
  };
  const [a, b] = [bySeed(first), bySeed(second)];
  return [...a.keys()].filter((seed) => b.has(seed)).map((seed) => ({ seed, difference: b.get(seed) - a.get(seed) }));
}

function verdict(groups, name) {
  if (groups.length !== 2) return null;
  const found = pairs(groups[0], groups[1], name);
  if (found.length < 2) return h("span.muted", "needs two or more seeds that both have");
  const test = paired(found.map((each) => each.difference));
  const rate = groups[0].runs.some((run) => run.metrics[name] && run.metrics[name].kind === "success");
  const show = (each) => (rate ? `${(each * 100).toFixed(1)} pp` : number(each));
  const sign = test.mean > 0 ? "+" : "";
  const least = 2 / 2 ** test.n;
  const title = test.method.startsWith("exact") ? `${test.method}; with ${test.n} pairs p can not be below ${number(least)}` : test.method;
  return h("span", { title }, h("strong", `${sign}${show(test.mean)}`), test.low === null ? "" : h("span.interval", ` ${show(test.low)} to ${show(test.high)}`),
    ` p = ${test.p < 0.001 ? test.p.toExponential(1) : test.p.toFixed(3)}`, h("span.muted", ` (${test.n} pairs)`));
}

function scaleOf(found) {
  const values = found.filter(Boolean).flatMap((each) => [each.low, each.high, each.value]).filter((each) => typeof each === "number");
  return [Math.min(...values), Math.max(...values)];
}

function table(groups, names) {
  const test = groups.length === 2;
  const head = h("tr", h("th", "Metric"), groups.map((group) => h("th", h("span.dot", { style: { background: group.colour } }), h("bdi", shown(group.name)), h("span.muted", ` ${group.runs.length}`))),
    test ? h("th", { title: "Second minus first, at the seeds that both have" }, "Difference, paired by seed") : null);
  const rows = names.map((name) => {
    const found = groups.map((group) => summary(group, name));
    const [from, to] = found.some((each) => each && each.kind === "success") ? [0, 1] : scaleOf(found);
    const cell = (each) => (each ? h("td", h("span.row.tight", intervalBar(each.low, each.value, each.high, from, to), h("strong.num", each.kind === "success" ? percent(each.value) : metric(each)), h("span.interval", interval(each)), h("span.muted.small", each.words))) : h("td.muted", "–"));
    return h("tr", h("th", { scope: "row" }, h("bdi", shown(name))), found.map(cell), test ? h("td", verdict(groups, name)) : null);
  });
  return h("table.compare-table", { "aria-label": "Results by group" }, h("thead", head), h("tbody", rows));
}

/** The part of the page: a choice of the key, and the table. */
export function groupsPart(runs, start, changed) {
  const keys = differing(runs).filter((key) => key !== "seed");
  const names = metricsOf(runs);
  const box = h("div.body.flush");
  const select = h("select", { "aria-label": "Group by" }, h("option", { value: "" }, "each run alone"), keys.map((key) => h("option", { value: key }, shown(key))));
  const draw = () => {
    const groups = grouped(runs, select.value);
    box.replaceChildren(table(groups, names));
    changed(select.value);
  };
  select.value = keys.includes(start) ? start : "";
  select.addEventListener("change", draw);
  draw();
  return h("section.card", { id: "results" }, h("header", h("h2", "Results"), h("label.row.tight.muted.small", "Group by", select)), box);
}

/** The key that most likely splits the runs as meant: two values, each with several seeds. */
export function likelyKey(runs) {
  const scored = differing(runs).filter((key) => !ABOUT.includes(key)).map((key) => {
    const groups = grouped(runs, key);
    return { key, groups: groups.length, least: Math.min(...groups.map((group) => group.runs.length)) };
  }).filter((each) => each.least > 1);
  scored.sort((a, b) => a.groups - b.groups || b.least - a.least);
  return scored.length ? scored[0].key : "";
}
