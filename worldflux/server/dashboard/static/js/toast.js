// Short words on what just happened, with a way back.
import { h } from "./dom.js";

let box = null;

function place() {
  if (!box) {
    box = h("div.toasts", { role: "status", "aria-live": "polite" });
    document.body.append(box);
  }
  return box;
}

/** Say something; `undo` adds a button that takes it back. */
export function say(text, { undo, bad = false, seconds = undo ? 12 : 5 } = {}) {
  const toast = h(`div.toast.fade${bad ? ".bad" : ""}`, h("span", text));
  const leave = () => toast.remove();
  if (undo) toast.append(h("button.button.small", { type: "button", onclick: () => { leave(); undo(); } }, "Undo"));
  toast.append(h("button.button.small.icon", { type: "button", "aria-label": "Dismiss", onclick: leave }, "×"));
  place().append(toast);
  setTimeout(leave, seconds * 1000);
}

/** Say what went wrong. */
export function complain(error) {
  if (error && error.name === "AbortError") return;
  const text = error instanceof TypeError ? "The server can not be reached." : error.message;
  say(error && error.hint ? `${text} ${error.hint}` : text, { bad: true, seconds: 9 });
}
