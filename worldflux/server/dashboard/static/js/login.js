// Signing in: with a key, or with a login and its password.
import { boot, call } from "./api.js";
import { command } from "./clip.js";
import { find, h } from "./dom.js";
import { recall, remember } from "./keep.js";
import { start, title } from "./shell.js";

function field(name, label, props, hint) {
  return h("div.field", h("label", { for: name }, label), h("input", { id: name, name, required: true, maxlength: 200, ...props }), hint ? h("span.hint", hint) : null);
}

const WAYS = {
  key: () => [field("key", "API key", { type: "password", autocomplete: "off", placeholder: "wfx_…", spellcheck: "false" })],
  password: () => [
    field("login", "Login", { type: "text", autocomplete: "username", autocapitalize: "off", spellcheck: "false" }),
    field("password", "Password", { type: "password", autocomplete: "current-password", maxlength: 256 }),
  ],
};

function door() {
  const fault = h("p.note.bad", { role: "alert", hidden: true });
  const fields = h("div.stack", { id: "way", role: "tabpanel" });
  const go = h("button.button.primary", { type: "submit" }, "Sign in");
  const tabs = Object.entries({ key: "API key", password: "Password" }).map(([way, label]) =>
    h("button", { type: "button", role: "tab", "aria-controls": "way", data: { way }, onclick: () => choose(way) }, label));
  const hint = h("div.stack", h("p.small.muted", "No key yet? Whoever runs the server makes one:"), command("worldflux server key create --name laptop"));
  let way = "key";

  function choose(next) {
    way = next;
    remember("login.way", way);
    for (const tab of tabs) tab.setAttribute("aria-selected", String(tab.dataset.way === way));
    fields.replaceChildren(...WAYS[way]());
    hint.hidden = way !== "key";
    fault.hidden = true;
    fields.querySelector("input").focus();
  }

  async function enter(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    go.disabled = true;
    fault.hidden = true;
    try {
      await call("POST", "/api/session", { body: way === "key" ? { key: form.get("key").trim() } : { login: form.get("login"), password: form.get("password") } });
      location.assign(boot.next);
    } catch (error) {
      fault.textContent = error instanceof TypeError ? "The server can not be reached." : `${error.message}. ${error.hint}`;
      fault.hidden = false;
      go.disabled = false;
    }
  }

  const form = h("form", { onsubmit: enter }, fields, fault, go);
  find("#main").append(h("section.card.door", h("h1", "Sign in"), h("div.ways", { role: "tablist", "aria-label": "How to sign in" }, tabs), form, hint));
  choose(recall("login.way", "key"));
}

start();
title("Sign in");
door();
