// The head of a run: name, state, what it belongs to, and what can be done with it.
import { boot, call, download } from "../api.js";
import { copy } from "../clip.js";
import { h } from "../dom.js";
import { ago, duration, moment, money, short, shown } from "../format.js";
import { icon } from "../icon.js";
import { openMenu } from "../menu.js";
import { act, askTag } from "../table/choice.js";
import { status, support, tag } from "../state.js";
import { complain, say } from "../toast.js";

/** Name, status, tags and actions; drawn again at every change. */
export class RunHead {
  constructor(view) {
    this.view = view;
    this.element = h("header.run-head");
  }

  update(run, manifest) {
    if (this.editing) return;
    this.element.replaceChildren(this.title(run), this.meta(run, manifest), this.tagLine(run));
  }

  title(run) {
    const star = h("button.star", { type: "button", "aria-pressed": String(Boolean(run.starred)), "aria-label": "Star this run", disabled: !boot.writable,
      onclick: () => this.patch({ starred: !run.starred }) }, icon("star"));
    const name = h("span", { id: "run-name", title: boot.writable ? "Double-click to rename" : null, ondblclick: () => this.rename(run) }, h("bdi", shown(run.name || run.id)));
    const more = boot.share ? null : h("button.button.icon", { type: "button", "aria-label": "Actions", "aria-haspopup": "true", "aria-expanded": "false", onclick: (event) => this.menu(event.currentTarget, run) }, icon("more"));
    return h("h1", star, name, status(run), run.baseline ? h("span.badge", "baseline") : null, run.archived ? h("span.badge", "archived") : null,
      run.state === "trash" ? h("span.badge", "in the trash") : null, h("span.grow"), more);
  }

  meta(run, manifest) {
    const part = (label, value) => (value ? h("span", label, " ", h("b", value)) : null);
    const took = run.duration_seconds !== null ? duration(run.duration_seconds) : run.started_at && run.status === "running" ? `${ago(run.started_at).replace(" ago", "")} so far` : "";
    const commit = run.git && run.git.commit ? `${short(run.git.commit)}${run.git.dirty ? " + changes" : ""}` : "";
    return h("div.meta", part("Recipe", shown(run.recipe)), run.adapter ? part("Adapter", shown(run.adapter)) : null,
      h("span", "Runtime ", h("b", shown(run.runtime)), support(run.support)), part("Took", took), part("Cost", money(run.cost_usd)),
      h("span", { title: moment(run.created_at) }, "Started ", h("b", ago(run.started_at || run.created_at))), part("Commit", commit), part("By", run.who && shown(run.who)),
      manifest && manifest.run.attempt > 1 ? part("Attempt", String(manifest.run.attempt)) : null,
      h("span", h("code.small", shown(run.id)), h("button.button.ghost.small.icon", { type: "button", "aria-label": "Copy the run's id", onclick: () => copy(run.id, "Id copied") }, icon("copy"))));
  }

  tagLine(run) {
    const remove = (text) => () => this.patch({ tags: run.tags.filter((each) => each !== text) });
    const add = async () => {
      const text = await askTag("Tag this run", []);
      if (text && !run.tags.includes(text)) this.patch({ tags: [...run.tags, text] });
    };
    const tags = run.tags.map((each) => tag(each, boot.writable ? remove(each) : null));
    return h("div.row", tags, boot.writable ? h("button.button.ghost.small", { type: "button", onclick: add }, icon("tag"), "Add tag") : null);
  }

  menu(anchor, run) {
    const again = () => this.view.again();
    const own = boot.writable ? [
      { label: "Rename", icon: "file", run: () => this.rename(run) },
      { label: run.baseline ? "No longer the baseline" : "Make it the project's baseline", icon: "pin", run: () => this.patch({ baseline: !run.baseline }) },
      run.archived ? { label: "Unarchive", icon: "archive", run: () => act([run.id], "unarchive", undefined, again) } : { label: "Archive", icon: "archive", run: () => act([run.id], "archive", undefined, again) },
      run.state === "trash" ? { label: "Restore", icon: "undo", run: () => act([run.id], "restore", undefined, again) } : { label: "Delete", icon: "trash", danger: true, run: () => act([run.id], "delete", undefined, again) },
      "-",
    ] : [];
    openMenu(anchor, [...own,
      { label: "Share…", icon: "link", href: `/settings/shares?run=${run.id}` },
      { label: "Download the manifest", icon: "download", run: () => download(`/api/runs/${run.id}/manifest`, {}, `${run.id}.json`).catch(complain) },
      { label: "Copy the address", icon: "copy", run: () => copy(location.href, "Address copied") },
    ]);
  }

  rename(run) {
    if (!boot.writable || this.editing) return;
    this.editing = true;
    const input = h("input", { type: "text", value: run.name, maxlength: 512, "aria-label": "Name of the run" });
    const place = this.element.querySelector("#run-name");
    const finish = async (keep) => {
      if (!this.editing) return;
      this.editing = false;
      const name = input.value.trim();
      if (keep && name && name !== run.name) await this.patch({ name });
      else this.update(run, this.view.manifest);
    };
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") finish(true); else if (event.key === "Escape") finish(false); });
    input.addEventListener("blur", () => finish(true));
    place.replaceChildren(input);
    input.focus();
    input.select();
  }

  async patch(body) {
    try {
      await call("PATCH", `/api/runs/${this.view.id}`, { body });
      await this.view.again();
      if ("baseline" in body) say(body.baseline ? "This run is the project's baseline now" : "The project has no baseline now", { undo: () => this.patch({ baseline: !body.baseline }) });
    } catch (error) {
      complain(error);
      this.update(this.view.run, this.view.manifest);
    }
  }
}
