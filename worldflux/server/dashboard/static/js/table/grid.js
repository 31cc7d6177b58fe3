// A table of any length that only builds the rows in sight.
import { eachFrame, h } from "../dom.js";
import { shown } from "../format.js";
import { icon } from "../icon.js";

const OVERSCAN = 4;
// Chromium stops laying out boxes near 33 million pixels.
const TALLEST = 16000000;

/**
 * The table.
 *
 * Hooks: `run(place)`, `count()`, `need(place)`, `chosen(id)`, `choose(place, {range, only})`, `open(run)`, `star(run)`,
 * `sort(key)`, `move(from, before)`, `key(event, run)`.
 */
export class Grid {
  constructor(hooks) {
    this.hooks = hooks;
    this.columns = [];
    this.current = 0;
    this.rows = new Map();
    this.pinned = null;
    this.head = h("div.grid-head", { role: "row" });
    this.top = h("div.grid-top", { role: "rowgroup" });
    this.body = h("div.grid-body", { role: "rowgroup" });
    this.note = h("div.grid-empty");
    this.element = h("div.grid", { role: "grid", tabindex: 0, "aria-label": "Runs", "aria-multiselectable": "true" },
      this.head, this.top, this.body, this.note);
    this.draw = eachFrame(() => this.paint());
    this.element.addEventListener("scroll", this.draw, { passive: true });
    this.element.addEventListener("keydown", (event) => this.keydown(event));
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("dblclick", (event) => this.doubleClick(event));
    new ResizeObserver(this.draw).observe(this.element);
  }

  get rowHeight() { return 36; }

  setColumns(columns, sort) {
    this.columns = columns;
    const narrow = innerWidth <= 640;
    const widths = ["38px", narrow ? "168px" : "250px", ...columns.map((each) => `${narrow && each.id === "status" ? 62 : each.width}px`), "minmax(0, 1fr)"];
    this.element.style.setProperty("--columns", widths.join(" "));
    this.head.replaceChildren(this.chooseAll(), this.headCell({ id: "name", label: "Name", sort: "name" }, sort, "pin.last"),
      ...columns.map((each) => this.headCell(each, sort, "")));
    this.head.children[0].style.left = "0";
    this.head.children[1].style.left = "38px";
    this.element.setAttribute("aria-colcount", columns.length + 2);
    this.reset();
  }

  chooseAll() {
    this.all = h("input", { type: "checkbox", "aria-label": "Choose all runs that are loaded", onchange: () => this.hooks.chooseAll(this.all.checked) });
    return h("div.pin", { role: "columnheader" }, this.all);
  }

  headCell(each, sort, kind) {
    const down = sort === `-${each.sort}`;
    const on = each.sort && (down || sort === each.sort);
    const order = on ? (down ? "descending" : "ascending") : each.sort ? "none" : null;
    const label = h("span.clip", { title: shown(each.label) }, h("bdi", shown(each.label)));
    const inside = each.sort ? h("button", { type: "button", onclick: () => this.hooks.sort(on && down ? each.sort : `-${each.sort}`) }, label, on ? icon(down ? "down" : "up") : null) : label;
    const cell = h(`div${kind ? `.${kind}` : ""}${each.number ? ".number" : ""}`, { role: "columnheader", "aria-sort": order, data: { column: each.id } }, inside);
    if (each.id !== "name") this.dragging(cell, each.id);
    return cell;
  }

  dragging(cell, id) {
    cell.draggable = true;
    cell.addEventListener("dragstart", (event) => { event.dataTransfer.setData("text/x-column", id); event.dataTransfer.effectAllowed = "move"; cell.classList.add("dragging"); });
    cell.addEventListener("dragend", () => cell.classList.remove("dragging"));
    cell.addEventListener("dragover", (event) => { event.preventDefault(); cell.classList.add("drop"); });
    cell.addEventListener("dragleave", () => cell.classList.remove("drop"));
    cell.addEventListener("drop", (event) => { event.preventDefault(); cell.classList.remove("drop"); this.hooks.move(event.dataTransfer.getData("text/x-column"), id); });
  }

  /** Runs that stay on top whatever the filter. */
  setPinned(run) {
    this.pinned = run;
    this.top.replaceChildren();
    if (run) this.top.append(this.build(run, -1));
  }

  setNote(content) { this.note.replaceChildren(...[content].flat().filter(Boolean)); }

