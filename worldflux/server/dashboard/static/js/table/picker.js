// Choosing and ordering columns; a search box finds one among hundreds.
import { h } from "../dom.js";
import { shown } from "../format.js";
import { icon } from "../icon.js";
import { column, fixed } from "./columns.js";

function candidates(known) {
  const metrics = known.metrics.map((each) => ({ id: `metrics.${each.name}`, hint: `${each.runs} runs` }));
  const params = known.params.map((each) => ({ id: `params.${each.name}`, hint: `${each.distinct} values` }));
  return [["Facts", fixed().map((id) => ({ id, hint: "" }))], ["Metrics", metrics], ["Settings", params]];
}

/** The panel. `known()` tells the names so far, `ready` that these are all; `change(ids)` is called at every step. */
export function picker({ chosen, known, ready, change, reset }) {
  let ids = [...chosen];
  const search = h("input", { type: "search", placeholder: "Find a column", "aria-label": "Find a column", oninput: () => draw() });
  const lists = h("div");
  const set = (next) => { ids = next; change(ids); draw(); };
  const label = (id) => shown(column(id) ? column(id).label : id);

  function move(id, step) {
    const at = ids.indexOf(id);
    const next = [...ids];
    next.splice(at, 1);
    next.splice(Math.max(0, Math.min(next.length, at + step)), 0, id);
    set(next);
    const again = lists.querySelector(`[data-id="${CSS.escape(id)}"] [data-step="${step}"]`);
    if (again) again.focus();
  }

  function line({ id, hint }, on) {
    const box = h("input", { type: "checkbox", checked: on, onchange: () => set(on ? ids.filter((each) => each !== id) : [...ids, id]) });
    const step = (by, name, words) => h("button.button.ghost.small.icon", { type: "button", "aria-label": `${words} ${label(id)}`, data: { step: by }, onclick: () => move(id, by) }, icon(name));
    return h("li", { data: { id } }, h("label", box, h("bdi.clip", { title: label(id) }, label(id))),
      on ? h("span.moves.row.tight.fixed", step(-1, "up", "Move up"), step(1, "down", "Move down")) : h("span.small", hint));
  }

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const fits = ({ id }) => !wanted || id.toLowerCase().includes(wanted) || label(id).toLowerCase().includes(wanted);
    const on = ids.map((id) => ({ id, hint: "" })).filter(fits);
    const groups = candidates(known()).map(([name, list]) => [name, list.filter((each) => !ids.includes(each.id) && fits(each)).slice(0, 200)]);
    const place = lists.querySelector("ul") ? lists.querySelector("ul").scrollTop : 0;
    lists.replaceChildren(h("ul", on.length ? h("li", h("h3", "Shown")) : null, on.map((each) => line(each, true)),
      groups.filter(([, list]) => list.length).map(([name, list]) => [h("li", h("h3", name)), list.map((each) => line(each, false))])));
    lists.querySelector("ul").scrollTop = place;
  }

  draw();
  if (!known().ready) ready.then(draw, () => {});
  return h("div.picker", search, lists, h("div.row", h("span.muted.small.grow", "Order them by dragging the table's heads, too."),
    h("button.button.small", { type: "button", onclick: () => { ids = reset(); draw(); } }, "Standard")));
}
