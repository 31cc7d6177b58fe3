// A view of the table: what is asked, in which order, with which columns. It lives in the address.
import { boot } from "../api.js";
import { recall, remember } from "../keep.js";

const STATES = ["active", "archived", "trash"];

/** The view that the address names; columns fall back to what was chosen last in this project. */
export function readView(address = location) {
  const query = new URLSearchParams(address.search);
  const project = boot.project || query.get("project") || "";
  const state = query.get("state");
  return {
    project,
    filter: query.get("filter") || "",
    sort: query.get("sort") || "-created_at",
    group: query.get("group") || "",
    state: STATES.includes(state) ? state : "active",
    differs: query.get("differs") === "1",
    columns: query.has("cols") ? query.getAll("cols") : recall(`columns.${project}`, null),
  };
}

/** The address of a view; `whole` also names the columns, for sending it to somebody. */
export function viewAddress(view, whole = false) {
  const query = new URLSearchParams();
  if (view.filter) query.set("filter", view.filter);
  if (view.sort !== "-created_at") query.set("sort", view.sort);
  if (view.group) query.set("group", view.group);
  if (view.state !== "active") query.set("state", view.state);
  if (view.differs) query.set("differs", "1");
  if (whole && view.columns) for (const each of view.columns) query.append("cols", each);
  const path = boot.share ? location.pathname : view.project ? `/p/${encodeURIComponent(view.project)}` : "/";
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** Put the view in the address bar; `step` makes it one to come back to. */
export function showView(view, step = true) {
  const address = viewAddress(view, new URLSearchParams(location.search).has("cols"));
  if (address === location.pathname + location.search) return;
  history[step ? "pushState" : "replaceState"](null, "", address);
}

export function keepColumns(view) {
  remember(`columns.${view.project}`, view.columns || undefined);
}

/** Views with a name, kept in this browser. */
export const views = {
  all: (project) => recall(`views.${project}`, []),
  save(project, name, address) {
    const others = views.all(project).filter((each) => each.name !== name);
    remember(`views.${project}`, [...others, { name, address }]);
  },
  drop(project, name) {
    remember(`views.${project}`, views.all(project).filter((each) => each.name !== name));
  },
};