  /** Build everything again: after columns, choice or facts changed. */
  reset() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.setPinned(this.pinned);
    // At once: a frame without rows would flicker.
    this.paint();
  }

  /** Show the choice on the rows that are there, without building them again. */
  showChoice() {
    for (const row of this.element.querySelectorAll(".grid-row:not(.waiting)")) {
      const place = Number(row.dataset.place);
      const run = place < 0 ? this.pinned : this.hooks.run(place);
      if (!run) continue;
      const chosen = this.hooks.chosen(run.id);
      row.classList.toggle("chosen", chosen);
      row.setAttribute("aria-selected", String(chosen));
      row.querySelector("input").checked = chosen;
    }
  }

  paint() {
    const count = this.hooks.count();
    const full = count * this.rowHeight;
    const height = Math.min(full, TALLEST);
    this.body.style.height = `${height}px`;
    this.element.setAttribute("aria-rowcount", count + 1);
    const seen = this.element.clientHeight;
    const room = Math.max(1, height - seen);
    // Taller than a browser can: the scroll position stands for a share of the whole.
    const shift = full > height ? (Math.min(this.element.scrollTop, room) / room) * (full - height) : 0;
    const from = Math.max(0, Math.floor((this.element.scrollTop + shift) / this.rowHeight) - OVERSCAN);
    const to = Math.min(count, Math.ceil((this.element.scrollTop + shift + seen) / this.rowHeight) + OVERSCAN);
    for (const [place, row] of this.rows) if (place < from || place >= to) { row.remove(); this.rows.delete(place); }
    const fresh = document.createDocumentFragment();
    for (let place = from; place < to; place += 1) {
      let row = this.rows.get(place);
      const run = this.hooks.run(place);
      if (row && row.classList.contains("waiting") && run) { row.remove(); row = null; }
      if (!row) {
        row = run ? this.build(run, place) : this.waiting(place);
        this.rows.set(place, row);
        fresh.append(row);
      }
      row.style.top = `${place * this.rowHeight - shift}px`;
    }
    this.body.append(fresh);
    this.seen = [from, to];
    if (to > 0) this.hooks.need(to);
    this.mark();
  }

  waiting(place) {
    return h("div.grid-row.waiting", { role: "row", "aria-rowindex": place + 2, "aria-busy": "true" }, Array.from({ length: Math.min(8, this.columns.length + 2) }, () => h("div", h("span"))));
  }

  build(run, place) {
    const chosen = this.hooks.chosen(run.id);
    const label = shown(run.name || run.id);
    const check = h("input", { type: "checkbox", checked: chosen, tabindex: -1, "aria-label": `Choose ${label}`, data: { act: "choose" } });
    const star = h("button.star", { type: "button", tabindex: -1, "aria-pressed": String(Boolean(run.starred)), "aria-label": `Star ${label}`, data: { act: "star" } }, icon("star"));
    const first = h("div.pin", { role: "gridcell", style: { left: "0" } }, check);
    const badge = place < 0 ? h("span.badge", "baseline") : run.baseline ? h("span.badge", { title: "The baseline of its project" }, "base") : null;
    const link = h("a.open", { href: this.hooks.address(run), tabindex: -1, title: label }, h("bdi", label));
    const second = h("div.pin.last", { role: "gridcell", style: { left: "38px" } }, star, link, badge);
    const cells = this.columns.map((each) => h(`div${each.number ? ".number" : ""}`, { role: "gridcell" }, each.cell(run)));
    const kind = `${chosen ? ".chosen" : ""}${place < 0 ? ".baseline" : ""}`;
    return h(`div.grid-row${kind}`, { role: "row", id: place < 0 ? null : `row-${place}`, "aria-rowindex": place + 2, "aria-selected": String(chosen), data: { place } }, first, second, cells);
  }

  mark() {
    for (const [place, row] of this.rows) row.classList.toggle("current", place === this.current);
    if (this.rows.has(this.current)) this.element.setAttribute("aria-activedescendant", `row-${this.current}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** Move to a place and bring it into sight. */
  go(place) {
    const count = this.hooks.count();
    if (!count) return;
    this.current = Math.max(0, Math.min(count - 1, place));
    const head = 34 + (this.pinned ? this.rowHeight : 0);
    const top = this.current * this.rowHeight;
    const seen = this.element.clientHeight - head;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + this.rowHeight > this.element.scrollTop + seen) this.element.scrollTop = top + this.rowHeight - seen;
    this.draw();
  }

  keydown(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const run = this.hooks.run(this.current);
    if (event.key in steps) {
      if (event.shiftKey) this.hooks.choose(this.current, { anchor: true });
      const target = this.current + steps[event.key];
      this.go(target === Infinity ? this.hooks.count() - 1 : target === -Infinity ? 0 : target);
      if (event.shiftKey) this.hooks.choose(this.current, { range: true });
    } else if (event.key === "Enter" && run) this.hooks.open(run);
    else if ((event.key === " " || event.key === "x") && run) this.hooks.choose(this.current, {});
    else if (!run || !this.hooks.key(event, run)) return;
    event.preventDefault();
  }

  click(event) {
    const row = event.target.closest(".grid-row");
    if (!row || row.classList.contains("waiting")) return;
    const place = Number(row.dataset.place);
    const run = place < 0 ? this.pinned : this.hooks.run(place);
    const act = event.target.closest("[data-act]");
    if (place >= 0) this.current = place;
    if (act && act.dataset.act === "star") this.hooks.star(run);
    else if (act && place < 0) this.hooks.chooseRun(run);
    else if (act) this.hooks.choose(place, { range: event.shiftKey });
    this.mark();
  }

  doubleClick(event) {
    const row = event.target.closest(".grid-row");
    if (!row || row.classList.contains("waiting") || event.target.closest("a, button, input")) return;
    const place = Number(row.dataset.place);
    this.hooks.open(place < 0 ? this.pinned : this.hooks.run(place));
  }
}
