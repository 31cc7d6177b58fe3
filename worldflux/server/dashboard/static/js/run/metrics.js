// Curves of a run, one for each metric that has steps, drawn when they come into sight.
import { boot, download } from "../api.js";
import { colour, curves, erase } from "../chart.js";
import { h, later } from "../dom.js";
import { number, shown } from "../format.js";
import { icon } from "../icon.js";
import { recall, remember } from "../keep.js";
import { Curve, seriesNames } from "../series.js";
import { empty, waiting } from "../state.js";
import { complain } from "../toast.js";

const MOST_CHARTS = 120;
const LIVE = ["running", "queued"];

/** The metrics tab; it refreshes what is in sight while the run goes on. */
export class MetricsTab {
  constructor(view) {
    this.view = view;
    this.options = { weight: 0, log: false, time: false, ...recall("charts", {}) };
    this.element = h("div", waiting(2));
    this.charts = new Map();
    this.names = new Set();
    this.total = 0;
    this.next = null;
    this.turn = 0;
    this.sight = new IntersectionObserver((seen) => this.seen(seen), { rootMargin: "200px" });
    addEventListener("themechange", () => { for (const chart of this.charts.values()) if (chart.drawn) this.draw(chart); });
    this.find();
  }

  /** Look which metrics have curves; of a run that goes on there may be more later. */
  find() {
    this.finding ??= this.open().catch((error) => { this.next = null; if (!this.grid) this.element.replaceChildren(h("div.note.bad", shown(error.message))); })
      .finally(() => { this.finding = null; });
  }

  async open() {
    const { names, total, next } = await seriesNames(this.view.run, { after: this.next });
    const before = this.names.size;
    for (const name of names) this.names.add(name);
    this.total = Math.max(this.total, total, this.names.size);
    this.next = next;
    if (!this.names.size) {
      this.element.replaceChildren(empty("compare", "No curves", h("p", "Values with a step become curves. In a program that a recipe runs:"), h("code", 'worldflux.log({"loss": loss}, step=step)')));
      return;
    }
    if (!this.grid) this.lay();
    if (this.names.size > before) await this.choose();
  }

  /** Show the curves whose names have the text that is looked for: of all the run's metrics, also when not all names are here. */
  async choose() {
    const turn = ++this.turn;
    const text = this.search.value.trim().toLowerCase();
    let names = [...this.names].filter((name) => name.toLowerCase().includes(text));
    let total = text ? names.length : this.total;
    if (text && this.total > this.names.size) {
      ({ names, total } = await seriesNames(this.view.run, { match: text }));
      if (turn !== this.turn) return;
    }
    this.show(names.slice(0, MOST_CHARTS));
    const more = total - Math.min(names.length, MOST_CHARTS);
    this.rest.hidden = total > 0 && !more;
    if (!total) this.rest.textContent = "No metric has this in its name.";
    else if (more) this.rest.textContent = text ? `${more} more have this in their names; a longer text finds fewer.` : `${more} more metrics have curves; find them by name.`;
  }

  show(names) {
    const missing = new Set(names);
    for (const chart of this.charts.values()) chart.box.hidden = !missing.delete(chart.name);
    for (const name of missing) this.add(name);
    if (this.charts.size <= 2 * MOST_CHARTS) return;
    for (const chart of [...this.charts.values()]) if (chart.box.hidden) this.drop(chart);
  }

  lay() {
    this.grid = h("div.charts");
    this.rest = h("span.muted.small", { role: "status" });
    this.search = h("input", { type: "search", placeholder: "Find a metric", "aria-label": "Find a metric", oninput: later(() => this.choose().catch(complain), 120) });
    this.element.replaceChildren(h("div.chart-tools", this.search, this.tools(), h("span.muted.small", "Drag to zoom, double-click to go back."), this.rest), this.grid);
  }

