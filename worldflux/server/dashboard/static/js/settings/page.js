// The workspace: one section at a time.
import { boot } from "../api.js";
import { find, h } from "../dom.js";
import { shown } from "../format.js";
import { crumbs, start, title } from "../shell.js";
import { waiting } from "../state.js";
import { account } from "./account.js";
import { audit } from "./audit.js";
import { keys } from "./keys.js";
import { members } from "./members.js";
import { projects } from "./projects.js";
import { shares } from "./shares.js";
import { storage } from "./storage.js";
import { trusted } from "./trusted.js";

const SECTIONS = {
  keys: ["API keys", keys], members: ["Members", members], "trusted-keys": ["Trusted keys", trusted], projects: ["Projects", projects], shares: ["Shares", shares],
  storage: ["Storage", storage], audit: ["Audit log", audit], account: ["Account", account],
};

async function open() {
  const [label, make] = SECTIONS[boot.section];
  title(label);
  crumbs(h("span.clip", shown(boot.session.workspace)));
  const side = h("nav.side", { "aria-label": "Settings" }, Object.entries(SECTIONS).map(([name, [words]]) => h("a", { href: `/settings/${name}`, "aria-current": name === boot.section ? "page" : null }, words)));
  const place = h("div", waiting(4));
  find("#main").append(h("div.page", h("div.sections", side, place)));
  try {
    place.replaceChildren(...[await make()].flat());
  } catch (error) {
    const missing = error.status === 403;
    place.replaceChildren(h("div.section-head", h("h1", label)), h(missing ? "p.note.warn" : "p.note.bad", missing ? `Your key has not the scope that this needs. ${shown(error.message)}` : shown(error.message)));
  }
}

start();
open();
