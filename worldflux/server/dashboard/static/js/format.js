// Values as people read them.

// C0, C1, zero-width, direction marks and line separators: shown as their code, so that no name can hide.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

/** A name for showing: what can not be seen stands as its code. */
export function shown(text) {
  return String(text).replace(UNSEEN, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A number of a metric, 5 significant digits; "NaN" and the infinities by name. */
export function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return shown(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en-US").replaceAll(",", "\u202f");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3).replace("e+", "e");
  return String(Number(value.toPrecision(5)));
}

export const percent = (value) => (typeof value === "number" ? `${(value * 100).toFixed(value > 0.995 && value < 1 ? 2 : 1).replace(/\.0$/, "")}\u202f%` : number(value));

/** One metric of a run or a group with its unit. */
export function metric(found) {
  if (!found) return "";
  const value = found.value === undefined ? found.mean : found.value;
  if (found.kind === "success") return percent(value);
  return number(value) + (found.unit ? `\u202f${shown(found.unit)}` : "");
}

/** "[0.92, 1]" of what has an interval, else "". */
export function interval(found) {
  if (!found || typeof found.low !== "number" || typeof found.high !== "number") return "";
  const one = found.kind === "success" ? (value) => String(Math.round(value * 1000) / 10) : number;
  return `${one(found.low)}–${one(found.high)}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

export function bytes(count) {
  if (count === null || count === undefined) return "";
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count;
  let unit = "B";
  for (const next of units) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  return `${value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

export function money(usd) {
  if (usd === null || usd === undefined) return "";
  return usd > 0 && usd < 0.01 ? `$${usd.toFixed(4)}` : `$${usd.toFixed(2)}`;
}

const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const YEAR = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });

/** "12 s ago", "3 h ago", "Nov 21, 14:05". */
export function ago(time, now = Date.now()) {
  if (!time) return "";
  const at = new Date(time);
  const seconds = (now - at.getTime()) / 1000;
  if (Number.isNaN(seconds)) return shown(time);
  if (seconds < -60) return FULL.format(at);
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  const day = at.getFullYear() === new Date(now).getFullYear() ? DAY : YEAR;
  return `${day.format(at)}, ${CLOCK.format(at)}`;
}

export const moment = (time) => (time && !Number.isNaN(Date.parse(time)) ? FULL.format(new Date(time)) : shown(time || ""));
export const count = (value) => (value === null || value === undefined ? "" : value.toLocaleString("en-US").replaceAll(",", "\u202f"));
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
export const short = (digest, length = 7) => (digest ? String(digest).slice(0, length) : "");

/** A value of a configuration on one line. */
export function setting(value) {
  if (value === undefined) return "–";
  if (typeof value === "string") return shown(value);
  if (typeof value === "number") return String(value);
  return shown(JSON.stringify(value));
}
