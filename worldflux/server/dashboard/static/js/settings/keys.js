// Keys: what machines and people sign in with.
import { boot, call, get } from "../api.js";
import { command } from "../clip.js";
import { ask, confirm } from "../dialog.js";
import { h } from "../dom.js";
import { shown } from "../format.js";
import { icon } from "../icon.js";
import { empty } from "../state.js";
import { complain } from "../toast.js";
import { chosenScopes, field, head, remove, scopeBoxes, scopeList, when } from "./part.js";

const STANDARD = ["runs:read", "runs:write", "artifacts:read", "artifacts:write"];

async function reveal(made) {
  const text = made.token;
  await ask({ title: "Copy the key now", body: h("div.stack", h("p", "It is shown this once; the server keeps only its digest."), command(text, "Copy the key"), h("p.muted.small", "On the machine that will use it:"), command(`worldflux auth login --server ${location.origin}`)), action: null, cancel: "I have it", big: false });
}

async function create(again) {
  const may = boot.session.scopes;
  const body = h("div.stack", field("name", "Name", { required: true, maxlength: 64, placeholder: "laptop, cluster, ci" }), h("div.field", h("span.label", "It may"), scopeBoxes(may, STANDARD)),
    field("days", "Ends after (days)", { type: "number", min: 1, max: 365, value: 90 }));
  const made = await ask({ title: "New API key", body, action: "Make it", submit: (form) => call("POST", "/api/api-keys", { body: { name: form.get("name").trim(), scopes: chosenScopes(form), expires_days: Number(form.get("days")) } }) });
  if (!made) return;
  await reveal(made);
  again();
}

async function rotate(key, again) {
  if (!(await confirm(`Rotate “${shown(key.name)}”`, "A new key takes its place. The old one goes on working for one day.", "Rotate", false))) return;
  try {
    await reveal(await call("POST", `/api/api-keys/${key.id}/rotate`, { body: {} }));
    again();
  } catch (error) { complain(error); }
}

const revoke = (key, again) => remove(`/api/api-keys/${key.id}`, {
  title: `Revoke “${shown(key.name)}”`, words: "Whoever uses it is signed out at once. This can not be undone.", action: "Revoke", done: "Key revoked",
}, again);

function state(key) {
  if (key.revoked_at && Date.parse(key.revoked_at) <= Date.now()) return h("span.pill.failed", "Revoked");
  if (key.expires_at && Date.parse(key.expires_at) < Date.now()) return h("span.pill.interrupted", "Expired");
  return h("span.pill.good", "Active");
}

export async function keys() {
  const place = h("section.card");
  async function draw() {
    const found = await get("/api/api-keys");
    const list = found.keys;
    if (!list.length) { place.replaceChildren(empty("key", "No keys", command("worldflux server key create --name laptop"))); return; }
    const row = (key) => {
      const live = !(key.revoked_at && Date.parse(key.revoked_at) <= Date.now());
      return h("tr", h("td", h("strong", h("bdi", shown(key.name))), h("div.small.muted", h("code", `wfx_…${shown(key.last4)}`))), h("td", scopeList(key.scopes)), h("td.fit", state(key)), h("td.fit", when(key.expires_at)), h("td.fit", when(key.last_used_at)),
        h("td.fit", live ? h("span.row.tight.fixed", h("button.button.small", { type: "button", onclick: () => rotate(key, again) }, "Rotate"), h("button.button.small.danger", { type: "button", onclick: () => revoke(key, again) }, "Revoke")) : null));
    };
    place.replaceChildren(h("div.body.flush", h("table.plain", { "aria-label": "API keys" }, h("thead", h("tr", ["Key", "Scopes", "State", "Ends", "Last used", ""].map((each) => h("th", each)))), h("tbody", list.map(row)))));
  }
  const again = () => draw().catch(complain);
  await draw();
  return [head("API keys", "A machine that syncs has a key of its own, so that it can be taken back alone.", h("button.button.primary", { type: "button", onclick: () => create(again).catch(complain) }, icon("plus"), "New key")), place];
}
