// A small panel that hangs on a button; closed by Escape, by a click elsewhere, or by choosing.
import { h } from "./dom.js";
import { icon } from "./icon.js";

let opened = null;

function position(panel, anchor) {
  const box = anchor.getBoundingClientRect();
  const width = panel.offsetWidth;
  const left = Math.max(8, Math.min(box.left, innerWidth - width - 8));
  const below = box.bottom + 5;
  const top = below + panel.offsetHeight > innerHeight - 8 ? Math.max(8, box.top - panel.offsetHeight - 5) : below;
  panel.style.left = `${left}px`;
  panel.style.top = `${top}px`;
}

export function closeMenu() {
  if (!opened) return;
  const { panel, anchor, done } = opened;
  opened = null;
  panel.remove();
  anchor.setAttribute("aria-expanded", "false");
  document.removeEventListener("pointerdown", outside, true);
  document.removeEventListener("keydown", keys, true);
  if (document.activeElement === document.body) anchor.focus();
  if (done) done();
}

function outside(event) {
  if (!opened.panel.contains(event.target) && !opened.anchor.contains(event.target)) closeMenu();
}

function keys(event) {
  const { panel, anchor } = opened;
  if (event.key === "Escape") {
    event.stopPropagation();
    closeMenu();
    anchor.focus();
  }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const items = [...panel.querySelectorAll(".item")];
  if (!items.length || panel.contains(document.activeElement) && !document.activeElement.classList.contains("item")) return;
  event.preventDefault();
  const at = items.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
  items[(at + items.length) % items.length].focus();
}

/** Open any content below a button; a second click closes it. Returns the panel, or null when it closed. */
export function openPanel(anchor, content, { name, done, pad = false } = {}) {
  const again = opened && opened.anchor === anchor;
  closeMenu();
  if (again) return null;
  const panel = h(`div.menu.fade${pad ? ".pad" : ""}`, { role: "dialog", "aria-label": name }, content);
  document.body.append(panel);
  opened = { panel, anchor, done };
  anchor.setAttribute("aria-expanded", "true");
  position(panel, anchor);
  document.addEventListener("pointerdown", outside, true);
  document.addEventListener("keydown", keys, true);
  const first = panel.querySelector("input, .item, button, select");
  if (first) first.focus();
  return panel;
}

/** Open a list of actions: `{label, icon, run, danger, href}`, `"-"` for a line. */
export function openMenu(anchor, items, options = {}) {
  const content = items.filter(Boolean).map((item) => {
    if (item === "-") return h("hr");
    if (item.title) return h("div.title", item.title);
    const inside = [item.icon ? icon(item.icon) : null, h("span", item.label)];
    if (item.href) return h("a.item", { href: item.href }, inside);
    const run = () => { closeMenu(); item.run(); };
    return h(`button.item${item.danger ? ".danger" : ""}`, { type: "button", onclick: run }, inside);
  });
  return openPanel(anchor, content, { name: "Actions", ...options });
}
