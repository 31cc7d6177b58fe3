// What a share shows: one run, or the table of one project; nothing can be changed here.
import { boot, get } from "./api.js";
import { find, h } from "./dom.js";
import { shown } from "./format.js";
import { crumbs, start, title } from "./shell.js";
import { empty } from "./state.js";
import { RunView } from "./run/view.js";

function closed(error) {
  title("Share");
  const over = error.status === 401 || error.status === 404 || error.status === 410;
  find("#main").append(h("div.page", empty("link", over ? "This share is over" : "The share could not be opened",
    h("p", over ? "Its time has passed, it was ended, or the address is not complete. Ask whoever sent it for a new one." : shown(error.message)))));
}

function showRun(id, crumb) {
  const view = new RunView(id);
  find("#main").append(view.element);
  crumbs(...crumb);
  return view.open();
}

async function open() {
  let page;
  try {
    page = await get("/api/runs", { limit: 2 });
  } catch (error) {
    closed(error);
    return;
  }
  const asked = new URLSearchParams(location.search).get("run");
  const back = h("a", { href: location.pathname }, "Shared runs");
  if (asked) { await showRun(asked, [back]); return; }
  if (page.runs.length === 1 && page.total === 1) { await showRun(page.runs[0].id, [h("span.badge", "shared, read-only")]); return; }
  document.body.classList.add("runs");
  await import("./table/page.js");
  crumbs(h("span.badge", "shared, read-only"));
}

start();
open();
