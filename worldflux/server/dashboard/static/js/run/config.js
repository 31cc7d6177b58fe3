// What the run was told: overrides, resolved configuration, the state of its code.
import { copy, quote } from "../clip.js";
import { h } from "../dom.js";
import { bytes, short, shown } from "../format.js";
import { icon } from "../icon.js";
import { card, empty, facts } from "../state.js";
import { diffView } from "./diff.js";
import { tree } from "./tree.js";

function overrides(list) {
  if (!list.length) return h("p.muted", "None: the recipe ran as it stands.");
  return h("div.row", list.map((each) => h("code.tag", shown(each))), h("button.button.small.ghost", { type: "button", onclick: () => copy(list.map(quote).join(" "), "Overrides copied") }, icon("copy"), "Copy all"));
}

function git(view) {
  const found = view.manifest.git;
  if (!found || !found.present) return h("p.muted", shown((found && found.problem) || "The code was in no repository."));
  const untracked = (found.untracked || []).map((each) => h("li", h("code", shown(each.path)), h("span.muted.small", ` ${bytes(each.bytes)} ${short(each.sha256, 12)}`)));
  const parts = [facts([["Commit", found.commit ? h("code", shown(found.commit)) : "none yet"], ["Branch", found.branch ? shown(found.branch) : "detached"], ["Remote", found.remote ? shown(found.remote) : ""],
    ["Working tree", found.dirty ? "changed" : "clean"], ["Trouble", found.problem ? shown(found.problem) : ""]])];
  if (untracked.length) parts.push(h("details", h("summary", `${untracked.length + (found.untracked_omitted || 0)} files that git does not track`), h("ul", { style: { "padding-left": "18px" } }, untracked)));
  if (found.submodules && found.submodules.length) parts.push(h("details", h("summary", `${found.submodules.length} submodules`), h("ul", { style: { "padding-left": "18px" } }, found.submodules.map((each) => h("li", h("code", shown(each.path)), ` ${short(each.commit, 10)}${each.dirty ? " changed" : ""}`)))));
  if (found.diff) parts.push(diffView(view, found.diff));
  return h("div.stack", parts);
}

export function configTab(view) {
  const { manifest } = view;
  if (!manifest) return empty("file", "No configuration yet", h("p", "It comes with the run's manifest."));
  const { config } = manifest;
  const whole = h("button.button.small", { type: "button", onclick: () => copy(JSON.stringify(config.resolved, null, 2), "Configuration copied") }, icon("copy"), "Copy as JSON");
  return h("div.cards", card("Overrides", overrides(config.overrides)), card("Resolved configuration", tree(config.resolved, 2), whole), card("Code", git(view)),
    card("Determinism", facts([["Seed", manifest.determinism.seed === null ? "none" : shown(manifest.determinism.seed)], ["Claim", manifest.determinism.claim ? "two runs give equal metrics" : "none"],
      ["Flags", Object.keys(manifest.determinism.flags).length ? tree(manifest.determinism.flags, 1) : ""], ["Secrets given", manifest.secrets.map((each) => shown(each.name)).join(", ")],
      ["Config file", h("code", `${shown(config.path)} ${short(config.sha256, 12)}`)]])));
}
