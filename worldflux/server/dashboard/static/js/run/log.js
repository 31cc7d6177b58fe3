// The log viewer: any stretch of a log of any size, live, searchable, never more in memory than a window.
import { download, get } from "../api.js";
import { drawn, pieces } from "../ansi.js";
import { eachFrame, h, later } from "../dom.js";
import { bytes, count, shown } from "../format.js";
import { icon } from "../icon.js";
import { poll } from "../poll.js";
import { empty } from "../state.js";
import { complain } from "../toast.js";
import { LogWindow } from "./logwindow.js";

const LINE = 18;
const LONGEST = 4000;
const NEAR = 40 * LINE;

/** The viewer of one log; `element` is shown, `stop()` ends its polling. */
export class LogView {
  constructor(run, name) {
    this.run = run;
    this.name = name;
    this.window = new LogWindow(run.id, name);
    this.follow = true;
    this.wanted = "";
    this.hit = -1;
    this.text = h("div.text", { tabindex: 0, role: "log", "aria-label": `Log ${name}`, "aria-live": "off" });
    this.lines = h("div.lines");
    this.text.append(this.lines);
    this.found = h("div.found", { hidden: true });
    this.draw = eachFrame(() => this.paint());
    this.text.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.element = h("section.log", { "aria-label": "Log" }, this.tools(), this.found, this.text, this.foot());
    new ResizeObserver(this.draw).observe(this.text);
  }

  tools() {
    this.search = h("input", { type: "search", placeholder: "Find in the whole log", "aria-label": "Find in the whole log", maxlength: 200,
      oninput: later(() => this.find(), 250), onkeydown: (event) => { if (event.key === "Enter") this.next(event.shiftKey ? -1 : 1); } });
    this.followButton = h("button.button", { type: "button", "aria-pressed": "true", onclick: () => this.setFollow(!this.follow) }, icon("down"), "Follow");
    return h("div.bar-top", this.search,
      h("button.button", { type: "button", onclick: () => this.go(0) }, "Start"), h("button.button", { type: "button", onclick: () => this.go(-1) }, "End"),
      this.followButton,
      h("button.button.icon", { type: "button", "aria-label": "Download the log", title: "Download the log", onclick: () => this.save() }, icon("download")));
  }

  foot() {
    this.where = h("span.num");
    this.slider = h("input", { type: "range", min: 0, max: 1000, value: 1000, "aria-label": "Place in the log" });
    this.slider.addEventListener("change", () => this.go(Math.round((Number(this.slider.value) / 1000) * this.window.size)));
    return h("div.foot", this.where, this.slider);
  }

  async open() {
    await this.window.jump(-1 * 131072);
    if (!this.window.size && this.window.final) {
      this.text.replaceChildren(empty("file", "This log is empty", h("p", "The command printed nothing.")));
      return;
    }
    this.changed();
    this.text.scrollTop = this.text.scrollHeight;
    this.poll = poll(() => this.live(), { idle: 2 });
  }

  stop() { if (this.poll) this.poll.stop(); }

  setFollow(on) {
    this.follow = on;
    this.followButton.setAttribute("aria-pressed", String(on));
    if (on) this.go(-1);
  }

  async live() {
    if (this.window.final && this.window.atEnd) return 30;
    if (!this.window.atEnd && !this.follow) return 5;
    if (!(await this.window.after())) return 2;
    this.changed();
    if (this.follow) this.text.scrollTop = this.text.scrollHeight;
    return 1;
  }

  /** Show a place of the file; -1 is its end. */
  async go(offset) {
    try {
      await this.window.jump(offset < 0 ? -131072 : offset);
      this.changed();
      const place = offset < 0 ? this.window.lines.length : this.window.at(offset);
      this.text.scrollTop = Math.max(0, (place - 4) * LINE);
      if (offset >= 0) { this.follow = false; this.followButton.setAttribute("aria-pressed", "false"); }
    } catch (error) { complain(error); }
  }

  changed() {
    this.lines.style.height = `${this.window.lines.length * LINE}px`;
    this.rows = new Map();
    this.lines.replaceChildren();
    this.draw();
  }

