// Curves of several runs in one picture, by run or by group.
import { curves } from "../chart.js";
import { h, later } from "../dom.js";
import { shown } from "../format.js";
import { loadSeries, seriesNames } from "../series.js";
import { complain } from "../toast.js";
import { grouped } from "./groups.js";

/** The part of the page; `regroup(key)` colours by group. */
export class CurvesPart {
  constructor(runs) {
    this.runs = runs;
    this.key = "";
    this.series = new Map();
    this.canvas = h("div.canvas.still", { role: "img", "aria-label": "Curves of the compared runs" }, "…");
    this.select = h("select", { "aria-label": "Metric", onchange: () => this.load() });
    this.weight = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0, "aria-label": "Smoothing", oninput: later(() => this.draw(), 30) });
    this.log = h("input", { type: "checkbox", onchange: () => this.draw() });
    this.mean = h("input", { type: "checkbox", onchange: () => this.draw() });
    const tools = [this.select, h("label.row.tight.muted.small", "Smoothing", this.weight), h("label.row.tight.muted.small", this.log, "Log scale"), h("label.row.tight.muted.small", this.mean, "Mean of each group")];
    this.element = h("section.card.chart.wide", { id: "curves" }, h("header", h("h2", "Curves"), h("div.row", tools)), this.canvas);
    addEventListener("themechange", () => this.draw());
  }

  async open() {
    const lists = await Promise.all(this.runs.slice(0, 20).map((run) => seriesNames(run).then((found) => found.names).catch(() => [])));
    const seen = new Map();
    for (const name of lists.flat()) seen.set(name, (seen.get(name) || 0) + 1);
    const names = [...seen.keys()].sort((a, b) => seen.get(b) - seen.get(a) || (a < b ? -1 : 1));
    if (!names.length) { this.canvas.textContent = "None of these runs has a metric with steps."; return; }
    this.select.replaceChildren(...names.map((name) => h("option", { value: name }, shown(name))));
    await this.load();
  }

  async load() {
    const name = this.select.value;
    try {
      const found = await Promise.all(this.runs.map((run) => loadSeries(run.id, [name]).then((series) => series[name]).catch(() => null)));
      if (name !== this.select.value) return;
      this.found = found;
      await this.draw();
    } catch (error) { complain(error); }
  }

  regroup(key) {
    this.key = key;
    this.draw().catch(complain);
  }

  async draw() {
    if (!this.found) return;
    if (!this.canvas.classList.contains("js-plotly-plot")) this.canvas.replaceChildren();
    this.canvas.classList.remove("still");
    const series = this.mean.checked ? this.means() : this.single();
    await curves(this.canvas, series, { weight: Number(this.weight.value), log: this.log.checked, xTitle: "step", yTitle: this.select.value, legend: series.length > 1 && series.length <= 16, zoom: this.select.value });
  }

  single() {
    const groups = grouped(this.runs, this.key);
    const tone = (run) => groups.find((group) => group.runs.includes(run)).colour;
    return this.runs.map((run, at) => ({ run, found: this.found[at] })).filter(({ found }) => found && found.step.length)
      .map(({ run, found }) => ({ name: run.label, colour: this.key ? tone(run) : run.colour, x: found.step, y: found.value }));
  }

  /** Mean of each group at the steps that all of its runs have, with the lowest and highest as a band. */
  means() {
    return grouped(this.runs, this.key).map((group) => {
      const found = group.runs.map((run) => this.found[this.runs.indexOf(run)]).filter((each) => each && each.step.length);
      const points = found.map((each) => new Map(each.step.map((step, at) => [step, each.value[at]])));
      const x = found.length ? found[0].step.filter((step) => points.every((each) => typeof each.get(step) === "number")) : [];
      const at = (step) => points.map((each) => each.get(step));
      const mean = (list) => list.reduce((sum, each) => sum + each, 0) / list.length;
      return { name: group.name, colour: group.colour, strong: true, x, y: x.map((step) => mean(at(step))), min: x.map((step) => Math.min(...at(step))), max: x.map((step) => Math.max(...at(step))) };
    }).filter((each) => each.x.length);
  }
}
