// The filter language: one line, names offered while typing, faults shown where they are.
import { h, later } from "../dom.js";
import { shown } from "../format.js";
import { icon } from "../icon.js";

const NAMES = ["status", "recipe", "name", "project", "task", "adapter", "support", "runtime", "created", "started", "finished",
  "duration", "cost", "seed", "tags", "notes", "starred", "archived", "baseline", "lost", "dirty", "who", "attempt", "sweep_id",
  "commit", "branch", "error", "evidence", "id"];
const WORDS = ["and", "or", "not", "in", "has"];
const STATUSES = ["queued", "running", "succeeded", "failed", "timeout", "cancelled", "refused", "interrupted"];
const PLAIN = /^[^\s()[\],"'=!<>~\\\p{C}]+$/u;

/** A name as the filter language takes it: with quotes around a part that is no plain word. */
export function fieldName(group, name) {
  return `${group}.${PLAIN.test(name) ? name : JSON.stringify(name)}`;
}

function offers(text, at, known) {
  const before = text.slice(0, at);
  const word = /[A-Za-z0-9_."/-]*$/.exec(before)[0];
  const after = before.slice(0, before.length - word.length);
  if (/\bstatus\s*(=|!=)\s*$/.test(after) || /\bstatus\s+in\s*\[[^\]]*$/.test(after)) return { word, list: STATUSES.map((name) => ({ text: name, hint: "status" })) };
  if (!word && before.trim()) return { word, list: [] };
  const list = [
    ...NAMES.map((name) => ({ text: name, hint: "" })),
    ...known.metrics.map((each) => ({ text: fieldName("metrics", each.name), hint: `${each.runs} runs` })),
    ...known.params.map((each) => ({ text: fieldName("params", each.name), hint: `${each.distinct} values` })),
    ...WORDS.map((name) => ({ text: name, hint: "word" })),
  ];
  return { word, list };
}

/** The best few names for what is being typed. */
export function suggestions(text, at, known) {
  const { word, list } = offers(text, at, known);
  const wanted = word.toLowerCase();
  const starts = list.filter((each) => each.text.toLowerCase().startsWith(wanted) && each.text !== word);
  const holds = wanted.length > 1 ? list.filter((each) => each.text.toLowerCase().includes(wanted) && !starts.includes(each) && each.text !== word) : [];
  return { word, list: [...starts, ...holds].slice(0, 12) };
}

/** The box; `apply(text)` when a filter was finished. */
export class FilterBox {
  constructor({ apply, known }) {
    this.apply = apply;
    this.known = known;
    this.at = -1;
    this.asked = false;
    this.input = h("input", { type: "search", id: "filter", spellcheck: "false", autocomplete: "off", autocapitalize: "off", maxlength: 4000,
      placeholder: 'status = failed and metrics.loss < 0.1', "aria-label": "Filter runs", role: "combobox", "aria-expanded": "false",
      "aria-controls": "filter-offers", "aria-autocomplete": "list" });
    this.list = h("div.suggest", { id: "filter-offers", role: "listbox", hidden: true, "aria-label": "Names" });
    this.error = h("div.filter-error", { role: "alert", hidden: true });
    const clear = h("button.button.ghost.small.icon.clear", { type: "button", "aria-label": "Clear the filter", onclick: () => { this.set(""); this.finish(); this.input.focus(); } }, icon("close"));
    this.element = h("div.filter", icon("search"), this.input, clear, this.list);
    this.input.addEventListener("input", later(() => this.offer(), 60));
    this.input.addEventListener("keydown", (event) => this.keydown(event));
    this.input.addEventListener("blur", () => setTimeout(() => this.hide(), 120));
  }

  set(text) { this.input.value = text; this.fault(null); }

  finish() {
    this.hide();
    this.apply(this.input.value.trim());
  }

  /** Show what is wrong with the filter, with a mark below the place. */
  fault(problem) {
    this.input.setAttribute("aria-invalid", problem ? "true" : "false");
    this.error.hidden = !problem;
    this.error.replaceChildren();
    if (!problem) return;
    const said = /column (\d+)/.exec(problem.message);
    const column = problem.body.column ?? (said ? Number(said[1]) : null);
    const text = this.input.value;
    const parts = [h("strong", shown(problem.message)), problem.hint ? ` ${shown(problem.hint)}` : ""];
    if (typeof column === "number") {
      const place = Math.max(0, Math.min(text.length, column - 1));
      const from = Math.max(0, place - 60);
      parts.push(h("pre", { "aria-hidden": "true" }, `${shown(text.slice(from, from + 140))}\n${" ".repeat(place - from)}^`));
    }
    this.error.append(...parts);
  }

  hide() {
    this.asked = false;
    this.close();
  }

  close() {
    this.list.hidden = true;
    this.at = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  offer() {
    if (document.activeElement !== this.input) return;
    this.asked = true;
    const { word, list } = suggestions(this.input.value, this.input.selectionStart, this.known());
    this.word = word;
    this.offered = list;
    if (!list.length) { this.close(); return; }
    this.list.replaceChildren(...list.map((each, place) => h("div", { role: "option", id: `offer-${place}`, "aria-selected": "false",
      onpointerdown: (event) => { event.preventDefault(); this.take(place); } }, shown(each.text), h("span", each.hint))));
    this.list.hidden = false;
    this.at = -1;
    this.input.setAttribute("aria-expanded", "true");
  }

  /** Offer names that have become known while somebody types. */
  renew() { if (this.asked && this.at < 0) this.offer(); }

  select(place) {
    const options = [...this.list.children];
    this.at = (place + options.length) % options.length;
    options.forEach((each, at) => each.setAttribute("aria-selected", String(at === this.at)));
    options[this.at].scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", `offer-${this.at}`);
  }

  take(place) {
    const end = this.input.selectionStart;
    const chosen = this.offered[place].text;
    this.input.setRangeText(`${chosen} `, end - this.word.length, end, "end");
    this.hide();
    this.input.focus();
  }

  keydown(event) {
    const open = !this.list.hidden;
    if (event.key === "ArrowDown" && open) this.select(this.at + 1);
    else if (event.key === "ArrowUp" && open) this.select(this.at < 0 ? -1 : this.at - 1);
    else if ((event.key === "Enter" || event.key === "Tab") && open && this.at >= 0) this.take(this.at);
    else if (event.key === "Enter") this.finish();
    else if (event.key === "Escape" && open) this.hide();
    else if (event.key === "Escape") this.input.blur();
    else return;
    event.preventDefault();
  }
}
