// What the sections of the settings share.
import { call } from "../api.js";
import { confirm } from "../dialog.js";
import { h } from "../dom.js";
import { ago, moment, shown } from "../format.js";
import { complain, say } from "../toast.js";

/** What each scope lets somebody do, in words. */
export const SCOPES = {
  "runs:read": "See runs, metrics and logs", "runs:write": "Send runs; tag, archive and delete them", "artifacts:read": "Download artifacts",
  "artifacts:write": "Upload artifacts", "keys:admin": "Make and revoke keys, members and shares", "audit:read": "Read the audit log", admin: "Make workspaces on this server",
};

export function head(title, words, ...tools) {
  return h("div.section-head", h("div.grow", h("h1", title), h("p", words)), tools);
}

/** Boxes for scopes; `may` are those that the person has. */
export function scopeBoxes(may, on) {
  return h("div.scopes", { role: "group", "aria-label": "Scopes" }, Object.entries(SCOPES).map(([scope, words]) => h("label.check",
    h("input", { type: "checkbox", name: "scope", value: scope, checked: on.includes(scope), disabled: !may.includes(scope) }), h("span", h("code", scope), h("span.muted.small", ` ${words}`)))));
}

export const chosenScopes = (form) => form.getAll("scope");
export const scopeList = (scopes) => h("span.row.tight", scopes.map((scope) => h("span.badge", { title: SCOPES[scope] }, shown(scope))));
export const when = (time, never = "never") => (time ? h("span", { title: moment(time) }, ago(time)) : h("span.muted", never));

/** A field of a dialog. */
export function field(name, label, props = {}, hint = "") {
  const input = props.element || h("input", { type: "text", id: `field-${name}`, name, ...props });
  return h("div.field", h("label", { for: `field-${name}` }, label), input, hint ? h("span.hint", hint) : null);
}

/** Take away what is at an address once that was confirmed; say so, and draw the list anew. */
export async function remove(path, { title, words, action, done }, again) {
  if (!(await confirm(title, words, action))) return;
  try {
    await call("DELETE", path);
    say(done);
    again();
  } catch (error) { complain(error); }
}
