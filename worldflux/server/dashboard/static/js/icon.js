// Line drawings on a grid of 16, in the colour of the text beside them.
import { s } from "./dom.js";

const PATHS = {
  search: "M7 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9zM10.5 10.5L14 14",
  close: "M4 4l8 8M12 4l-8 8",
  columns: "M2.5 3h11v10h-11zM6.2 3v10M9.8 3v10",
  group: "M2.5 3.5h11M4.5 8h9M4.5 12.5h9M2.5 3.5v9",
  differs: "M2.5 6h11M2.5 10h11M11 2.5l-6 11",
  star: "M8 2.2l1.8 3.7 4 .6-2.9 2.8.7 4L8 11.4l-3.6 1.9.7-4L2.2 6.5l4-.6z",
  pin: "M6 2.5h4l-.5 4.2 2.2 2.3H4.3l2.2-2.3zM8 9v4.8",
  up: "M8 13V3.5M4 7.5l4-4 4 4",
  down: "M8 3v9.5M4 8.5l4 4 4-4",
  left: "M10 3.5L5.5 8 10 12.5",
  right: "M6 3.5L10.5 8 6 12.5",
  open: "M4 6l4 4 4-4",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  check: "M3 8.5l3.2 3.2L13 5",
  tag: "M2.5 2.5h5.2l5.8 5.8-5.2 5.2-5.8-5.8zM5.2 5.2h.01",
  archive: "M2.5 3h11v3h-11zM3.5 6v7h9V6M6.5 8.5h3",
  trash: "M3 4.5h10M6 4.5v-2h4v2M4.5 4.5l.6 9h5.8l.6-9",
  undo: "M5.5 3L2.8 5.7l2.7 2.7M3 5.7h6.2a3.7 3.7 0 0 1 0 7.4H5",
  compare: "M2.5 12.5l3.5-5 3 3 4.5-7M2.5 3v10.5H14",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  sun: "M8 5.2a2.8 2.8 0 1 1 0 5.6a2.8 2.8 0 0 1 0-5.6zM8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13 9.6A5.6 5.6 0 0 1 6.4 3a5.4 5.4 0 1 0 6.6 6.6z",
  person: "M8 2.5a2.7 2.7 0 1 1 0 5.4a2.7 2.7 0 0 1 0-5.4zM2.8 13.8c.5-2.7 2.5-4.2 5.2-4.2s4.7 1.5 5.2 4.2",
  download: "M8 2.5v8M4.5 7.5L8 11l3.5-3.5M2.5 13.5h11",
  link: "M6.8 9.2l2.6-2.6M7 5l1.6-1.6a2.6 2.6 0 0 1 3.8 3.8L10.8 9M9 11l-1.6 1.6a2.6 2.6 0 0 1-3.8-3.8L5.2 7",
  file: "M4 2h5l3.5 3.5V14H4zM9 2v3.5h3.5",
  image: "M2.5 3h11v10h-11zM2.5 11l3.2-3.2 2.6 2.6 2-2 3.2 3.2M10.6 6h.01",
  film: "M2.5 3h11v10h-11zM5.2 3v10M10.8 3v10M2.5 6.4h2.7M2.5 9.6h2.7M10.8 6.4h2.7M10.8 9.6h2.7",
  table: "M2.5 3h11v10h-11zM2.5 6.3h11M2.5 9.6h11M6.5 6.3V13",
  shield: "M8 1.8l5.2 1.9v4.1c0 3-2.1 5.2-5.2 6.4-3.1-1.2-5.2-3.4-5.2-6.4V3.7zM5.8 8l1.6 1.6 3-3.2",
  key: "M5.2 7.2a3 3 0 1 1 0 6a3 3 0 0 1 0-6zM7.4 8.2l6-6M11 4.6l1.8 1.8",
  runs: "M2.5 4h11M2.5 8h11M2.5 12h7",
  save: "M4 2.5h8v11.2L8 11l-4 2.7z",
  play: "M5 3.2l7.5 4.8L5 12.8z",
  wrap: "M2.5 4h11M2.5 8h8.6a2 2 0 0 1 0 4.2H8M9.6 10.4L8 12.2l1.6 1.6M2.5 12h2.5",
  plus: "M8 3v10M3 8h10",
  warn: "M8 2.2l6.2 11.3H1.8zM8 6.3v3.4M8 11.6h.01",
  pause: "M5.2 3.5v9M10.8 3.5v9",
  mark: "M2 11.5l3.4-7 2.6 5 2.6-5 3.4 7",
};

/** A drawing; hidden from readers, since words or a label stand beside it. */
export function icon(name) {
  return s("svg", { viewBox: "0 0 16 16", fill: "none", stroke: "currentColor", "stroke-width": 1.5,
    "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true", focusable: "false" },
    s("path", { d: PATHS[name] }));
}