  scrolled() {
    this.draw();
    const { scrollTop, scrollHeight, clientHeight } = this.text;
    const below = scrollHeight - clientHeight - scrollTop;
    if (this.follow && below > 3 * LINE) { this.follow = false; this.followButton.setAttribute("aria-pressed", "false"); }
    if (this.growing) return;
    if (scrollTop < NEAR && !this.window.atStart) this.grow("before");
    else if (below < NEAR && !this.window.atEnd) this.grow("after");
  }

  /** Take more of the file in, and stay at the line that is looked at. */
  async grow(side) {
    this.growing = true;
    try {
      const top = Math.floor(this.text.scrollTop / LINE);
      const anchor = this.window.lines[top];
      const rest = this.text.scrollTop - top * LINE;
      await this.window[side]();
      this.changed();
      if (anchor) this.text.scrollTop = this.window.at(anchor.offset) * LINE + rest;
    } catch (error) { complain(error); }
    this.growing = false;
  }

  paint() {
    const { lines } = this.window;
    const from = Math.max(0, Math.floor(this.text.scrollTop / LINE) - 10);
    const to = Math.min(lines.length, Math.ceil((this.text.scrollTop + this.text.clientHeight) / LINE) + 10);
    this.rows ??= new Map();
    for (const [place, row] of this.rows) if (place < from || place >= to) { row.remove(); this.rows.delete(place); }
    for (let place = from; place < to; place += 1) {
      if (this.rows.has(place)) continue;
      const row = this.line(lines[place]);
      row.style.top = `${place * LINE}px`;
      this.rows.set(place, row);
      this.lines.append(row);
    }
    this.position(lines, from);
  }

  line({ text, state, offset }) {
    const cut = text.length > LONGEST;
    const { found } = pieces(cut ? text.slice(0, LONGEST) : text, state);
    const marked = this.wanted && text.toLowerCase().includes(this.wanted.toLowerCase());
    return h(`div${marked ? ".hit" : ""}`, { data: { offset } }, found.map(([part, how]) => drawn(part, how)), cut ? h("span.muted", ` … ${count(text.length - LONGEST)} more characters`) : null);
  }

  position(lines, from) {
    const first = lines[Math.min(lines.length - 1, from + 10)] || lines[0];
    const offset = first ? first.offset : 0;
    const state = this.window.final ? "" : " · live";
    this.where.textContent = `${bytes(offset)} of ${bytes(this.window.size)}${state}`;
    if (document.activeElement !== this.slider) {
      const room = Math.max(1, this.window.size - (this.text.clientHeight / LINE) * 60);
      const end = this.window.atEnd && this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - LINE;
      this.slider.value = end ? 1000 : Math.min(1000, (1000 * offset) / room);
    }
  }

  async find() {
    this.wanted = this.search.value;
    this.hit = -1;
    if (!this.wanted) {
      this.found.hidden = true;
      this.changed();
      return;
    }
    try {
      const q = this.wanted;
      const { matches, truncated } = await get(`/api/runs/${this.run.id}/log/search`, { name: this.name, q, limit: 200 });
      if (q !== this.search.value) return;
      this.matches = matches;
      const words = matches.length ? `${count(matches.length)}${truncated ? " or more" : ""} ${matches.length === 1 ? "line" : "lines"}` : "Nothing found";
      this.found.replaceChildren(h("div.small.muted", { role: "status", style: { padding: "4px 12px" } }, words), ...matches.map((each, place) => this.match(each, place)));
      this.found.hidden = false;
      this.changed();
    } catch (error) { complain(error); }
  }

  match(each, place) {
    const { found } = pieces(each.text.slice(0, 400));
    return h("button", { type: "button", data: { place }, onclick: () => { this.hit = place; this.go(each.offset); } },
      h("span.line", each.line === null || each.line === undefined ? "" : count(each.line)), h("span", found.map(([text]) => shown(text))));
  }

  next(step) {
    if (!this.matches || !this.matches.length) return;
    this.hit = (this.hit + step + this.matches.length) % this.matches.length;
    this.go(this.matches[this.hit].offset);
  }

  save() {
    download(`/api/runs/${this.run.id}/log`, { name: this.name, offset: 0, limit: this.window.size, download: 1 }, `${this.run.id}-${this.name}.log`).catch(complain);
  }
}
