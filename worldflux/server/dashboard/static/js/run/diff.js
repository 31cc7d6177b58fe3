// Changes that were not committed: the text when it was kept as an artifact, else where to find it.
import { artifactUrl, request } from "../api.js";
import { command } from "../clip.js";
import { h } from "../dom.js";
import { bytes, short, shown } from "../format.js";
import { complain } from "../toast.js";

const MOST_LINES = 5000;

function kind(line) {
  if (line.startsWith("diff ")) return "file";
  if (line.startsWith("@@")) return "place";
  if (line.startsWith("+") && !line.startsWith("+++")) return "add";
  if (line.startsWith("-") && !line.startsWith("---")) return "cut";
  return "";
}

/** The lines of a patch, coloured. */
export function patch(text) {
  const lines = text.split("\n");
  const kept = lines.slice(0, MOST_LINES).map((line) => {
    const name = kind(line);
    return h(name ? `div.${name}` : "div", shown(line) || " ");
  });
  if (lines.length > MOST_LINES) kept.push(h("div.muted", `… ${lines.length - MOST_LINES} more lines`));
  return h("div.diff", { tabindex: 0, role: "region", "aria-label": "Changes" }, kept);
}

/** The diff of a run. */
export function diffView({ run, manifest }, found) {
  const about = h("p", "Changes that were not committed: ", h("strong", bytes(found.bytes)), found.truncated ? " (cut)" : "", ", sha256 ", h("code", short(found.sha256, 16)), ".");
  const kept = manifest.artifacts.find((each) => each.sha256 === found.sha256 && each.commit);
  if (!kept) {
    return h("div.stack", about, h("p.muted.small", "The text of the diff stays on the machine that ran it; only its digest is in the record. There:"), command(`less runs/${run.id}/${found.path}`));
  }
  const place = h("div");
  request("GET", artifactUrl(run.id, kept)).then((answer) => answer.text()).then((text) => place.replaceChildren(patch(text)), complain);
  return h("div.stack", about, place);
}
