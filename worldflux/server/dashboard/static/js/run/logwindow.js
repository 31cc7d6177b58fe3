// A stretch of a log in memory: bytes of a file of any size, cut into lines.
import { request } from "../api.js";
import { PLAIN, after } from "../ansi.js";

const CHUNK = 131072;
/** More than this is never kept, however long the log is. */
const MOST = 1048576;
const NEWLINE = 10;

/** Part of one log. `lines` are `{text, offset, state}`; the part moves and grows by whole chunks. */
export class LogWindow {
  constructor(run, name) {
    this.path = `/api/runs/${run}/log`;
    this.name = name;
    this.start = 0;
    this.bytes = new Uint8Array(0);
    this.size = 0;
    this.final = false;
    this.lines = [];
  }

  get end() { return this.start + this.bytes.length; }
  get atStart() { return this.start === 0; }
  get atEnd() { return this.end >= this.size; }

  async fetch(offset, limit = CHUNK) {
    const answer = await request("GET", this.path, { query: { name: this.name, offset, limit } });
    this.size = Number(answer.headers.get("X-Log-Bytes") || 0);
    this.final = /^(1|true|\?1)$/i.test(answer.headers.get("X-Log-Final") || "");
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** Start anew around a place; negative is from the end. */
  async jump(offset) {
    const from = offset < 0 ? offset : Math.max(0, offset - CHUNK / 4);
    const bytes = await this.fetch(from, CHUNK);
    this.start = offset < 0 ? Math.max(0, this.size - bytes.length) : from;
    this.bytes = bytes;
    this.cut();
  }

  /** Add what comes before. */
  async before() {
    if (this.atStart) return false;
    const from = Math.max(0, this.start - CHUNK);
    const found = await this.fetch(from, this.start - from);
    this.join(found, this.bytes.subarray(0, Math.max(0, MOST - found.length)), from);
    return true;
  }

  /** Add what comes after; false when there is nothing new. */
  async after() {
    const found = await this.fetch(this.end, CHUNK);
    if (!found.length) return false;
    const drop = Math.max(0, this.bytes.length + found.length - MOST);
    this.join(this.bytes.subarray(drop), found, this.start + drop);
    return true;
  }

  join(first, second, start) {
    const joined = new Uint8Array(first.length + second.length);
    joined.set(first);
    joined.set(second, first.length);
    this.bytes = joined;
    this.start = start;
    this.cut();
  }

  /** Cut the bytes into lines; a line whose beginning is not here is left out. */
  cut() {
    const decoder = new TextDecoder("utf-8");
    const { bytes } = this;
    let from = 0;
    if (this.start > 0) {
      const first = bytes.indexOf(NEWLINE);
      from = first < 0 ? 0 : first + 1;
    }
    const lines = [];
    let state = PLAIN;
    while (from < bytes.length) {
      let to = bytes.indexOf(NEWLINE, from);
      if (to < 0) to = bytes.length;
      const text = decoder.decode(bytes.subarray(from, to));
      lines.push({ text, offset: this.start + from, state });
      state = after(text, state);
      from = to + 1;
    }
    this.lines = lines;
  }

  /** The place of the line that holds a byte. */
  at(offset) {
    let [low, high] = [0, this.lines.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.lines[middle].offset <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
