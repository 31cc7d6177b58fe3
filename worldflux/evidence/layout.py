"""Where things stand in an evidence package, and how much of each a reader takes in."""

from __future__ import annotations

#: Folder of what is vouched for: a copy of the run folder, and the root of the RO-Crate.
DATA = "data/"

MANIFEST = "manifest.json"
CRATE = "ro-crate-metadata.json"
EPISODES = "episodes.jsonl"

BAGIT = "bagit.txt"
BAG_INFO = "bag-info.txt"
PAYLOAD_LIST = "manifest-sha256.txt"
TAG_LIST = "tagmanifest-sha256.txt"

RUN_STATEMENT = "attestations/run.slsa.sigstore.json"
PAYLOAD_STATEMENT = "attestations/payload.oms.sigstore.json"
#: The public key, for tools that want a file. Never a reason to trust it.
SIGNER = "attestations/signer.pub.pem"
LEDGER_PROOF = "attestations/ledger.tlog-proof"

#: Largest document that is read as a whole: a manifest of 100,000 artifacts has 20 MB, its statements less.
MAX_DOCUMENT = 64 * 1024 * 1024
#: More files than a manifest can list.
MAX_FILES = 110_000
#: Bytes that are read at a time.
CHUNK = 1024 * 1024

#: The keys of `verify`'s report, in the order they are shown.
LAYERS = ("shape", "meaning", "completeness", "signature", "ledger")