  tools() {
    const change = () => { remember("charts", this.options); this.redraw(); };
    const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: this.options.weight, "aria-label": "Smoothing", oninput: () => { this.options.weight = Number(slider.value); amount.textContent = slider.value; change(); } });
    const amount = h("output.num", String(this.options.weight));
    const check = (key, label) => h("label", h("input", { type: "checkbox", checked: this.options[key], onchange: (event) => { this.options[key] = event.target.checked; change(); } }), label);
    return [h("label", "Smoothing", slider, amount), check("log", "Log scale"), check("time", "By time")];
  }

  add(name) {
    const canvas = h("div.canvas.still", { role: "img", "aria-label": `Curve of ${shown(name)}` }, "…");
    const last = h("span.muted.num");
    const wide = h("button.button.ghost.small.icon", { type: "button", "aria-label": "Wide", title: "Wide", onclick: () => { box.classList.toggle("wide"); this.draw(chart); } }, icon("compare"));
    const csv = h("button.button.ghost.small", { type: "button", title: "All points as CSV", onclick: () => download(`/api/runs/${this.view.run.id}/metrics.csv`, { name }, `${name.replaceAll("/", "_")}.csv`).catch(complain) }, icon("download"), "CSV");
    const box = h("section.card.chart", { data: { name } }, h("header", h("h3.clip", { title: shown(name) }, h("bdi", shown(name))), last, csv, wide), canvas);
    const chart = { name, canvas, box, last, curve: new Curve(this.view.run.id, name), drawn: false };
    this.charts.set(box, chart);
    this.grid.append(box);
    this.sight.observe(box);
  }

  drop(chart) {
    chart.gone = true;
    this.sight.unobserve(chart.box);
    this.charts.delete(chart.box);
    erase(chart.canvas);
    chart.box.remove();
  }

  seen(entries) {
    for (const entry of entries) {
      const chart = this.charts.get(entry.target);
      if (!chart) continue;
      chart.visible = entry.isIntersecting;
      if (chart.visible && !chart.asked) {
        chart.asked = true;
        this.follow(chart);
      }
    }
  }

  async load(chart, range) {
    try {
      await chart.curve.load(range);
      await this.draw(chart);
    } catch (error) {
      if (error.name === "AbortError") return;
      chart.asked = false;
      chart.canvas.textContent = shown(error.message);
    }
  }

  /** What came since is added; a curve that is drawn already outlives a failure, and is asked for anew. */
  async follow(chart) {
    if (!chart.curve.series) {
      if (!chart.curve.busy) await this.load(chart);
      return;
    }
    try {
      if (await chart.curve.more()) await this.draw(chart);
    } catch (error) {
      if (error.name !== "AbortError") chart.asked = false;
    }
  }

  async draw(chart) {
    const { canvas, curve: { series } } = chart;
    if (chart.gone) return;
    if (!series || !series.value.length) { canvas.textContent = "No points yet."; return; }
    if (!chart.drawn) canvas.replaceChildren();
    canvas.classList.remove("still");
    chart.drawn = true;
    const byTime = this.options.time && series.time;
    chart.last.textContent = number(chart.curve.latest);
    await curves(canvas, [{ name: chart.name, colour: colour(0), x: byTime ? series.time : series.step, y: series.value, min: series.min, max: series.max }],
      { ...this.options, dates: byTime, legend: false, zoom: byTime ? "time" : "step", zoomed: (from, to) => this.zoom(chart, from, to) });
  }

  /** A zoom into what was thinned out asks for all of that stretch. */
  zoom(chart, from, to) {
    const { curve } = chart;
    if (this.options.time || !curve.series) return;
    if (from === null && curve.range[0] === null) return;
    if (from !== null && !curve.series.downsampled) return;
    this.load(chart, from === null ? [null, null] : [Math.floor(from), Math.ceil(to)]);
  }

  redraw() { for (const chart of this.charts.values()) if (chart.drawn) this.draw(chart).catch(complain); }

  update() {
    this.find();
    for (const chart of this.charts.values()) if (chart.visible) this.follow(chart); else chart.asked = false;
  }

  shown() {
    if (LIVE.includes(this.view.run.status) && !boot.share) this.update();
    for (const chart of this.charts.values()) if (chart.drawn && window.Plotly) window.Plotly.Plots.resize(chart.canvas);
  }

  stop() { this.sight.disconnect(); for (const chart of this.charts.values()) erase(chart.canvas); }
}
