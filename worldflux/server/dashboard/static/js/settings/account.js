// The own account: who one is here, and a new password.
import { boot, call } from "../api.js";
import { h } from "../dom.js";
import { moment, shown } from "../format.js";
import { card, facts } from "../state.js";
import { complain, say } from "../toast.js";
import { field, head, scopeList } from "./part.js";

function password() {
  const form = h("form.stack", field("old", "Old password", { type: "password", autocomplete: "current-password", required: true, maxlength: 256 }),
    field("new", "New password", { type: "password", autocomplete: "new-password", required: true, minlength: 12, maxlength: 256 }, "At least 12 characters. All other sessions of yours end."), h("div", h("button.button.primary", { type: "submit" }, "Change it")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = new FormData(form);
    try {
      await call("POST", "/api/session/password", { body: { old: given.get("old"), new: given.get("new") } });
      form.reset();
      say("Password changed");
    } catch (error) { complain(error); }
  });
  return form;
}

export async function account() {
  const { session } = boot;
  const who = session.user ? [["Login", shown(session.user.login)], ["Name", shown(session.user.name)]] : [["Signed in with", h("span", "key ", h("strong", shown(session.key.name)), h("code", ` wfx_…${shown(session.key.last4)}`))]];
  return [head("Account", "This session, and what it may do."), h("div.cards", card("Session", facts([...who, ["Workspace", shown(session.workspace)], ["Until", moment(session.expires_at)], ["Scopes", scopeList(session.scopes)]])), session.user ? card("Password", password()) : null)];
}
