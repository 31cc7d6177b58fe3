// Curves by the plot library, which is fetched when the first one comes into sight.
import { boot } from "./api.js";
import { h } from "./dom.js";
import { shown } from "./format.js";

/** Colours that stay apart for most eyes, on light and on dark. */
export const COLOURS = ["#4269d0", "#e08b0b", "#e8543f", "#3a9d8f", "#5aa02c", "#d4589b", "#8d56e0", "#5b9bd5", "#9c6b4e", "#7d8594"];
export const colour = (place) => COLOURS[place % COLOURS.length];

let library = null;

/** The plot library. */
export function plotly() {
  library ??= new Promise((resolve, reject) => {
    if (!boot.plotly) { reject(new Error("The plot library is not installed on the server: pip install plotly")); return; }
    const script = h("script", { src: boot.plotly });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { library = null; reject(new Error("The plot library could not be loaded.")); };
    document.head.append(script);
  });
  return library;
}

/** A text that the plot library takes as it is: it reads some markup. */
export const plain = (text) => shown(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;").replaceAll("%{", "%&#123;");

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Moving mean that forgets, without the pull of its start. 0 is none, towards 1 is more. */
export function smooth(values, weight) {
  if (!weight) return values;
  let [mean, mass] = [0, 0];
  return values.map((value) => {
    if (typeof value !== "number") return null;
    mean = mean * weight + (1 - weight) * value;
    mass = mass * weight + (1 - weight);
    return mean / mass;
  });
}

const finite = (values) => values.map((value) => (typeof value === "number" && Number.isFinite(value) ? value : null));

function rgba(hex, alpha) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${red},${green},${blue},${alpha})`;
}

/** Traces of one series: its band where points were left out, the raw curve, the smoothed one. */
function traces({ name, colour: tone, x, y, min, max, strong }, { weight, legend }) {
  const found = [];
  const values = finite(y);
  if (min && max) {
    const quiet = { x, mode: "lines", line: { width: 0, color: tone }, hoverinfo: "skip", showlegend: false, legendgroup: name };
    found.push({ ...quiet, y: finite(min) }, { ...quiet, y: finite(max), fill: "tonexty", fillcolor: rgba(tone, 0.15) });
  }
  const alone = values.length === 1;
  const line = { x, y: values, type: "scatter", mode: alone ? "markers" : "lines", line: { color: tone, width: strong ? 3 : 1.8 }, marker: { color: tone, size: 7 },
    name: plain(name), legendgroup: name, showlegend: legend, hoverinfo: "x+y+name", connectgaps: false };
  if (weight && !alone) found.push({ ...line, opacity: 0.25, showlegend: false, hoverinfo: "skip" }, { ...line, y: smooth(values, weight) });
  else found.push(line);
  return found;
}

function layout({ log, xTitle, yTitle, zoom, legend, dates }) {
  const axis = { gridcolor: token("--line"), linecolor: token("--line-strong"), zerolinecolor: token("--line-strong"), tickfont: { size: 11 }, automargin: true, exponentformat: "e" };
  return {
    autosize: true, margin: { l: 8, r: 12, t: 8, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: token("--muted") },
    xaxis: { ...axis, title: xTitle ? { text: plain(xTitle), standoff: 6 } : undefined, type: dates ? "date" : "linear", uirevision: zoom },
    yaxis: { ...axis, title: yTitle ? { text: plain(yTitle), standoff: 6 } : undefined, type: log ? "log" : "linear", uirevision: `${zoom}-${log}` },
    hovermode: "x unified", hoverlabel: { bgcolor: token("--surface"), bordercolor: token("--line-strong"), font: { color: token("--text"), size: 12 }, namelength: 40 },
    showlegend: Boolean(legend), legend: { orientation: "h", y: -0.18, font: { color: token("--text") } },
    dragmode: "zoom", uirevision: zoom,
  };
}

/**
 * Draw curves into an element; drawing again keeps the zoom.
 * `zoomed(from, to)` is called when somebody chose a stretch of x, with nulls when they went back.
 */
export async function curves(element, series, options = {}) {
  const library = await plotly();
  const many = options.legend ?? series.length > 1;
  const data = series.flatMap((each) => traces(each, { weight: options.weight || 0, legend: many }));
  await library.react(element, data, layout({ zoom: "kept", ...options, legend: many }), { displayModeBar: false, responsive: true, doubleClick: "reset", scrollZoom: false });
  if (options.zoomed && !element.dataset.listens) {
    element.dataset.listens = "1";
    element.on("plotly_relayout", (change) => {
      if ("xaxis.autorange" in change) options.zoomed(null, null);
      else if ("xaxis.range[0]" in change) options.zoomed(change["xaxis.range[0]"], change["xaxis.range[1]"]);
    });
  }
}

/** Forget a drawing and what it listens to. */
export function erase(element) {
  if (window.Plotly && element.classList.contains("js-plotly-plot")) window.Plotly.purge(element);
}
