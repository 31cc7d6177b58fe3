// What can be proven about the run: the verdict on its evidence, the ledger, and how to check it elsewhere.
import { boot, download, get } from "../api.js";
import { command } from "../clip.js";
import { h } from "../dom.js";
import { bytes, moment, shown } from "../format.js";
import { icon } from "../icon.js";
import { card, evidence, facts, waiting } from "../state.js";

const WORDS = {
  none: "No evidence package was sent. The manifest's digest stands in the project's ledger from the moment it was synced.",
  unsigned: "There is an evidence package without a signature: it is whole, but nobody vouches for it.",
  signed: "The signature is whole, but nobody in this workspace has said that its key is trusted.",
  verified: "A key that this workspace trusts vouches for the package, and no byte of it has changed since. That does not make the figures true.",
  invalid: "The package does not hold: do not trust this record.",
};
const RESULTS = { pass: ["good", "Holds"], fail: ["invalid", "Fails"], unknown: ["plain", "Unknown"], none: ["plain", "Nothing there"] };

function layers(verdict) {
  const rows = verdict.layers.map((layer) => {
    const [kind, words] = RESULTS[layer.status] || ["plain", shown(layer.status)];
    const faults = layer.faults.map((fault) => h("li", h("code", shown(fault.where)), ` ${shown(fault.problem)}`));
    return h("tr", h("th.fit", { scope: "row" }, shown(layer.name)), h("td.fit", h(`span.pill.${kind}`, words)),
      h("td", shown(layer.summary), faults.length ? h("ul.small", { style: { "padding-left": "18px" } }, faults) : null));
  });
  return h("table.plain", { "aria-label": "Layers of the verdict" }, h("tbody", rows));
}

function verdict(run, found) {
  const { verdict: told } = found;
  const signer = told.signer ? `${told.signer.name || "not known here"} (${told.signer.key_id || "without a key"})` : "";
  const name = `${run.id}.evidence.zip`;
  const take = h("button.button.small", { type: "button", onclick: () => download(`/api/runs/${run.id}/evidence`, {}, name) }, icon("download"), "Download");
  return [card("Verdict", layers(told)), card("Package", h("div.stack", facts([["Signed by", h("bdi", shown(signer))], ["Size", bytes(found.bytes)],
    ["SHA-256", h("code", shown(found.sha256))], ["Sent", moment(found.created_at)]]), (told.means || []).map((each) => h("p.muted.small", shown(each)))), take)];
}

async function look(run, place) {
  try {
    place.replaceChildren(...verdict(run, await get(`/api/runs/${run.id}/evidence/report`, { fresh: 1 })));
  } catch (error) {
    place.replaceChildren(card("Verdict", h("p.muted", shown(error.message))));
  }
}

async function prove(run, place) {
  try {
    const found = await get(`/api/runs/${run.id}/signature`);
    place.replaceChildren(found.proof ? facts([["Entry", `${found.seq + 1} of ${found.size}`], ["Ledger's key", h("code", shown(found.key))],
      ["Proof", h("pre.small", shown(found.proof))]]) : h("p.muted", "The ledger has no entry for this record."));
  } catch (error) {
    place.replaceChildren(h("p.muted", shown(error.message)));
  }
}

export function evidenceTab({ run, manifest }) {
  const state = run.evidence || "none";
  const judged = h("div.cards", state === "none" ? null : waiting());
  const ledger = h("div", run.ledger ? waiting(1) : h("p.muted", "Not in the ledger: only final manifests are."));
  if (state !== "none") look(run, judged);
  if (run.ledger) prove(run, ledger);
  const digests = manifest ? manifest.artifacts.filter((each) => each.commit).length : 0;
  return h("div.cards",
    card("State", h("div.stack", h("div", evidence(state)), h("p", WORDS[state] || "", state === "signed" && boot.session ? [" ", h("a", { href: "/settings/trusted-keys" }, "Trusted keys")] : null), facts([["Manifest sha256", h("code", shown(run.manifest_sha256 || "not there yet"))], ["Committed artifacts", String(digests)],
      ["Streams cut short", (run.torn || []).map(shown).join(", ")], ["Not uploaded", (run.withheld || []).map(shown).join(", ")]]))),
    judged, card("Ledger", ledger),
    card("Check it yourself", h("div.stack", h("p.muted.small", "Where the run's folder is, make a package that anybody can verify without this server:"), command(`worldflux evidence build ${run.id} --zip`), command(`worldflux evidence verify ${run.id}`))));
}
