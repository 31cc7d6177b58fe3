// Points of metrics, thinned out by the server where there are more than a screen can show.
import { get } from "./api.js";

const POINTS = 1500;
const MOST_NEW = 20000;
const MOST_NAMES = 10000;

/** Names of the metrics of a run that have points, or have got some since; of those with a text in them. `total` counts all, and `next` is for the look after this one. */
export async function seriesNames(run, { match = "", after = null } = {}) {
  const { names, total, next } = await get(`/api/runs/${run.id}/metrics/names`, { match, after, limit: MOST_NAMES });
  return { names: names.sort(), total, next };
}

const listed = (names) => names.map((name) => name.replace(/[\\,]/g, (unit) => `\\${unit}`)).join(",");

/** Series of some metrics. */
export async function loadSeries(id, names) {
  const { series } = await get(`/api/runs/${id}/metrics`, { names: listed(names), max_points: POINTS });
  return series;
}

const numbers = (values) => values.filter((value) => typeof value === "number");

/** Points joined as the server joins them: `width` to a place, with their mean and range. */
function thinned({ step, value }, width) {
  const found = { step: [], value: [], min: [], max: [] };
  for (let at = 0; at < step.length; at += width) {
    const own = numbers(value.slice(at, at + width));
    found.step.push(step[at]);
    found.value.push(own.length ? own.reduce((sum, each) => sum + each / own.length, 0) : "NaN");
    found.min.push(own.length ? own.reduce((a, b) => Math.min(a, b)) : "NaN");
    found.max.push(own.length ? own.reduce((a, b) => Math.max(a, b)) : "NaN");
  }
  return found;
}

/** One metric of a run that may go on: loaded whole once, then only what came since. */
export class Curve {
  constructor(id, name) {
    this.id = id;
    this.name = name;
    this.series = null;
    this.turn = 0;
    this.busy = false;
  }

  /** Load all of it, or of a stretch of steps. */
  load(range = [null, null]) {
    this.range = range;
    this.next = null;
    return this.ask();
  }

  /** Load what came since; whether something did. Nothing is asked while an answer is still awaited. */
  async more() { return !this.busy && this.ask(); }

  async ask() {
    const turn = ++this.turn;
    const [from, to] = this.range;
    const after = this.next;
    this.busy = true;
    try {
      const query = { names: listed([this.name]), max_points: POINTS, from_step: from, to_step: to, after };
      const found = await get(`/api/runs/${this.id}/metrics`, query);
      if (turn !== this.turn) return false;
      const series = found.series[this.name];
      this.next = found.next;
      if (!after) [this.head, this.tail] = [series || { step: [], value: [] }, { step: [], value: [] }];
      else if (!series) return false;
      else if (!this.append(series)) { this.next = null; return await this.ask(); }
      this.join();
      return true;
    } catch (error) {
      if (turn === this.turn) this.next = null;
      throw error;
    } finally {
      if (turn === this.turn) this.busy = false;
    }
  }

  /** Whether there was room for more points; without it the server thins all of them out anew. */
  append({ step, value, downsampled }) {
    const { head, tail } = this;
    const places = head.step.length + (tail.step.length + step.length) / (head.width || 1);
    if (downsampled || places > 2 * POINTS || tail.step.length + step.length > MOST_NEW) return false;
    tail.step.push(...step);
    tail.value.push(...value);
    return true;
  }

  join() {
    const { head, tail } = this;
    const end = head.width ? thinned(tail, head.width) : tail;
    const series = { ...head, step: head.step.concat(end.step), value: head.value.concat(end.value) };
    if (head.width) Object.assign(series, { min: head.min.concat(end.min), max: head.max.concat(end.max) });
    this.series = series;
  }

  /** The newest value. */
  get latest() {
    const { value } = this.tail.value.length ? this.tail : this.head;
    return value[value.length - 1];
  }
}
