// Copying, and commands that can be copied.
import { h } from "./dom.js";
import { icon } from "./icon.js";
import { say } from "./toast.js";

/** Put a text on the clipboard; also on plain http, where the newer call does not exist. */
export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea.offscreen", { value: text, "aria-hidden": "true" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(what, { seconds: 2 });
}

export function copyButton(text, label = "Copy") {
  return h("button.button.small.icon.ghost", { type: "button", "aria-label": label, title: label, onclick: () => copy(text) }, icon("copy"));
}

/** A command line with its button. */
export function command(text, label = "Copy command") {
  return h("div.command", h("code", text), copyButton(text, label));
}

const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** One word of a POSIX shell. */
export const quote = (word) => (PLAIN.test(word) ? word : `'${String(word).replaceAll("'", `'"'"'`)}'`);
