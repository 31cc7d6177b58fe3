// Projects: folders of runs, each with its baseline.
import { call, get } from "../api.js";
import { command } from "../clip.js";
import { h } from "../dom.js";
import { count, shown } from "../format.js";
import { empty } from "../state.js";
import { complain, say } from "../toast.js";
import { head, when } from "./part.js";

export async function projects() {
  const place = h("section.card");
  async function draw() {
    const { projects: list } = await get("/api/projects");
    if (!list.length) { place.replaceChildren(empty("runs", "No projects yet", h("p", "The first run that is synced makes its project."), command("worldflux sync --project my-project"))); return; }
    const row = (each) => {
      const path = `/p/${encodeURIComponent(each.slug)}`;
      const archive = async () => {
        try {
          await call("PATCH", `/api/projects/${encodeURIComponent(each.slug)}`, { body: { archived: !each.archived } });
          say(each.archived ? "Project is back" : "Project archived");
          draw().catch(complain);
        } catch (error) { complain(error); }
      };
      return h("tr", h("td", h("a", { href: path }, shown(each.slug)), each.archived ? h("span.badge", "archived") : null, each.description ? h("div.small.muted", shown(each.description)) : null), h("td.num.fit", count(each.runs)), h("td.fit", each.baseline_run ? h("a", { href: `/runs/${each.baseline_run}` }, h("code", `…${each.baseline_run.slice(-8)}`)) : h("span.muted", "none")), h("td.fit", when(each.created_at)),
        h("td.fit", h("button.button.small", { type: "button", onclick: archive }, each.archived ? "Bring back" : "Archive")));
    };
    place.replaceChildren(h("div.body.flush", h("table.plain", { "aria-label": "Projects" }, h("thead", h("tr", ["Project", "Runs", "Baseline", "Since", ""].map((each, at) => h(at === 1 ? "th.num" : "th", each)))), h("tbody", list.map(row)))));
  }
  await draw();
  return [head("Projects", "A run's project is named by its recipe's project file, or by sync --project."), place];
}
