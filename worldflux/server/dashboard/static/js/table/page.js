// The page of all runs: the view in the address, the rows below it, and what is done with them.
import { boot, call, get } from "../api.js";
import { find, h, later } from "../dom.js";
import { count, plural, shown } from "../format.js";
import { icon } from "../icon.js";
import { poll } from "../poll.js";
import { away, crumbs, start, title } from "../shell.js";
import { complain } from "../toast.js";
import { Choice, choiceBar } from "./choice.js";
import { column, differing, standard, telling } from "./columns.js";
import { FilterBox } from "./filterbox.js";
import { Grid } from "./grid.js";
import { groupTable } from "./groups.js";
import { firstSteps, nothingFits } from "./nothing.js";
import { Rows } from "./rows.js";
import { Toolbar, projectMenu } from "./toolbar.js";
import { keepColumns, readView, showView } from "./view.js";

const LIVE_SECONDS = 3;
const IDLE_SECONDS = 10;
const MOST_DIFFERING = 24;
/** An empty list would bring all metrics. */
const NO_COLUMNS = "params.seed";

/** Everything the runs page knows. */
class RunsPage {
  constructor() {
    this.view = readView();
    this.known = { metrics: [], params: [], tags: [] };
    this.baseline = null;
    this.fresh = 0;
    this.choice = new Choice(() => { this.grid.showChoice(); this.tell(); });
    this.box = new FilterBox({ apply: (filter) => this.change({ filter }), known: () => this.known });
    this.line = h("div.status-line", { role: "status" });
    this.groups = h("div.group-place", { hidden: true });
    this.grid = new Grid(this.hooks());
    this.toolbar = new Toolbar(this);
  }

  hooks() {
    const run = (place) => this.rows && this.rows.list[place];
    return {
      run,
      count: () => (this.rows && this.rows.started ? this.rows.total : 0),
      need: (place) => { const more = this.rows && this.rows.ensure(place); if (more) more.catch(complain); },
      chosen: (id) => this.choice.has(id),
      choose: (place, { range, anchor } = {}) => this.choose(place, run, range, anchor),
      chooseRun: (each) => this.choice.toggle(each.id),
      chooseAll: (on) => this.choice.set(on ? this.rows.list.map((each) => each.id) : []),
      address: (each) => this.address(each),
      open: (each) => location.assign(this.address(each)),
      star: (each) => this.star(each),
      sort: (sort) => this.change({ sort }),
      move: (id, before) => this.moveColumn(id, before),
      key: (event, each) => this.key(event, each),
    };
  }

  address(run) { return boot.share ? `${location.pathname}?run=${run.id}` : `/runs/${run.id}`; }

  choose(place, run, range, anchor) {
    if (anchor) { this.choice.anchor ??= place; return; }
    if (range) this.choice.range(place, run);
    else { this.choice.anchor = place; this.choice.toggle(run(place).id); }
  }

  key(event, run) {
    if (event.key === "s") this.star(run);
    else if (event.key === "c" && this.choice.size > 1) location.assign(`/compare?runs=${this.choice.list().slice(0, 50).join(",")}`);
    else if (event.key === "Escape" && this.choice.size) this.choice.set([]);
    else return false;
    return true;
  }

  async star(run) {
    if (boot.share || !boot.writable) return;
    const starred = !run.starred;
    try {
      await call("PATCH", `/api/runs/${run.id}`, { body: { starred } });
      run.starred = starred;
      this.grid.reset();
    } catch (error) { complain(error); }
  }

  /** Ids of the columns that are shown now. */
  ids() {
    return (this.view.columns || standard(this.known, this.view.project)).filter((id) => column(id));
  }

  columns() {
    let ids = this.ids();
    if (this.view.differs) {
      const varied = this.known.params.filter((each) => each.distinct > 1).map((each) => `params.${each.name}`);
      const more = varied.filter((id) => !ids.includes(id)).slice(0, MOST_DIFFERING);
      ids = [...ids.slice(0, 1), ...more, ...ids.slice(1)];
    }
    const found = ids.map(column);
    if (!this.rows) return found;
    if (this.view.differs) return differing(found, this.rows.list);
    return this.view.columns ? found : telling(found, this.rows.list);
  }

