// Points of metrics, thinned out by the server where there are more than a screen can show.
import { get } from "./api.js";

const POINTS = 1500;

/** Names of the metrics of a run that have steps. */
export async function seriesNames(run) {
  const found = await get(`/api/runs/${run.id}/metrics`, { max_points: 2 });
  return Object.keys(found.series).sort();
}

/** Series of some metrics; a stretch of steps when `range` says so. */
export async function loadSeries(id, names, [from, to] = [null, null], signal) {
  const query = { names: names.map((name) => name.replace(/[\\,]/g, (unit) => `\\${unit}`)).join(","), max_points: POINTS, from_step: from, to_step: to };
  const { series } = await get(`/api/runs/${id}/metrics`, query, signal);
  return series;
}
