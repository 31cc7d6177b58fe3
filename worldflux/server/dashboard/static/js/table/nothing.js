// Empty tables, each with the command that fills it.
import { command } from "../clip.js";
import { h } from "../dom.js";
import { empty } from "../state.js";

/** No run yet, or none in this drawer. */
export function firstSteps(state, project) {
  if (state === "trash") return empty("trash", "The trash is empty", h("p", "Deleted runs stay here until the server purges them; until then they can be restored."));
  if (state === "archived") return empty("archive", "Nothing is archived", h("p", "Archive runs that you are done with: they leave the table and stay in the record."));
  const origin = location.origin;
  return empty("runs", project ? `No runs in ${project} yet` : "No runs yet",
    h("p", "Run a recipe on the machine you work on, then send its record here. Nothing is installed on this server."),
    h("div.stack", command(`worldflux auth login --server ${origin}`), command("worldflux-run +recipe=cpu-smoke seed=1,2,3 -m"), command("worldflux sync")),
    h("p.small", "With `sync=on` a run reports here while it goes on."));
}

/** A filter that no run fits. */
export function nothingFits(filter, clear) {
  return empty("search", "No run fits this filter", h("p", h("code", filter)),
    h("button.button", { type: "button", onclick: clear }, "Clear the filter"));
}