  /** What is asked of the server for this view. */
  query() {
    const { project, filter, sort, state } = this.view;
    const asked = { project, filter, sort, state };
    const wanted = this.ids().filter((id) => id.includes("."));
    if (this.view.differs) wanted.push(...this.known.params.filter((each) => each.distinct > 1).slice(0, 60).map((each) => `params.${each.name}`));
    // Before anything was chosen the first page brings all metrics: no second question is needed.
    if (this.view.columns || this.known.ready) asked.columns = [...new Set(wanted)].map(columnName).join(",") || NO_COLUMNS;
    return asked;
  }

  change(part) {
    Object.assign(this.view, part);
    if ("columns" in part) {
      keepColumns(this.view);
      // At once with what is here; the values of a new column follow.
      if (this.rows && this.rows.started && !this.view.group) this.drawn();
    }
    showView(this.view);
    this.load();
  }

  moveColumn(id, before) {
    const ids = this.ids().filter((each) => each !== id);
    const at = ids.indexOf(before);
    if (at < 0 || !column(id)) return;
    ids.splice(at, 0, id);
    this.change({ columns: ids });
  }

  /** Ask for the view from its beginning. */
  async load() {
    if (this.rows) this.rows.close();
    this.toolbar.update();
    const turn = (this.turn = (this.turn || 0) + 1);
    // Which settings vary is known only then.
    if (this.view.differs && !this.known.ready) await this.ready.catch(() => {});
    if (turn !== this.turn) return;
    this.box.set(this.view.filter);
    this.fresh = 0;
    this.groups.hidden = !this.view.group;
    this.grid.element.hidden = Boolean(this.view.group);
    const rows = new Rows(this.query(), () => { if (rows === this.rows) this.drawn(); });
    this.rows = rows;
    this.grid.element.setAttribute("aria-busy", "true");
    try {
      await (this.view.group ? this.loadGroups(rows) : rows.first());
      if (rows === this.rows) this.grid.element.scrollTop = 0;
    } catch (error) {
      this.failed(error, rows);
    }
    if (rows === this.rows) this.grid.element.removeAttribute("aria-busy");
  }

  async loadGroups(rows) {
    if (!this.known.ready) await this.ready;
    const metrics = this.ids().filter((id) => id.startsWith("metrics.")).map((id) => id.slice(8));
    const table = await groupTable(this.view, metrics, (filter) => this.change({ filter, group: "" }), rows.stop.signal);
    if (rows !== this.rows) return;
    this.groups.replaceChildren(table);
    this.line.replaceChildren(h("span", table.tBodies ? plural(table.tBodies[0].rows.length, "group") : ""));
  }

  failed(error, rows) {
    if (error.name === "AbortError" || rows !== this.rows) return;
    if (error.status === 422 && this.view.filter) {
      this.box.fault(error);
      this.grid.setColumns([], this.view.sort);
      this.grid.setNote(h("p.muted.note", "The runs are shown when the filter can be read."));
      this.shape = "";
      return;
    }
    complain(error);
    this.grid.setNote(h("div.empty", icon("warn"), h("h2", "The runs could not be loaded"), h("p", shown(error.message)),
      h("button.button", { type: "button", onclick: () => this.load() }, "Try again")));
  }

  /** Until the server has told all names: those of the metrics in the rows that are here. */
  guess() {
    const seen = new Map();
    for (const run of this.rows.list) for (const name of Object.keys(run.metrics || {})) seen.set(name, (seen.get(name) || 0) + 1);
    this.known.metrics = [...seen].map(([name, runs]) => ({ name, runs })).sort((a, b) => b.runs - a.runs || (a.name < b.name ? -1 : 1));
  }

  drawn() {
    this.box.fault(null);
    if (!this.known.ready) this.guess();
    const columns = this.columns();
    const shape = JSON.stringify([columns.map((each) => each.id), this.view.sort, innerWidth <= 640]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.grid.setColumns(columns, this.view.sort);
    }
    this.grid.reset();
    this.grid.setNote(this.rows.list.length ? null : this.nothing());
    this.tell();
  }

