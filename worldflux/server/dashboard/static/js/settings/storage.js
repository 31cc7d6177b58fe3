// Storage: what the workspace holds, how much it may, and for how long.
import { boot, call, get } from "../api.js";
import { command } from "../clip.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { bytes, count } from "../format.js";
import { card, facts } from "../state.js";
import { complain } from "../toast.js";
import { field, head } from "./part.js";

function meter(used, most, show) {
  if (most === null || most === undefined) return h("p", h("strong", show(used)), h("span.muted", " – no limit is set"));
  const share = Math.min(100, (100 * used) / Math.max(1, most));
  return h("div.stack", h("p", h("strong", show(used)), h("span.muted", ` of ${show(most)}`)), h("div.meter", { role: "meter", "aria-valuenow": Math.round(share), "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "Used" }, h("i", { style: { width: `${share}%` } })));
}

const days = (value) => (value === null || value === undefined ? "for ever" : `${count(value)} days`);

async function change(found, again) {
  const submit = (form) => call("PATCH", "/api/workspace", { body: { retention_days: form.get("retention") ? Number(form.get("retention")) : null, trash_days: form.get("trash") ? Number(form.get("trash")) : null } });
  const body = h("div.stack", field("retention", "Delete runs after (days)", { type: "number", min: 1, max: 36500, value: found.retention_days ?? "" }, "Empty: they are kept for ever."),
    field("trash", "Empty the trash after (days)", { type: "number", min: 1, max: 36500, value: found.trash_days ?? "" }, "Empty: as the server is set."));
  if (await ask({ title: "How long runs are kept", body, action: "Save", submit })) again();
}

export async function storage() {
  const place = h("div.cards");
  async function draw() {
    const found = await get("/api/workspace");
    const { usage, quotas } = found;
    const edit = boot.session.scopes.includes("keys:admin") ? h("button.button.small", { type: "button", onclick: () => change(found, () => draw().catch(complain)).catch(complain) }, "Change") : null;
    place.replaceChildren(card("Space", meter(usage.bytes, quotas.bytes, bytes)), card("Runs", meter(usage.runs, quotas.runs, count)),
      card("How long", facts([["Runs are kept", days(found.retention_days)], ["Trash is kept", days(found.trash_days)]]), ...[edit].filter(Boolean)),
      card("Free space", h("div.stack", h("p.muted.small", "On the server: what the trash and nobody else needs is removed from the disk."), command("worldflux server gc"), command("worldflux server backup /backups/today"))));
  }
  await draw();
  return [head("Storage", "What this workspace holds on the server."), place];
}
