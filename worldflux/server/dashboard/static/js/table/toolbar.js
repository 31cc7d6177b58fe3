// The bar above the table: filter, columns, grouping, what differs, views, drawers.
import { boot, get } from "../api.js";
import { copy } from "../clip.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { count, shown } from "../format.js";
import { icon } from "../icon.js";
import { openMenu, openPanel } from "../menu.js";
import { complain, say } from "../toast.js";
import { standard } from "./columns.js";
import { groupKeys } from "./groups.js";
import { picker } from "./picker.js";
import { viewAddress, views } from "./view.js";

const STATES = { active: ["runs", "Active"], archived: ["archive", "Archived"], trash: ["trash", "Trash"] };

function tool(name, label, onclick, props = {}) {
  return h("button.button", { type: "button", onclick, "aria-haspopup": "true", "aria-label": label, ...props }, icon(name), h("span.label-text", label));
}

/** The project's name in the bar, and the way to the others. */
export function projectMenu(project) {
  const show = async (event) => {
    const anchor = event.currentTarget;
    try {
      const { projects } = await get("/api/projects");
      openMenu(anchor, [{ label: "All projects", icon: "runs", href: "/" }, projects.length ? "-" : null,
        ...projects.map((each) => ({ label: `${each.slug}${each.runs === undefined ? "" : `  ${count(each.runs)}`}`, href: `/p/${encodeURIComponent(each.slug)}` }))], { name: "Projects" });
    } catch (error) { complain(error); }
  };
  const label = h("span.clip", shown(project || "All projects"));
  return boot.share ? label : h("button.button.ghost", { type: "button", "aria-haspopup": "true", "aria-expanded": "false", onclick: show }, label, icon("open"));
}

/** Buttons that change the page's view. */
export class Toolbar {
  constructor(page) {
    this.page = page;
    this.columns = tool("columns", "Columns", (event) => this.pickColumns(event.currentTarget));
    this.differs = tool("differs", "Only what differs", () => page.change({ differs: !page.view.differs }), { "aria-haspopup": null, title: "Hide what is the same in all runs shown; add the settings that vary" });
    this.group = tool("group", "Group", (event) => this.pickGroup(event.currentTarget));
    this.views = tool("save", "Views", (event) => this.pickView(event.currentTarget));
    this.state = tool("runs", "Active", (event) => this.pickState(event.currentTarget));
    const tools = boot.share ? [this.columns, this.differs, this.group] : [this.columns, this.differs, this.group, this.views, this.state];
    for (const each of tools) if (each.getAttribute("aria-haspopup")) each.setAttribute("aria-expanded", "false");
    this.element = h("div.toolbar", { role: "toolbar", "aria-label": "View" }, page.box.element, tools);
  }

  update() {
    const { view } = this.page;
    this.differs.setAttribute("aria-pressed", String(view.differs));
    this.group.setAttribute("aria-pressed", String(Boolean(view.group)));
    this.group.setAttribute("aria-label", view.group ? `Grouped by ${shown(view.group)}` : "Group");
    this.group.lastChild.textContent = view.group ? `By ${shown(view.group.replace(/^params\./, ""))}` : "Group";
    const [name, label] = STATES[view.state];
    this.state.replaceChildren(icon(name), h("span.label-text", label));
    this.state.setAttribute("aria-pressed", String(view.state !== "active"));
    this.state.setAttribute("aria-label", `Drawer: ${label}`);
  }

  pickColumns(anchor) {
    const { page } = this;
    const reset = () => { page.change({ columns: null }); return standard(page.known, page.view.project); };
    openPanel(anchor, picker({ chosen: page.ids(), known: () => page.known, ready: page.ready, change: (columns) => page.change({ columns }), reset }), { name: "Columns", pad: true });
  }

  pickGroup(anchor) {
    const { page } = this;
    const list = h("div");
    const input = h("input", { type: "search", placeholder: "Group by…", "aria-label": "Group by", oninput: () => draw() });
    const choose = (group) => { page.change({ group }); anchor.click(); };
    function draw() {
      const wanted = input.value.trim().toLowerCase();
      const fits = groupKeys(page.known).filter((key) => key.toLowerCase().includes(wanted)).slice(0, 60);
      list.replaceChildren(...(page.view.group ? [h("button.item", { type: "button", onclick: () => choose("") }, icon("close"), "No groups")] : []),
        ...fits.map((key) => h("button.item", { type: "button", onclick: () => choose(key) }, h("bdi.clip", shown(key)))));
    }
    draw();
    if (!page.known.ready) page.ready.then(draw, () => {});
    openPanel(anchor, [input, list], { name: "Group by" });
  }

  pickView(anchor) {
    const { page } = this;
    const { project } = page.view;
    const whole = () => viewAddress({ ...page.view, columns: page.ids() }, true);
    const saved = views.all(project);
    const save = async () => {
      const input = h("input", { type: "text", name: "name", required: true, maxlength: 80, id: "view-name" });
      const name = await ask({ title: "Save this view", body: h("div.field", h("label", { for: "view-name" }, "Name"), input, h("span.hint", "Kept in this browser; its address can be sent to anybody.")), action: "Save", submit: (form) => form.get("name").trim() });
      if (name) { views.save(project, name, whole()); say(`View “${name}” saved`); }
    };
    openMenu(anchor, [
      { label: "Copy the address of this view", icon: "link", run: () => copy(location.origin + whole(), "Address copied") },
      { label: "Save this view…", icon: "save", run: save },
      saved.length ? "-" : null,
      ...saved.map((each) => ({ label: shown(each.name), icon: "runs", href: each.address })),
      saved.length ? "-" : null,
      ...saved.map((each) => ({ label: `Forget “${shown(each.name)}”`, icon: "trash", danger: true, run: () => { views.drop(project, each.name); say("Forgotten"); } })),
    ], { name: "Views" });
  }

  pickState(anchor) {
    const items = Object.entries(STATES).map(([state, [name, label]]) => ({ label, icon: name, run: () => { this.page.choice.set([]); this.page.change({ state }); } }));
    openMenu(anchor, items, { name: "Drawer" });
  }
}
