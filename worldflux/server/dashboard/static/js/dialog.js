// Questions that need an answer before going on.
import { h } from "./dom.js";

/** A modal form. `submit` may throw; its message is shown and the dialog stays. Resolves to what it returned, or null. */
export function ask({ title, body, action = "OK", danger = false, submit, big = false, cancel = "Cancel" }) {
  return new Promise((resolve) => {
    const fault = h("p.note.bad", { hidden: true, role: "alert" });
    const go = action ? h(`button.button${danger ? ".danger" : ".primary"}`, { type: "submit" }, action) : null;
    const leave = h("button.button", { type: "button", onclick: () => box.close() }, cancel);
    const form = h("form", { method: "dialog" }, h("header", h("h2", title)), h("div.body", body, fault), h("footer", leave, go));
    const box = h(`dialog${big ? ".big" : ""}`, { "aria-label": title }, form);
    let result = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (go) go.disabled = true;
      try {
        result = submit ? await submit(new FormData(form)) : true;
        box.close();
      } catch (error) {
        fault.hidden = false;
        fault.textContent = error.hint ? `${error.message} ${error.hint}` : error.message;
      } finally {
        if (go) go.disabled = false;
      }
    });
    box.addEventListener("close", () => { box.remove(); resolve(result); });
    document.body.append(box);
    box.showModal();
  });
}

/** Yes or no. */
export const confirm = (title, text, action, danger = true) => ask({ title, body: h("p", text), action, danger });
