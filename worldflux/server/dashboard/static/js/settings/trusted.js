// Trusted keys: whose signatures make evidence verified in this workspace.
import { boot, call, get } from "../api.js";
import { command, copy } from "../clip.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { shown } from "../format.js";
import { icon } from "../icon.js";
import { empty } from "../state.js";
import { complain, say } from "../toast.js";
import { field, head, remove } from "./part.js";

const PEM = "-----BEGIN PUBLIC KEY-----";

/** Trust one more. The server refuses a name that another key has; only then is it asked whether to replace that one. */
async function trust(again) {
  const pem = h("textarea", { name: "pem", id: "field-pem", rows: 5, required: true, maxlength: 4096, placeholder: PEM, spellcheck: "false", autocomplete: "off" });
  const replace = h("input", { type: "checkbox", name: "replace" });
  const taken = h("label.check", { hidden: true }, replace, h("span", "Replace the key that has this name"));
  const name = field("name", "Whose it is", { required: true, maxlength: 64, pattern: "[a-z0-9][a-z0-9._\\-]*", placeholder: "ada, lab-3", autocapitalize: "off", spellcheck: "false", autocomplete: "off", oninput: () => { taken.hidden = true; replace.checked = false; } }, "Small letters, digits and . _ -");
  const body = h("div.stack", name, field("pem", "Public key", { element: pem }, "In PEM form. Ask them for it by a way that nobody else can write to."), taken);
  const submit = async (form) => {
    if (/PRIVATE KEY/.test(form.get("pem"))) throw new Error("That is a private key, and it was not sent. It should be on no other machine than its owner's: ask for the public one.");
    try {
      return await call("PUT", `/api/trusted-keys/${encodeURIComponent(form.get("name").trim())}`, { query: { replace: form.get("replace") ? "true" : "" }, body: { pem: form.get("pem") } });
    } catch (error) {
      if (error.code !== "key-exists") throw error;
      taken.hidden = false;
      throw new Error(`${shown(error.message)}. Choose another name, or replace it.`);
    }
  };
  if (await ask({ title: "Trust a key", body, action: "Trust it", submit })) { say("The key is trusted"); again(); }
}

const distrust = (key, again) => remove(`/api/trusted-keys/${encodeURIComponent(key.name)}`, {
  title: `Trust ${shown(key.name)} no longer`, action: "Remove", done: "The key is no longer trusted",
  words: "Evidence with its signature is signed then, and no longer verified: also of the runs that are here.",
}, again);

export async function trusted() {
  const place = h("section.card");
  const admin = boot.session.scopes.includes("keys:admin");
  async function draw() {
    const { keys: list } = await get("/api/trusted-keys");
    if (!list.length) { place.replaceChildren(empty("shield", "No key is trusted yet", h("p", "Until then the best that signed evidence can be is “signed”. Whoever signs prints the public part of their key with:"), command("worldflux evidence key show"))); return; }
    const row = (key) => h("tr", h("td", h("strong", h("bdi", shown(key.name)))), h("td", h("code", shown(key.key_id))),
      h("td.fit", h("span.row.tight.fixed", h("button.button.small", { type: "button", onclick: () => copy(key.pem, "Key copied") }, "Copy"), admin ? h("button.button.small.danger", { type: "button", onclick: () => distrust(key, again) }, "Remove") : null)));
    place.replaceChildren(h("div.body.flush", h("table.plain", { "aria-label": "Trusted keys" }, h("thead", h("tr", ["Whose", "Key", ""].map((each) => h("th", each)))), h("tbody", list.map(row)))));
  }
  const again = () => draw().catch(complain);
  await draw();
  const button = admin ? h("button.button.primary", { type: "button", onclick: () => trust(again).catch(complain) }, icon("plus"), "Trust a key") : null;
  return [head("Trusted keys", "Evidence is verified when one of these keys has signed it.", button), place];
}
