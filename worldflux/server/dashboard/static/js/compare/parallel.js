// Parallel coordinates: each run a line from its settings to its metrics; drag on an axis to keep a range.
import { h, s } from "../dom.js";
import { number, setting, shown } from "../format.js";
import { differing, metricsOf, value } from "./runs.js";

const HEIGHT = 340;
const [TOP, BOTTOM] = [38, 26];
const MOST_AXES = 9;

function axis(name, values, isMetric) {
  const numbers = values.filter((each) => typeof each === "number" && Number.isFinite(each));
  const length = HEIGHT - TOP - BOTTOM;
  if (numbers.length && values.every((each) => each === null || each === undefined || typeof each === "number")) {
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    const place = (each) => (typeof each === "number" ? HEIGHT - BOTTOM - (high > low ? ((each - low) / (high - low)) * length : length / 2) : null);
    const middle = (low + high) / 2;
    return { name, isMetric, place, ticks: (high > low ? [low, middle, high] : [low]).map((each) => [place(each), number(each)]) };
  }
  const words = [...new Set(values.map((each) => setting(each ?? null)))];
  const place = (each) => HEIGHT - BOTTOM - (words.length > 1 ? (words.indexOf(setting(each ?? null)) / (words.length - 1)) * length : length / 2);
  const shownWords = words.length > 12 ? [words[0], words[words.length - 1]] : words;
  return { name, isMetric, place, ticks: shownWords.map((word) => [HEIGHT - BOTTOM - (words.length > 1 ? (words.indexOf(word) / (words.length - 1)) * length : length / 2), word.length > 16 ? `${word.slice(0, 15)}…` : word]) };
}

/** The part of the page. */
export class ParallelPart {
  constructor(runs) {
    this.runs = runs;
    const params = differing(runs).filter((key) => key !== "commit").slice(0, 5);
    const metrics = metricsOf(runs).slice(0, MOST_AXES - params.length);
    this.axes = [...params.map((key) => this.make(key, false)), ...metrics.map((name) => this.make(name, true))];
    this.brushes = new Map();
    this.svg = s("svg", { class: "parallel", role: "img", "aria-label": `Parallel coordinates of ${runs.length} runs over ${this.axes.map((each) => each.name).join(", ")}` });
    this.words = h("span.muted.small", "Drag along an axis to keep a range; drag a name to move its axis.");
    this.element = h("section.card", { id: "parallel" }, h("header", h("h2", "From settings to metrics"), this.words), h("div.body", this.svg));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  make(name, isMetric) {
    const of = (run) => (isMetric ? (run.metrics[name] || {}).value : value(run, name));
    return { ...axis(name, this.runs.map(of), isMetric), of };
  }

  x(at) {
    const [left, right] = [70, 70];
    const width = Math.max(300, this.svg.clientWidth) - left - right;
    return left + (this.axes.length > 1 ? (at / (this.axes.length - 1)) * width : width / 2);
  }

  kept(run) {
    return [...this.brushes].every(([name, [from, to]]) => {
      const each = this.axes.find((found) => found.name === name);
      const y = each.place(each.of(run));
      return y !== null && y >= from && y <= to;
    });
  }

  draw() {
    const width = Math.max(300, this.svg.clientWidth);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const paths = this.runs.map((run) => this.path(run));
    this.svg.replaceChildren(...paths, ...this.axes.map((each, at) => this.drawAxis(each, at)));
    const left = this.runs.filter((run) => this.kept(run)).length;
    if (this.brushes.size) this.words.textContent = `${left} of ${this.runs.length} runs kept. Click an axis to let go.`;
    else this.words.textContent = "Drag along an axis to keep a range; drag a name to move its axis.";
  }

  path(run) {
    const points = this.axes.map((each, at) => [this.x(at), each.place(each.of(run))]).filter(([, y]) => y !== null);
    const d = points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    const path = s("path", { d, stroke: run.colour, class: this.kept(run) ? "" : "out" }, s("title", {}, run.label));
    path.addEventListener("pointerenter", () => path.classList.add("over"));
    path.addEventListener("pointerleave", () => path.classList.remove("over"));
    return path;
  }

  drawAxis(each, at) {
    const x = this.x(at);
    const end = at === this.axes.length - 1;
    const label = each.name.length > 18 ? `…${each.name.slice(-17)}` : each.name;
    const name = s("text", { class: "name", x, y: at % 2 && this.axes.length > 6 ? 28 : 14, "text-anchor": "middle" }, s("title", {}, shown(each.name)), shown(label));
    name.addEventListener("pointerdown", (event) => this.move(event, each));
    const ticks = each.ticks.map(([y, text]) => s("text", { x: end ? x + 8 : x - 8, y: y + 4, "text-anchor": end ? "start" : "end" }, shown(text)));
    const brush = this.brushes.get(each.name);
    const mark = brush ? s("rect", { class: "brush", x: x - 6, width: 12, y: brush[0], height: brush[1] - brush[0] }) : null;
    const grip = s("rect", { class: "grip", x: x - 12, width: 24, y: TOP - 6, height: HEIGHT - TOP - BOTTOM + 12 });
    grip.addEventListener("pointerdown", (event) => this.brush(event, each));
    return s("g", { class: "axis" }, s("line", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }), ticks, mark, grip, name);
  }

  y(event) {
    const box = this.svg.getBoundingClientRect();
    return Math.max(TOP, Math.min(HEIGHT - BOTTOM, ((event.clientY - box.top) / box.height) * HEIGHT));
  }

  track(moved, done) {
    const end = () => { removeEventListener("pointermove", moved); done(); };
    addEventListener("pointermove", moved);
    addEventListener("pointerup", end, { once: true });
  }

  brush(event, each) {
    event.preventDefault();
    const from = this.y(event);
    this.brushes.delete(each.name);
    this.track((next) => {
      const to = this.y(next);
      if (Math.abs(to - from) < 4) return;
      this.brushes.set(each.name, [Math.min(from, to), Math.max(from, to)]);
      this.draw();
    }, () => this.draw());
  }

  move(event, each) {
    event.preventDefault();
    this.track((next) => {
      const box = this.svg.getBoundingClientRect();
      const x = ((next.clientX - box.left) / box.width) * Math.max(300, this.svg.clientWidth);
      const to = this.axes.reduce((best, _, at) => (Math.abs(this.x(at) - x) < Math.abs(this.x(best) - x) ? at : best), 0);
      const at = this.axes.indexOf(each);
      if (to === at) return;
      this.axes.splice(at, 1);
      this.axes.splice(to, 0, each);
      this.draw();
    }, () => {});
  }
}
