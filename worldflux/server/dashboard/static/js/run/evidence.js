// What can be proven about the run: digest, ledger, signature, and how to check it elsewhere.
import { get } from "../api.js";
import { command } from "../clip.js";
import { h } from "../dom.js";
import { shown } from "../format.js";
import { card, evidence, facts } from "../state.js";
import { tree } from "./tree.js";

const WORDS = {
  none: "Nobody has made evidence of this run. The manifest's digest stands in the server's ledger from the moment it was synced.",
  unsigned: "There is an evidence package without a signature: its digests can be checked, but not who made it.",
  signed: "The manifest is signed. The server keeps the signature and did not check whose it is.",
  verified: "The signature was checked against the manifest's bytes.",
  invalid: "The signature or the package does not fit the manifest: do not trust this record.",
};

export function evidenceTab({ run, manifest }) {
  const state = run.evidence || "none";
  const place = h("div");
  if (run.signature) get(`/api/runs/${run.id}/signature`).then((found) => place.replaceChildren(tree(found, 1)), (error) => place.replaceChildren(h("p.muted", shown(error.message))));
  const ledger = run.ledger ? facts(Object.entries(run.ledger).map(([name, value]) => [name, h("code", shown(typeof value === "object" ? JSON.stringify(value) : value))])) : h("p.muted", "Not in the ledger: only final manifests are.");
  const digests = manifest ? manifest.artifacts.filter((each) => each.commit).length : 0;
  return h("div.cards",
    card("State", h("div.stack", h("div", evidence(state)), h("p", WORDS[state] || ""), facts([["Manifest sha256", h("code", shown(run.manifest_sha256 || "not there yet"))], ["Committed artifacts", String(digests)],
      ["Streams cut short", (run.torn || []).map(shown).join(", ")], ["Not uploaded", (run.withheld || []).map(shown).join(", ")]]))),
    card("Ledger", ledger), run.signature ? card("Signature", place) : null,
    card("Check it yourself", h("div.stack", h("p.muted.small", "Where the run's folder is, make a package that anybody can verify without this server:"), command(`worldflux evidence export ${run.id}`), command(`worldflux evidence verify ${run.id}.zip`))));
}
