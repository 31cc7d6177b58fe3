// Members: people who sign in with a password, and what each may do.
import { boot, call, get } from "../api.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { shown } from "../format.js";
import { icon } from "../icon.js";
import { empty } from "../state.js";
import { complain, say } from "../toast.js";
import { chosenScopes, field, head, remove, scopeBoxes, scopeList, when } from "./part.js";

const STANDARD = ["runs:read", "runs:write", "artifacts:read", "artifacts:write"];

async function add(again) {
  const body = h("div.stack", field("login", "Login", { required: true, maxlength: 64, autocapitalize: "off", spellcheck: "false", autocomplete: "off" }), field("name", "Name", { maxlength: 200 }),
    field("password", "First password", { type: "password", minlength: 12, maxlength: 256, autocomplete: "new-password" }, "At least 12 characters; they can change it under Account. Leave it empty for a login that exists."),
    h("div.field", h("span.label", "They may"), scopeBoxes(boot.session.scopes, STANDARD)));
  const submit = (form) => call("POST", "/api/users", { body: { login: form.get("login").trim(), name: form.get("name").trim(), scopes: chosenScopes(form), ...(form.get("password") ? { password: form.get("password") } : {}) } });
  if (await ask({ title: "Add a member", body, action: "Add", submit })) { say("Member added"); again(); }
}

async function change(user, again) {
  const submit = (form) => call("PATCH", `/api/users/${encodeURIComponent(user.login)}`, { body: { scopes: chosenScopes(form) } });
  if (await ask({ title: `What ${shown(user.login)} may do`, body: scopeBoxes(boot.session.scopes, user.scopes), action: "Save", submit })) again();
}

const dismiss = (user, again) => remove(`/api/users/${encodeURIComponent(user.login)}`, {
  title: `Remove ${shown(user.login)}`, words: "They are signed out of this workspace at once. Their runs stay.", action: "Remove", done: "Member removed",
}, again);

export async function members() {
  const place = h("section.card");
  const admin = boot.session.scopes.includes("keys:admin");
  async function draw() {
    const { users } = await get("/api/users");
    if (!users.length) { place.replaceChildren(empty("person", "Nobody signs in with a password yet", h("p", "Keys work without members. Add one for each person who looks at the dashboard."))); return; }
    const row = (user) => h("tr", h("td", h("strong", h("bdi", shown(user.login))), user.name ? h("div.small.muted", h("bdi", shown(user.name))) : null), h("td", scopeList(user.scopes)), h("td.fit", when(user.created_at)),
      h("td.fit", admin ? h("span.row.tight.fixed", h("button.button.small", { type: "button", onclick: () => change(user, again).catch(complain) }, "Scopes"), h("button.button.small.danger", { type: "button", onclick: () => dismiss(user, again) }, "Remove")) : null));
    place.replaceChildren(h("div.body.flush", h("table.plain", { "aria-label": "Members" }, h("thead", h("tr", ["Member", "Scopes", "Since", ""].map((each) => h("th", each)))), h("tbody", users.map(row)))));
  }
  const again = () => draw().catch(complain);
  await draw();
  const button = admin ? h("button.button.primary", { type: "button", onclick: () => add(again).catch(complain) }, icon("plus"), "Add a member") : null;
  return [head("Members", "People of this workspace who sign in with a password.", button), place];
}