  nothing() {
    const { filter, state, project } = this.view;
    if (filter) return nothingFits(filter, () => this.change({ filter: "" }));
    return firstSteps(state, project);
  }

  /** The line above the table. */
  tell() {
    if (!this.rows || this.view.group) return;
    this.line.classList.toggle("selecting", this.choice.size > 0);
    this.grid.all.checked = this.choice.size > 0 && this.choice.size >= this.rows.list.length;
    this.grid.all.indeterminate = this.choice.size > 0 && !this.grid.all.checked;
    const after = () => this.reload();
    const all = async () => { try { this.choice.set(await this.rows.ids(10000)); } catch (error) { complain(error); } };
    if (this.choice.size) {
      const bar = { state: this.view.state, tags: () => this.known.tags, after, all, total: () => this.rows.total, writable: boot.writable, shared: Boolean(boot.share) };
      this.line.replaceChildren(...choiceBar(this.choice, bar).flat().filter(Boolean));
      return;
    }
    const { total, exact } = this.rows;
    const fresh = this.fresh ? h("button.button.small", { type: "button", onclick: () => { this.grid.element.scrollTop = 0; this.load(); } }, icon("up"), plural(this.fresh, "new run")) : null;
    this.line.replaceChildren(...[h("span", { id: "total" }, exact ? "" : "about ", h("strong", count(total)), total === 1 ? " run" : " runs"),
      this.view.filter ? h("span", "that fit the filter") : null, fresh].filter(Boolean));
  }

  /** The same view again, staying where one is. */
  async reload() {
    const place = this.grid.element.scrollTop;
    const wanted = this.rows.list.length;
    await this.load();
    await this.rows.ensure(Math.min(wanted, 2000) - 1);
    this.grid.element.scrollTop = place;
    this.learn().catch(complain);
  }

  async learn() {
    const [known, project] = await Promise.all([
      get("/api/runs/columns", { project: this.view.project }),
      this.view.project && !boot.share ? get(`/api/projects/${encodeURIComponent(this.view.project)}`).catch(() => null) : null,
    ]);
    this.known = { ...known, ready: true };
    this.box.renew();
    const id = project && project.baseline_run;
    this.baseline = id ? await get(`/api/runs/${id}`).catch(() => null) : null;
    this.grid.setPinned(this.baseline);
    if (this.rows && this.rows.started) this.drawn();
  }

  async refresh() {
    if (this.view.group || !this.rows.started) { if (this.view.group) await this.loadGroups(this.rows); return IDLE_SECONDS; }
    const before = this.rows.list.length;
    this.fresh = await this.rows.refresh(this.grid.element.scrollTop < 8 && !this.choice.size);
    const [from, to] = this.grid.seen || [0, 0];
    const going = await this.rows.refreshRunning(this.rows.list.slice(from, to));
    this.tell();
    if (this.rows.list.length !== before || going) later(() => this.learn().catch(() => {}), 0)();
    return going ? LIVE_SECONDS : IDLE_SECONDS;
  }

  async open() {
    const { project } = this.view;
    title(project || "Runs");
    crumbs(projectMenu(project));
    find("#main").append(this.toolbar.element, this.box.error, this.line, this.grid.element, this.groups);
    addEventListener("popstate", () => { this.view = readView(); this.load(); });
    addEventListener("resize", later(() => { if (this.rows && this.rows.started) this.drawn(); }, 150));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.closest("input, textarea, dialog")) return;
      event.preventDefault();
      this.box.input.focus();
    });
    // The first rows name metrics enough to choose columns; what else there is comes after them.
    const rows = this.view.differs || this.view.group ? null : this.load();
    this.ready = (rows || Promise.resolve()).then(() => this.learn());
    await Promise.all([rows || this.load(), this.ready.catch(complain)]);
    // Keys move through the table at once, but who already types is left alone.
    if (document.activeElement === document.body) this.grid.element.focus({ preventScroll: true });
    poll(() => this.refresh(), { idle: IDLE_SECONDS, failed: away });
  }
}

/** A column as the server is asked for it: a comma of its own stands after a backslash. */
const columnName = (id) => id.replace(/[\\,]/g, (unit) => `\\${unit}`);

if (!boot.share) start();
const page = new RunsPage();
page.open().catch(complain);
