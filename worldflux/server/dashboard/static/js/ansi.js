// Terminal text made safe: colours become classes, every other sequence and control character goes.
import { h } from "./dom.js";

// OSC and other strings up to their end, CSI sequences, two-character escapes, and C0/C1 controls but the tab.
// eslint-disable-next-line no-control-regex
const SEQUENCE = /\u001b[\]PX^_][^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c|$)|(?:\u001b\[|\u009b)([0-9:;<=>?]*)[ -/]*([@-~])|\u001b[ -/]*[0-~]?|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const HIDDEN = /[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** No colour, no weight. */
export const PLAIN = Object.freeze({ color: null, back: null, on: "" });
const ON = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };
const LEVELS = [0, 95, 135, 175, 215, 255];

function extended(code) {
  if (code < 16) return code;
  if (code >= 232) { const grey = 8 + (code - 232) * 10; return `rgb(${grey}, ${grey}, ${grey})`; }
  const cube = code - 16;
  return `rgb(${LEVELS[Math.floor(cube / 36)]}, ${LEVELS[Math.floor(cube / 6) % 6]}, ${LEVELS[cube % 6]})`;
}

function longColour(codes, at) {
  if (codes[at + 1] === 5 && codes[at + 2] >= 0 && codes[at + 2] < 256) return [extended(codes[at + 2]), at + 2];
  const [red, green, blue] = codes.slice(at + 2, at + 5);
  if (codes[at + 1] === 2 && [red, green, blue].every((each) => each >= 0 && each < 256)) return [`rgb(${red}, ${green}, ${blue})`, at + 4];
  return [null, codes.length];
}

/** The state after one "set graphics" sequence. */
function turned(state, parameters) {
  const codes = (parameters || "0").split(/[;:]/).map((each) => Number(each || 0));
  let next = { ...state };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) next = { ...PLAIN };
    else if (ON[code]) next.on = [...new Set([...next.on.split(" ").filter(Boolean), ON[code]])].join(" ");
    else if (OFF[code]) next.on = next.on.split(" ").filter((each) => !OFF[code].includes(each)).join(" ");
    else if (code >= 30 && code <= 37) next.color = code - 30;
    else if (code >= 90 && code <= 97) next.color = code - 82;
    else if (code >= 40 && code <= 47) next.back = code - 40;
    else if (code >= 100 && code <= 107) next.back = code - 100;
    else if (code === 39) next.color = null;
    else if (code === 49) next.back = null;
    else if (code === 38) [next.color, at] = longColour(codes, at);
    else if (code === 48) [next.back, at] = longColour(codes, at);
  }
  return next;
}

const visible = (text) => text.replace(HIDDEN, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** What a terminal would show of one line: pieces of text with their state, and the state after it. */
export function pieces(line, state = PLAIN) {
  // A progress bar writes its line again and again: the last writing counts.
  const kept = line.replace(/\r+$/, "").split("\r").pop();
  const found = [];
  let current = state;
  let from = 0;
  for (const match of kept.matchAll(SEQUENCE)) {
    if (match.index > from) found.push([visible(kept.slice(from, match.index)), current]);
    if (match[2] === "m" && !/[<=>?]/.test(match[1])) current = turned(current, match[1]);
    from = match.index + match[0].length;
  }
  if (from < kept.length) found.push([visible(kept.slice(from)), current]);
  return { found, state: current };
}

/** The state after a line, without building its pieces. */
export const after = (line, state) => (line.includes("\u001b") || line.includes("\u009b") ? pieces(line, state).state : state);

/** One piece as an element; plain text stays text. */
export function drawn(text, state) {
  if (state.color === null && state.back === null && !state.on) return text;
  const classes = state.on.split(" ").filter(Boolean).map((each) => `ansi-${each}`);
  const style = {};
  if (typeof state.color === "number") classes.push(`ansi-${state.color}`);
  else if (state.color) style.color = state.color;
  if (typeof state.back === "number") classes.push(`ansi-b${state.back % 8}`);
  else if (state.back) style["background-color"] = state.back;
  return h("span", { class: classes.join(" ") || null, style }, text);
}
