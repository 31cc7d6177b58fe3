// Small pieces that several pages show the same way.
import { h, s } from "./dom.js";
import { icon } from "./icon.js";
import { shown } from "./format.js";

const WORDS = { succeeded: "Succeeded", failed: "Failed", running: "Running", queued: "Queued", interrupted: "Interrupted",
  timeout: "Timed out", cancelled: "Cancelled", refused: "Refused" };

export function status(run) {
  const title = run.lost ? "No word from the machine for a while; it comes back to life when the machine does." : run.error ? shown(run.error.message) : null;
  return h(`span.pill.${WORDS[run.status] ? run.status : "unknown"}`, { title }, WORDS[run.status] || shown(run.status), run.lost ? " (lost)" : null);
}

export function support(level) {
  return level ? h(`span.badge.${["production", "experimental", "disabled"].includes(level) ? level : "other"}`, shown(level)) : null;
}

const EVIDENCE = { signed: ["plain", "Signed, key unknown"], verified: ["good", "Verified"], invalid: ["invalid", "Invalid"], unsigned: ["plain", "Unsigned"], none: ["plain", "No evidence"] };

export function evidence(state) {
  const [kind, words] = EVIDENCE[state] || ["plain", shown(state || "none")];
  return h(`span.pill.${kind}`, words);
}

export function tag(text, remove) {
  return h("span.tag", h("bdi.clip", shown(text)), remove ? h("button", { type: "button", "aria-label": `Remove tag ${shown(text)}`, onclick: remove }, "×") : null);
}

/** An empty place that says what to do next. */
export function empty(name, title, ...children) {
  return h("div.empty", icon(name), h("h2", title), children);
}

/** Where a value lies in its interval, on a scale that all rows share. */
export function intervalBar(low, value, high, from, to) {
  const at = (number) => (to > from ? 2 + (96 * (number - from)) / (to - from) : 50);
  return h("span.bar", { "aria-hidden": "true" }, s("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none" },
    s("line", { class: "track", x1: 0, x2: 100, y1: 7, y2: 7 }),
    typeof low === "number" && typeof high === "number" ? s("line", { class: "range", x1: at(low), x2: at(high), y1: 7, y2: 7 }) : null,
    s("ellipse", { class: "point", cx: at(value), cy: 7, rx: 3.2, ry: 3.6 })));
}

export function waiting(lines = 3) {
  return h("div.stack", { "aria-busy": "true" }, Array.from({ length: lines }, () => h("div.skeleton")));
}

export function card(title, body, ...tools) {
  const flush = body && body.classList && body.classList.contains("plain");
  return h("section.card", h("header", h("h2", title), tools), h(`div.body${flush ? ".flush" : ""}`, body));
}

/** A list of terms; what is empty is left out. */
export function facts(pairs) {
  const kept = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return h("dl.facts", kept.map(([name, value]) => [h("dt", name), h("dd", value)]));
}
