// The frame every page shares: bar, theme, account, words when the server is away, help on keys.
import { boot, call } from "./api.js";
import { ask } from "./dialog.js";
import { find, h } from "./dom.js";
import { icon } from "./icon.js";
import { openMenu } from "./menu.js";
import { complain } from "./toast.js";

const KEYS = [
  ["/", "Go to the filter"], ["↑ ↓", "Move through the runs"], ["Enter", "Open the run"],
  ["Space or x", "Choose the run"], ["Shift + ↑ ↓", "Choose a range"], ["s", "Star the run"], ["c", "Compare the chosen runs"],
  ["Esc", "Let go of the choice"], ["g r", "Go to the runs"], ["g s", "Go to the settings"], ["t", "Dark or light"], ["?", "This list"],
];

function help() {
  const rows = KEYS.map(([key, text]) => h("tr", h("td.fit", h("kbd", key)), h("td", text)));
  ask({ title: "Keys", body: h("table.plain", h("tbody", rows)), action: null, cancel: "Close" });
}

function turnTheme() {
  const next = window.worldfluxTheme.current() === "dark" ? "light" : "dark";
  window.worldfluxTheme.choose(next);
}

function themeButton() {
  const button = h("button.button.ghost.icon", { type: "button", onclick: turnTheme });
  const show = () => {
    const dark = window.worldfluxTheme.current() === "dark";
    button.replaceChildren(icon(dark ? "sun" : "moon"));
    button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
    button.title = button.getAttribute("aria-label");
  };
  addEventListener("themechange", show);
  show();
  return button;
}

async function signOut() {
  try {
    await call("DELETE", "/api/session");
    location.assign("/login");
  } catch (error) {
    complain(error);
  }
}

function account(event) {
  const { session } = boot;
  const who = session.user ? session.user.name || session.user.login : session.key.name;
  openMenu(event.currentTarget, [
    { title: `${who} · ${session.workspace}` },
    { label: "Settings", icon: "key", href: "/settings/keys" },
    { label: "Keys", icon: "more", run: help },
    "-",
    { label: "Sign out", icon: "right", run: signOut },
  ], { name: "Account" });
}

let pending = "";

function shortcuts(event) {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return;
  const pair = pending + event.key;
  pending = event.key === "g" ? "g" : "";
  if (event.key === "?") help();
  else if (event.key === "t") turnTheme();
  else if (pair === "gr") location.assign("/");
  else if (pair === "gs") location.assign("/settings/keys");
  else return;
  event.preventDefault();
}

/** Tell, above the page, that answers do not arrive; null takes it away. */
export function away(error) {
  const banner = find("#away");
  banner.hidden = !error;
  banner.textContent = error instanceof TypeError
    ? "The server can not be reached; what you see may be old. Trying again…"
    : error ? `The server answers with an error: ${error.message} Trying again…` : "";
}

/** What stands after the brand: the way to here. */
export function crumbs(...parts) {
  const place = find("#crumbs");
  place.replaceChildren(...parts.flatMap((part) => [h("span.sep", { "aria-hidden": "true" }, "/"), part]));
}

export function title(text) {
  document.title = text ? `${text} · WorldFlux` : "WorldFlux";
}

export function start() {
  find("#brand-mark").append(icon("mark"));
  const tools = find("#tools");
  tools.append(themeButton());
  if (boot.session) {
    const label = "Account";
    tools.append(h("button.button.ghost.icon", { type: "button", "aria-label": label, title: label, "aria-haspopup": "true", onclick: account }, icon("person")));
    document.addEventListener("keydown", shortcuts);
  }
  // Something forgotten must not vanish without a word.
  addEventListener("unhandledrejection", (event) => { event.preventDefault(); complain(event.reason); });
}
