// Any JSON as a tree that opens step by step; large parts are built when they are opened.
import { h } from "../dom.js";
import { shown } from "../format.js";

const MOST = 500;

function leaf(value) {
  if (typeof value === "number") return h("span.n", String(value));
  if (typeof value === "string") return h("span.t", JSON.stringify(value).length > 2000 ? `${shown(value.slice(0, 2000))}…` : `"${shown(value)}"`);
  return h("span.w", String(value));
}

function entries(value) {
  return Array.isArray(value) ? value.map((each, place) => [String(place), each]) : Object.entries(value);
}

function node(name, value, depth) {
  const label = name === null ? null : h("span.k", `${shown(name)}: `);
  if (value === null || typeof value !== "object") return h("div.leaf", label, leaf(value));
  const list = entries(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (!list.length) return h("div.leaf", label, h("span.w", open + close));
  const box = h("details", h("summary", label, h("span.k", `${open}${list.length}${close}`)));
  const build = () => {
    if (box.childElementCount > 1) return;
    box.append(...list.slice(0, MOST).map(([key, each]) => node(key, each, depth - 1)));
    if (list.length > MOST) box.append(h("div.leaf.k", `… ${list.length - MOST} more`));
  };
  box.addEventListener("toggle", build);
  if (depth > 0) { box.open = true; build(); }
  return box;
}

/** A value as a tree, opened to a depth. */
export function tree(value, depth) {
  if (value === null || typeof value !== "object") return h("div.tree", leaf(value));
  return h("div.tree", entries(value).slice(0, MOST).map(([key, each]) => node(key, each, depth - 1)));
}
