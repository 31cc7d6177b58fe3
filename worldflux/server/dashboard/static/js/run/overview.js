// The first tab: what came out, when what happened, how to do it again, what it cost, what is known to be wrong.
import { boot, call } from "../api.js";
import { command, quote } from "../clip.js";
import { h } from "../dom.js";
import { duration, interval, metric, moment, money, number, shown } from "../format.js";
import { card, empty, facts, intervalBar } from "../state.js";
import { complain, say } from "../toast.js";

function fault(run, manifest) {
  const error = (manifest && manifest.run.error) || run.error;
  if (!error) return run.lost ? h("div.note.warn", "No word from the machine for a while. The run comes back to life here when the machine reports again.") : null;
  return h("div.fault", h("strong", shown(error.code || "failed")), h("p", shown(error.message || "")), error.hint ? h("p.muted", shown(error.hint)) : null);
}

function metrics(run) {
  const list = Object.entries(run.metrics || {});
  if (!list.length) {
    return empty("compare", "No metrics yet", h("p", "A recipe names them in `metrics:`, or its program writes them as it goes:"), command('import worldflux; worldflux.log({"loss": loss}, step=step)'));
  }
  const rates = list.filter(([, found]) => found.kind === "success");
  const others = list.filter(([, found]) => found.kind !== "success");
  const row = ([name, found]) => h("tr", h("td", h("bdi", shown(name))), h("td.num.fit", h("strong", metric(found))),
    h("td.fit", typeof found.low === "number" ? h("span.row.tight.fixed", intervalBar(found.low, found.value, found.high, 0, 1), h("span.interval", interval(found))) : null),
    h("td.fit.muted", found.k !== null && found.k !== undefined && found.n ? `${number(found.k)} of ${number(found.n)}` : found.step !== null && found.step !== undefined ? `step ${number(found.step)}` : ""));
  return h("table.plain", { "aria-label": "Metrics" }, h("tbody", [...rates, ...others].map(row)));
}

function timeline(manifest) {
  const { stages, created_at: created } = manifest.run;
  if (!stages.length) return h("p.muted", "It has not begun.");
  const from = Date.parse(created);
  const ends = stages.map((stage) => (stage.finished_at ? Date.parse(stage.finished_at) : Date.now()));
  const whole = Math.max(1, Math.max(...ends) - from);
  const line = (stage, place) => {
    const begin = Date.parse(stage.started_at);
    const bar = h(`i.${stage.status}`, { title: `${stage.status}: ${moment(stage.started_at)} – ${stage.finished_at ? moment(stage.finished_at) : "now"}` });
    bar.style.left = `${Math.max(0, Math.min(99.4, (100 * (begin - from)) / whole))}%`;
    bar.style.width = `${Math.max(0, (100 * (ends[place] - begin)) / whole)}%`;
    return h("div.line", h("span", shown(stage.name)), h("span.rail", bar), h("span.num", { title: stage.status }, duration((ends[place] - begin) / 1000)));
  };
  return h("div.timeline", { role: "img", "aria-label": stages.map((stage, place) => `${stage.name} ${stage.status} ${duration((ends[place] - Date.parse(stage.started_at)) / 1000)}`).join(", ") }, stages.map(line));
}

function again(run, manifest) {
  const overrides = manifest.config.overrides;
  const text = ["worldflux-run", ...overrides.map(quote)].join(" ");
  return h("div.stack", command(text, "Copy the command that runs it again"),
    h("p.small.muted", "Where its folder is, the same with all settings as recorded:"), command(`worldflux runs rerun ${run.id}`, "Copy the rerun command"),
    h("details", h("summary.small.muted", "As it was typed"), h("div", command(manifest.run.argv.map(quote).join(" "), "Copy what was typed"))));
}

function cost(manifest) {
  const found = manifest.cost;
  if (!found.known && found.estimate_usd === null) return h("p.muted", "No price is known for this runtime.", found.budget_usd !== null ? ` Budget ${money(found.budget_usd)}.` : "");
  const parts = found.parts.length ? h("table.plain", h("tbody", found.parts.map((part) => h("tr", h("td", shown(part.name)),
    h("td.num.muted", part.quantity !== undefined ? `${number(part.quantity)} ${shown(part.unit || "")}${part.unit_price_usd !== undefined ? ` × $${number(part.unit_price_usd)}` : ""}` : ""), h("td.num.fit", money(part.amount_usd)))))) : null;
  return h("div.stack", facts([["Estimate", found.estimate_usd === null ? "unknown" : money(found.estimate_usd)], ["Price per hour", found.price_per_hour === null ? "" : money(found.price_per_hour)],
    ["Price from", found.price_source ? shown(`${found.price_source}${found.price_date ? `, ${found.price_date}` : ""}`) : ""], ["Budget", found.budget_usd === null ? "" : money(found.budget_usd)],
    ["Not included", found.excludes.map(shown).join(", ")]]), parts);
}

function adapter(manifest) {
  const known = manifest.adapter;
  if (!known) return null;
  const about = known.facts || {};
  const issues = Array.isArray(about.known_issues) ? about.known_issues : [];
  const text = (value) => (typeof value === "string" ? shown(value) : "");
  const licences = about.license && typeof about.license === "object" ? Object.entries(about.license).map(([part, name]) => `${part}: ${name}`).join(", ") : text(about.license);
  return card("Adapter", h("div.stack", facts([["Id", h("span", shown(known.id))], ["Title", text(about.title)], ["Support", known.support ? h("span.badge", { class: `badge ${known.support}` }, known.support) : ""],
    ["Maturity", text(about.maturity)], ["Licence", shown(licences)], ["Revision", known.revision ? h("code", shown(known.revision)) : ""]]),
  issues.length ? h("div", h("h3", "Known issues"), h("ul", { style: { "padding-left": "18px" } }, issues.map((issue) => h("li", shown(typeof issue === "string" ? issue : JSON.stringify(issue)))))) : h("p.muted.small", "No issue of it is known.")));
}

function notes(run) {
  if (!boot.writable) return run.notes ? h("p", { style: { "white-space": "pre-wrap" } }, shown(run.notes)) : h("p.muted", "None.");
  const area = h("textarea", { rows: 4, value: run.notes || "", maxlength: 16384, "aria-label": "Notes", placeholder: "What was this run for? What did it show?" });
  const save = h("button.button.small", { type: "button", hidden: true, style: { "justify-self": "start" }, onclick: async () => {
    try {
      await call("PATCH", `/api/runs/${run.id}`, { body: { notes: area.value } });
      run.notes = area.value;
      save.hidden = true;
      say("Notes saved", { seconds: 2 });
    } catch (error) { complain(error); }
  } }, "Save notes");
  area.addEventListener("input", () => { save.hidden = area.value === run.notes; });
  return h("div.stack", area, save);
}

export function overviewTab({ run, manifest }) {
  const left = [fault(run, manifest), card("Results", metrics(run))];
  const right = [card("Notes", notes(run))];
  if (manifest) {
    left.push(card("Stages", timeline(manifest)), card("Run it again", again(run, manifest)));
    if (manifest.recipe.description) right.unshift(card("Recipe", h("div.stack", h("p", shown(manifest.recipe.description)), facts([["Name", shown(manifest.recipe.name)], ["Task", shown(manifest.recipe.task)]]))));
    right.push(card("Cost", cost(manifest)), adapter(manifest));
  } else {
    left.push(h("div.note", "Its manifest has not arrived yet; what is here comes from its streams."));
  }
  return h("div.split", h("div.cards", left.filter(Boolean)), h("div.cards", right.filter(Boolean)));
}
