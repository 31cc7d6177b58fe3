// Storage: what the workspace holds, how much it may, and for how long.
import { get } from "../api.js";
import { command } from "../clip.js";
import { h } from "../dom.js";
import { bytes, count } from "../format.js";
import { card, facts } from "../state.js";
import { head } from "./part.js";

function meter(used, most, show) {
  if (most === null || most === undefined) return h("p", h("strong", show(used)), h("span.muted", " – no limit is set"));
  const share = Math.min(100, (100 * used) / Math.max(1, most));
  return h("div.stack", h("p", h("strong", show(used)), h("span.muted", ` of ${show(most)}`)), h("div.meter", { role: "meter", "aria-valuenow": Math.round(share), "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "Used" }, h("i", { style: { width: `${share}%` } })));
}

const days = (value) => (value === null || value === undefined ? "for ever" : `${count(value)} days`);

export async function storage() {
  const found = await get("/api/workspace");
  const usage = found.usage || {};
  const quotas = found.quotas || {};
  const retention = found.retention || {};
  return [head("Storage", "What this workspace holds on the server."), h("div.cards",
    card("Space", meter(usage.bytes ?? 0, quotas.bytes, bytes)), card("Runs", meter(usage.runs ?? 0, quotas.runs, count)),
    card("How long", facts([["Runs are kept", days(retention.days ?? retention.retention_days ?? retention.runs_days)], ["Trash is kept", days(retention.trash_days)], ["In the trash", usage.trash_runs ?? usage.trash ?? ""], ["Blobs", count(usage.blobs)], ["Manifests and streams", bytes(usage.stream_bytes ?? usage.stored_bytes)], ["Artifacts", bytes(usage.blob_bytes)]])),
    card("Free space", h("div.stack", h("p.muted.small", "On the server: what the trash and nobody else needs is removed from the disk."), command("worldflux server gc"), command("worldflux server backup /backups/today"))))];
}
