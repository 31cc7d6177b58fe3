// Curves of a run, one for each metric that has steps, drawn when they come into sight.
import { boot, download } from "../api.js";
import { colour, curves, erase } from "../chart.js";
import { h, later } from "../dom.js";
import { number, shown } from "../format.js";
import { icon } from "../icon.js";
import { recall, remember } from "../keep.js";
import { loadSeries, seriesNames } from "../series.js";
import { empty, waiting } from "../state.js";
import { complain } from "../toast.js";

const MOST_CHARTS = 120;

/** The metrics tab; it refreshes what is in sight while the run goes on. */
export class MetricsTab {
  constructor(view) {
    this.view = view;
    this.options = { weight: 0, log: false, time: false, ...recall("charts", {}) };
    this.element = h("div", waiting(2));
    this.charts = new Map();
    this.sight = new IntersectionObserver((seen) => this.seen(seen), { rootMargin: "200px" });
    addEventListener("themechange", () => { for (const chart of this.charts.values()) if (chart.drawn) this.draw(chart); });
    this.open().catch((error) => this.element.replaceChildren(h("div.note.bad", shown(error.message))));
  }

  async open() {
    const names = await seriesNames(this.view.run);
    if (!names.length) {
      this.element.replaceChildren(empty("compare", "No curves", h("p", "Values with a step become curves. In a program that a recipe runs:"), h("code", 'worldflux.log({"loss": loss}, step=step)')));
      return;
    }
    this.grid = h("div.charts");
    const search = h("input", { type: "search", placeholder: "Find a metric", "aria-label": "Find a metric", oninput: later(() => this.filter(search.value), 120) });
    this.element.replaceChildren(h("div.chart-tools", search, this.tools(), h("span.muted.small", "Drag to zoom, double-click to go back.")), this.grid);
    for (const [place, name] of names.slice(0, MOST_CHARTS).entries()) this.add(name, place);
    if (names.length > MOST_CHARTS) this.element.append(h("p.muted.small", `${names.length - MOST_CHARTS} more metrics have curves; find them by name.`));
  }

  tools() {
    const change = () => { remember("charts", this.options); this.redraw(); };
    const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: this.options.weight, "aria-label": "Smoothing", oninput: () => { this.options.weight = Number(slider.value); amount.textContent = slider.value; change(); } });
    const amount = h("output.num", String(this.options.weight));
    const check = (key, label) => h("label", h("input", { type: "checkbox", checked: this.options[key], onchange: (event) => { this.options[key] = event.target.checked; change(); } }), label);
    return [h("label", "Smoothing", slider, amount), check("log", "Log scale"), check("time", "By time")];
  }

  add(name, place) {
    const canvas = h("div.canvas.still", { role: "img", "aria-label": `Curve of ${shown(name)}` }, "…");
    const last = h("span.muted.num");
    const wide = h("button.button.ghost.small.icon", { type: "button", "aria-label": "Wide", title: "Wide", onclick: () => { box.classList.toggle("wide"); this.draw(chart); } }, icon("compare"));
    const csv = h("button.button.ghost.small", { type: "button", title: "All points as CSV", onclick: () => download(`/api/runs/${this.view.run.id}/metrics.csv`, { name }, `${name.replaceAll("/", "_")}.csv`).catch(complain) }, icon("download"), "CSV");
    const box = h("section.card.chart", { data: { name } }, h("header", h("h3.clip", { title: shown(name) }, h("bdi", shown(name))), last, csv, wide), canvas);
    const chart = { name, place, canvas, box, last, range: [null, null], drawn: false };
    this.charts.set(box, chart);
    this.grid.append(box);
    this.sight.observe(box);
  }

  filter(text) {
    const wanted = text.trim().toLowerCase();
    for (const chart of this.charts.values()) chart.box.hidden = !chart.name.toLowerCase().includes(wanted);
  }

  seen(entries) {
    for (const entry of entries) {
      const chart = this.charts.get(entry.target);
      chart.visible = entry.isIntersecting;
      if (chart.visible && !chart.asked) {
        chart.asked = true;
        this.load(chart);
      }
    }
  }

  async load(chart) {
    try {
      const found = await loadSeries(this.view.run.id, [chart.name], chart.range);
      chart.series = found[chart.name];
      await this.draw(chart);
    } catch (error) {
      if (error.name === "AbortError") return;
      chart.asked = false;
      chart.canvas.textContent = shown(error.message);
    }
  }

  async draw(chart) {
    const { series, canvas } = chart;
    if (!series || !series.value.length) { canvas.textContent = "No points yet."; return; }
    if (!chart.drawn) canvas.replaceChildren();
    canvas.classList.remove("still");
    chart.drawn = true;
    const byTime = this.options.time && series.time;
    const latest = series.value[series.value.length - 1];
    chart.last.textContent = number(latest);
    await curves(canvas, [{ name: chart.name, colour: colour(0), x: byTime ? series.time : series.step, y: series.value, min: series.min, max: series.max }],
      { ...this.options, dates: byTime, legend: false, zoom: byTime ? "time" : "step", zoomed: (from, to) => this.zoom(chart, from, to) });
  }

  /** A zoom into what was thinned out asks for all of that stretch. */
  zoom(chart, from, to) {
    if (this.options.time || !chart.series) return;
    if (from === null && chart.range[0] === null) return;
    if (from !== null && !chart.series.downsampled) return;
    chart.range = from === null ? [null, null] : [Math.floor(from), Math.ceil(to)];
    this.load(chart);
  }

  redraw() { for (const chart of this.charts.values()) if (chart.drawn) this.draw(chart).catch(complain); }

  update() { for (const chart of this.charts.values()) if (chart.visible) this.load(chart); else chart.asked = false; }

  shown() {
    if (["running", "queued"].includes(this.view.run.status) && !boot.share) this.update();
    for (const chart of this.charts.values()) if (chart.drawn && window.Plotly) window.Plotly.Plots.resize(chart.canvas);
  }

  stop() { this.sight.disconnect(); for (const chart of this.charts.values()) erase(chart.canvas); }
}
