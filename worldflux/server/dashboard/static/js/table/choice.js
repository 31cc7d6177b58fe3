// Chosen runs and what is done with all of them at once, each with a way back.
import { call } from "../api.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { plural } from "../format.js";
import { icon } from "../icon.js";
import { complain, say } from "../toast.js";

const BACK = { archive: "unarchive", unarchive: "archive", delete: "restore", restore: "delete", tag: "untag", untag: "tag", star: "unstar", unstar: "star" };
const DONE = { archive: "archived", unarchive: "back among the active runs", delete: "moved to the trash", restore: "restored", tag: "tagged", untag: "untagged", star: "starred", unstar: "unstarred" };
/** The server takes that many ids at once. */
const AT_ONCE = 500;

async function send(ids, action, value) {
  let changed = 0;
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const body = { ids: ids.slice(at, at + AT_ONCE), action };
    if (value !== undefined) body.value = value;
    changed += (await call("POST", "/api/runs/bulk", { body })).changed;
  }
  return changed;
}

/** Do something with runs, say so, and offer to undo it. `after` is called after both. */
export async function act(ids, action, value, after) {
  try {
    await send(ids, action, value);
    await after();
    const undo = async () => {
      try {
        await send(ids, BACK[action], value);
        await after();
        say("Undone", { seconds: 3 });
      } catch (error) { complain(error); }
    };
    say(`${plural(ids.length, "run")} ${DONE[action]}`, { undo });
  } catch (error) {
    complain(error);
  }
}

/** Ask for a tag. */
export function askTag(title, known) {
  const list = h("datalist", { id: "known-tags" }, known.map((each) => h("option", { value: each.name })));
  const input = h("input", { type: "text", name: "tag", maxlength: 64, required: true, list: "known-tags", autocomplete: "off", id: "tag-name" });
  const body = h("div.field", h("label", { for: "tag-name" }, "Tag"), input, list);
  return ask({ title, body, action: "Tag", submit: (form) => form.get("tag").trim() });
}

/** The set of chosen runs. */
export class Choice {
  constructor(changed) {
    this.ids = new Set();
    this.anchor = null;
    this.changed = changed;
  }

  has(id) { return this.ids.has(id); }
  get size() { return this.ids.size; }
  list() { return [...this.ids]; }

  toggle(id) {
    if (!this.ids.delete(id)) this.ids.add(id);
    this.changed();
  }

  /** Choose from the place chosen last to this one. */
  range(place, run) {
    const [from, to] = [Math.min(this.anchor ?? place, place), Math.max(this.anchor ?? place, place)];
    for (let at = from; at <= to; at += 1) if (run(at)) this.ids.add(run(at).id);
    this.changed();
  }

  set(ids) {
    this.ids = new Set(ids);
    this.changed();
  }
}

/** The line above the table while runs are chosen. */
export function choiceBar(choice, { state, tags, after, all, total, writable, shared }) {
  const button = (name, label, run, kind = "") => h(`button.button.small${kind}`, { type: "button", onclick: run }, icon(name), label);
  const ids = choice.list();
  const done = async () => { choice.set([]); await after(); };
  const tools = [];
  if (!shared) {
    const href = `/compare?runs=${ids.slice(0, 50).join(",")}`;
    tools.push(ids.length > 1 ? h("a.button.small", { href, title: ids.length > 50 ? "The first 50 of them" : null }, icon("compare"), "Compare") : null);
  }
  if (writable) {
    const keep = async () => { await after(); };
    tools.push(button("tag", "Tag", async () => {
      const tag = await askTag(`Tag ${plural(ids.length, "run")}`, tags());
      if (tag) act(ids, "tag", tag, keep);
    }));
    tools.push(button("star", "Star", () => act(ids, "star", undefined, keep)));
    if (state === "active") tools.push(button("archive", "Archive", () => act(ids, "archive", undefined, done)));
    if (state === "archived") tools.push(button("undo", "Unarchive", () => act(ids, "unarchive", undefined, done)));
    if (state === "trash") tools.push(button("undo", "Restore", () => act(ids, "restore", undefined, done)));
    else tools.push(button("trash", "Delete", () => act(ids, "delete", undefined, done), ".danger"));
  }
  const more = ids.length < total() ? h("button.button.small.ghost", { type: "button", onclick: all }, `Choose all ${total() > 10000 ? "(first 10 000)" : ""}`) : null;
  return [h("strong", `${plural(ids.length, "run")} chosen`), more, tools,
    h("button.button.small.ghost", { type: "button", onclick: () => choice.set([]) }, "Clear")];
}
