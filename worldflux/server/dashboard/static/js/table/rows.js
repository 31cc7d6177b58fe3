// The runs of a view, page after page as they come into sight.
import { get } from "../api.js";

const FIRST = 100;
const PAGE = 500;

/** Runs that a query answers, loaded as far as somebody looked. */
export class Rows {
  /** @param {object} query parameters of /api/runs  @param {function} changed called after every change */
  constructor(query, changed) {
    this.query = query;
    this.changed = changed;
    this.list = [];
    this.known = new Map();
    this.total = 0;
    this.exact = true;
    this.next = null;
    this.started = false;
    this.wanted = 0;
    this.loading = null;
    this.stop = new AbortController();
  }

  /** Forget the rest; nothing arrives any more. */
  close() { this.stop.abort(); }

  async first() {
    const page = await get("/api/runs", { ...this.query, limit: FIRST }, this.stop.signal);
    this.list = [];
    this.known.clear();
    this.take(page);
    this.started = true;
    this.changed();
  }

  take(page) {
    for (const run of page.runs) {
      if (this.known.has(run.id)) continue;
      this.known.set(run.id, run);
      this.list.push(run);
    }
    this.next = page.next;
    this.total = Math.max(page.total ?? 0, this.list.length);
    if (!page.next) this.total = this.list.length;
    this.exact = page.total_is_exact !== false;
  }

  /** Load on until this place is known. */
  ensure(place) {
    this.wanted = Math.max(this.wanted, place);
    if (!this.loading && this.next && this.list.length <= this.wanted) {
      this.loading = this.more().finally(() => { this.loading = null; });
    }
    return this.loading;
  }

  async more() {
    while (this.next && this.list.length <= this.wanted) {
      this.take(await get("/api/runs", { ...this.query, cursor: this.next, limit: PAGE }, this.stop.signal));
      this.changed();
    }
  }

  /** Every id of the view, up to a limit. */
  async ids(limit) {
    await this.ensure(limit - 1);
    return this.list.slice(0, limit).map((run) => run.id);
  }

  /** Put newer facts of a run in the place of the old ones. */
  put(run) {
    const old = this.known.get(run.id);
    if (old) Object.assign(old, run, { metrics: { ...old.metrics, ...run.metrics }, params: old.params });
  }

  remove(ids) {
    const gone = new Set(ids);
    const before = this.list.length;
    this.list = this.list.filter((run) => !gone.has(run.id));
    for (const id of gone) this.known.delete(id);
    this.total -= before - this.list.length;
    this.changed();
  }

  /** Look at the first page again. Returns how many runs are new; with `insert` they are put on top. */
  async refresh(insert) {
    const page = await get("/api/runs", { ...this.query, limit: FIRST }, this.stop.signal);
    const fresh = page.runs.filter((run) => !this.known.has(run.id));
    if (!fresh.length && page.total < this.total) {
      // Something left the view: only starting over shows the truth.
      this.list = [];
      this.known.clear();
      this.take(page);
      this.changed();
      return 0;
    }
    if (fresh.length && insert) {
      const rest = this.list;
      const cursor = this.next;
      this.list = [];
      this.known.clear();
      this.take(page);
      for (const run of rest) if (!this.known.has(run.id)) { this.known.set(run.id, run); this.list.push(run); }
      // The cursor of the longer list still leads on from its end.
      if (rest.length > page.runs.length) this.next = cursor;
      this.total = Math.max(page.total, this.list.length);
    } else {
      for (const run of page.runs) this.put(run);
      if (!fresh.length) this.total = Math.max(page.total, this.list.length);
    }
    this.changed();
    return insert ? 0 : fresh.length;
  }

  /** Ask again for runs outside of the first page that go on. */
  async refreshRunning(runs) {
    const going = runs.filter((run) => run && (run.status === "running" || run.status === "queued"));
    const late = going.filter((run) => this.list.indexOf(run) >= FIRST).slice(0, 10);
    for (const run of late) this.put(await get(`/api/runs/${run.id}`, {}, this.stop.signal));
    if (late.length) this.changed();
    return going.length;
  }
}
