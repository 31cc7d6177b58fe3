// Rows of a CSV, TSV or JSON Lines file as a table; the first thousand of them.
import { h } from "../dom.js";
import { count, shown } from "../format.js";

const MOST_ROWS = 1000;
const MOST_COLUMNS = 100;

/** Cells of text with separators; quotes may hold separators and line ends. */
export function cells(text, separator, most = MOST_ROWS + 1) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length && rows.length < most; at += 1) {
    const unit = text[at];
    if (quoted) {
      if (unit !== '"') cell += unit;
      else if (text[at + 1] === '"') { cell += '"'; at += 1; } else quoted = false;
    } else if (unit === '"' && cell === "") quoted = true;
    else if (unit === separator) { row.push(cell); cell = ""; }
    else if (unit === "\n") {
      row.push(cell.replace(/\r$/, ""));
      rows.push(row);
      row = [];
      cell = "";
    } else cell += unit;
  }
  if ((cell || row.length) && rows.length < most) rows.push([...row, cell]);
  return rows;
}

function fromLines(text) {
  const found = [];
  for (const line of text.split("\n")) {
    if (found.length > MOST_ROWS) break;
    try { if (line.trim()) found.push(JSON.parse(line)); } catch { break; }
  }
  const names = [...new Set(found.flatMap((each) => (each && typeof each === "object" ? Object.keys(each) : ["value"])))];
  const value = (each, name) => (each && typeof each === "object" ? each[name] : name === "value" ? each : undefined);
  const word = (each) => (each === undefined ? "" : typeof each === "string" ? each : JSON.stringify(each));
  return [names, ...found.map((each) => names.map((name) => word(value(each, name))))];
}

/** The table of a file's beginning. */
export function sheet(text, path, cut) {
  const ending = path.split(".").pop().toLowerCase();
  const rows = ["jsonl", "ndjson"].includes(ending) ? fromLines(text) : cells(text, ending === "tsv" ? "\t" : ",");
  const [head = [], ...body] = rows;
  const numeric = head.map((_, place) => body.slice(0, 50).every((row) => row[place] === undefined || row[place] === "" || Number.isFinite(Number(row[place]))));
  const cell = (kind) => (value, place) => h(numeric[place] ? `${kind}.num` : kind, shown(value ?? ""));
  const few = (row) => row.slice(0, MOST_COLUMNS);
  const table = h("table.plain", h("thead", h("tr", few(head).map(cell("th")))), h("tbody", body.slice(0, MOST_ROWS).map((row) => h("tr", few(row).map(cell("td"))))));
  const more = cut || body.length >= MOST_ROWS || head.length > MOST_COLUMNS;
  return h("div.stack", h("div.scroll", { tabindex: 0 }, table), more ? h("p.small.muted", `The first ${count(Math.min(body.length, MOST_ROWS))} rows${head.length > MOST_COLUMNS ? ` and ${MOST_COLUMNS} columns` : ""}.`) : null);
}
