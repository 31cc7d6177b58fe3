// The audit log: who did what; its records are chained, and the chain can be checked here.
import { get } from "../api.js";
import { h } from "../dom.js";
import { count, moment, short, shown } from "../format.js";
import { icon } from "../icon.js";
import { empty } from "../state.js";
import { complain } from "../toast.js";
import { head } from "./part.js";

function words(detail) {
  const found = typeof detail === "string" ? detail : Object.entries(detail || {}).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
  return h("span.small.muted", shown(found));
}

export async function audit() {
  const rows = h("tbody");
  const more = h("button.button", { type: "button" }, "Older");
  let cursor = null;
  async function load() {
    const page = await get("/api/audit-logs", { cursor, limit: 100 });
    cursor = page.next;
    more.hidden = !cursor;
    rows.append(...page.records.map((each) => h("tr", h("td.fit.num", count(each.seq)), h("td.fit", { title: shown(each.at) }, moment(each.at)), h("td.fit", h("code", shown(each.actor))), h("td.fit", h("strong", shown(each.action))), h("td", h("code", shown(each.target)), " ", words(each.detail)))));
  }
  const state = h("span.small.muted", { role: "status" });
  const check = h("button.button", { type: "button", onclick: async () => {
    try {
      const found = await get("/api/audit-logs/verify");
      state.textContent = found.ok ? `The chain of ${count(found.records)} records is whole; its head is ${short(found.head, 16)}.` : `The chain is broken: ${shown(found.faults.join(", "))}`;
      state.className = found.ok ? "small muted" : "small bad";
    } catch (error) { complain(error); }
  } }, icon("shield"), "Check the chain");
  await load();
  more.addEventListener("click", () => load().catch(complain));
  const table = rows.childElementCount ? h("table.plain", { "aria-label": "Audit log" }, h("thead", h("tr", ["#", "When", "Who", "What", "Which"].map((each) => h("th", each)))), rows) : empty("shield", "Nothing yet");
  return [head("Audit log", "Every change to keys, members, shares and runs, in the transaction of the change; each record holds the hash of the one before it.", check), h("div.row", { style: { "margin-bottom": "8px" } }, state), h("section.card", h("div.body.flush", table)), h("div.row", { style: { "margin-top": "12px" } }, more)];
}
