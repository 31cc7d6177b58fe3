// Files of a run: what they are, their digests, a look into those that can be looked at.
import { artifactSource, artifactUrl, download, get, request } from "../api.js";
import { copy } from "../clip.js";
import { h } from "../dom.js";
import { bytes, plural, short, shown } from "../format.js";
import { icon } from "../icon.js";
import { card, empty, waiting } from "../state.js";
import { complain } from "../toast.js";
import { sheet } from "./sheet.js";
import { tree } from "./tree.js";

const LARGEST_TEXT = 2000000;
const LARGEST_PICTURE = 40000000;

/** What kind of look there is for a file. */
export function kind({ media_type: type, path }) {
  const ending = path.split(".").pop().toLowerCase();
  if (/^image\/(png|jpeg|gif|webp|avif|bmp)$/.test(type)) return "image";
  if (/^video\/(mp4|webm|ogg)$/.test(type)) return "film";
  if (/^text\/(csv|tab-separated-values)$/.test(type) || ["csv", "tsv", "jsonl", "ndjson"].includes(ending)) return "table";
  if (type === "application/json" || ending === "json") return "json";
  if (/^text\//.test(type) || ["txt", "md", "yaml", "yml", "log", "toml", "ini", "py", "diff", "patch", "lock"].includes(ending)) return "text";
  return "file";
}

const ICONS = { image: "image", film: "film", table: "table", json: "file", text: "file", file: "file" };

/** An element that plays or shows a picture or film of a run. */
export async function media(run, artifact) {
  const source = await artifactSource(run, artifact);
  if (kind(artifact) === "film") return h("video", { src: source, controls: true, preload: "metadata", muted: true, playsinline: true, "aria-label": shown(artifact.path) });
  return h("img", { src: source, alt: shown(artifact.path), loading: "lazy", decoding: "async" });
}

async function text(run, artifact) {
  const answer = await request("GET", artifactUrl(run, artifact), { range: `bytes=0-${LARGEST_TEXT - 1}` });
  return answer.text();
}

async function look(run, artifact) {
  const what = kind(artifact);
  if (!artifact.present) return h("p.muted", artifact.commit ? "Its bytes have not arrived yet." : "Not committed by the recipe: its bytes stay on the machine that made it.");
  if (what === "image" || what === "film") return artifact.bytes > LARGEST_PICTURE ? h("p.muted", "Too large to show here; download it.") : media(run, artifact);
  if (what === "file") return h("p.muted", `There is no look into ${shown(artifact.media_type)}; download it.`);
  const found = await text(run, artifact);
  const cut = artifact.bytes > LARGEST_TEXT;
  if (what === "table") return sheet(found, artifact.path, cut);
  if (what === "json" && !cut) {
    try { return h("div.scroll", { style: { padding: "8px 10px" } }, tree(JSON.parse(found), 2)); } catch { /* shown as the text that it is */ }
  }
  return h("div.stack", h("pre.blob", { tabindex: 0 }, shown(found.slice(0, 200000))), cut || found.length > 200000 ? h("p.small.muted", "Only its beginning is shown.") : null);
}

function line(run, artifact) {
  const preview = h("div.preview", { hidden: true });
  let loaded = false;
  const toggle = async () => {
    preview.hidden = !preview.hidden;
    name.setAttribute("aria-expanded", String(!preview.hidden));
    if (loaded || preview.hidden) return;
    loaded = true;
    preview.replaceChildren(waiting(1));
    try { preview.replaceChildren(await look(run, artifact)); } catch (error) { loaded = false; preview.replaceChildren(h("p.bad", shown(error.message))); }
  };
  const base = artifact.path.split("/").pop();
  const name = h("button.name", { type: "button", "aria-expanded": "false", onclick: toggle }, h("bdi", shown(artifact.path)));
  const save = h("button.button.small.icon.ghost", { type: "button", "aria-label": `Download ${shown(artifact.path)}`, disabled: !artifact.present,
    onclick: () => download(`/api/runs/${run}/artifacts/${artifact.sha256}`, { download: base }, base).catch(complain) }, icon("download"));
  const digest = h("button.button.small.ghost.hide-small", { type: "button", title: `Copy sha256 ${artifact.sha256}`, onclick: () => copy(artifact.sha256, "Digest copied") }, h("code", short(artifact.sha256, 12)));
  return { toggle, parts: [h("div.file-line", icon(ICONS[kind(artifact)]), name, digest, h("span.num.muted", bytes(artifact.bytes)), save), preview] };
}

function thumbs(run, pictures, lines, all) {
  return h("div.thumbs", pictures.slice(0, 12).map((artifact) => {
    const frame = h("figure", h("figcaption.clip", { title: shown(artifact.path) }, shown(artifact.path.replace(/^artifacts\//, ""))));
    artifactSource(run, artifact).then((src) => frame.prepend(h("img", { src, alt: shown(artifact.path), loading: "lazy" })), complain);
    frame.addEventListener("click", () => { const at = lines[all.indexOf(artifact)]; if (at.parts[1].hidden) at.toggle(); at.parts[0].scrollIntoView({ block: "center" }); });
    return frame;
  }));
}

export function artifactsTab({ run }) {
  const box = h("div.cards", waiting(3));
  get(`/api/runs/${run.id}/artifacts`).then(({ artifacts }) => {
    if (!artifacts.length) {
      box.replaceChildren(empty("file", "No artifacts", h("p", "Files that a recipe lists under `artifacts:` with `commit: true` are kept here.")));
      return;
    }
    const lines = artifacts.map((each) => line(run.id, each));
    const pictures = artifacts.filter((each) => kind(each) === "image" && each.present && each.bytes <= LARGEST_PICTURE);
    const total = artifacts.reduce((sum, each) => sum + each.bytes, 0);
    box.replaceChildren(...[pictures.length ? thumbs(run.id, pictures, lines, artifacts) : null, card(`${plural(artifacts.length, "file")}, ${bytes(total)}`, h("div.plain", lines.map((each) => each.parts)))].filter(Boolean));
  }, complain);
  return box;
}
