// What the sections of the settings share.
import { h } from "../dom.js";
import { ago, moment, shown } from "../format.js";

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

/** A date some days from now, for a date field. */
export const inDays = (days) => new Date(Date.now() + days * 86400000).toISOString().slice(0, 10);
/** The end of a day of a date field, as a time of the API. */
export const endOf = (date) => `${date}T23:59:59.000+00:00`;
