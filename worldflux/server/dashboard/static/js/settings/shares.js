// Shares: addresses that show one run or one project to whoever has them, until a day.
import { boot, call, get } from "../api.js";
import { command } from "../clip.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { shown } from "../format.js";
import { icon } from "../icon.js";
import { empty } from "../state.js";
import { complain } from "../toast.js";
import { field, head, remove, when } from "./part.js";

async function create(again, run) {
  const { projects } = await get("/api/projects");
  const project = h("select", { name: "project", id: "field-project" }, h("option", { value: "" }, "–"), projects.map((each) => h("option", { value: each.slug }, each.slug)));
  const body = h("div.stack", h("p.muted", "Whoever has the address may read; nobody can change anything with it."), field("name", "For whom or what", { maxlength: 200 }),
    field("run", "Run", { value: run || "", placeholder: "id of a run", maxlength: 36, pattern: "[0-9a-f\\-]{36}" }), field("project", "or a whole project", { element: project }),
    field("days", "Ends after (days)", { type: "number", min: 1, max: 365, value: 14, required: true }));
  const submit = (form) => {
    const target = form.get("run").trim() ? { run: form.get("run").trim() } : { project: form.get("project") };
    return call("POST", "/api/shares", { body: { ...target, ...(form.get("name").trim() ? { name: form.get("name").trim() } : {}), days: Number(form.get("days")) } });
  };
  const made = await ask({ title: "New share", body, action: "Make it", submit });
  if (!made) return;
  await ask({ title: "Copy the address now", body: h("div.stack", h("p", "It is shown this once."), command(`${location.origin}/s/${made.token}`, "Copy the address")), action: null, cancel: "I have it" });
  again();
}

const end = (share, again) => remove(`/api/shares/${share.id}`, {
  title: "End this share", words: "Its address stops working at once.", action: "End it", done: "Share ended",
}, again);

export async function shares() {
  const place = h("section.card");
  async function draw() {
    const { shares: list } = await get("/api/shares");
    if (!list.length) { place.replaceChildren(empty("link", "Nothing is shared", h("p", "A share is a page without sign-in, for a reviewer or a paper: one run or one project, read-only, until the day you choose."))); return; }
    const row = (share) => {
      const over = share.revoked_at || Date.parse(share.expires_at) < Date.now();
      const target = share.run ? h("a", { href: `/runs/${share.run}` }, h("code", `run …${shown(share.run.slice(-8))}`)) : h("a", { href: `/p/${encodeURIComponent(share.project)}` }, shown(share.project || ""));
      return h("tr", h("td", h("bdi", shown(share.name || "–"))), h("td", target), h("td.fit", h(`span.pill.${over ? "failed" : "good"}`, share.revoked_at ? "Ended" : over ? "Expired" : "Open")), h("td.fit", when(share.expires_at)), h("td.fit", h("code", `…${shown(share.last4 || "")}`)),
        h("td.fit", over ? null : h("button.button.small.danger", { type: "button", onclick: () => end(share, again) }, "End")));
    };
    place.replaceChildren(h("div.body.flush", h("table.plain", { "aria-label": "Shares" }, h("thead", h("tr", ["For", "Shows", "State", "Ends", "Token", ""].map((each) => h("th", each)))), h("tbody", list.map(row)))));
  }
  const again = () => draw().catch(complain);
  await draw();
  const run = new URLSearchParams(location.search).get("run");
  if (run) create(again, run).catch(complain);
  const button = boot.session.scopes.includes("keys:admin") || boot.writable ? h("button.button.primary", { type: "button", onclick: () => create(again).catch(complain) }, icon("plus"), "New share") : null;
  return [head("Shares", "Read-only pages without sign-in, each with an end.", button), place];
}
