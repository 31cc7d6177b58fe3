"""The tamper matrix: what is done to a package, and exactly the layers that fail."""

from __future__ import annotations

import json
import os

from evidence_lab import RUN_ID
from package_changes import (
    COMPLETE,
    CRATE,
    LOG,
    MANIFEST,
    MEANING,
    PAYLOAD,
    RUN,
    SHAPE,
    SIGNATURE,
    SIGNER,
    Change,
    bundle,
    crate,
    flipped,
    forged,
    record,
    relisted,
    removed,
    renamed,
    replaced,
    said_outside,
    sig,
    swap,
    written,
)  # fmt: skip

from worldflux.evidence import layout

#: What is done -> the change, and exactly the layers that fail.
MATRIX: dict[str, tuple[Change, set[str]]] = {
    "a metric is edited": (replaced(MANIFEST, b'"value":0.5', b'"value":0.9'), {MEANING, COMPLETE, SIGNATURE}),
    "a metric is edited and all checksums rewritten": (
        forged(replaced(MANIFEST, b'"value":0.5', b'"value":0.9')),
        {SIGNATURE},
    ),
    "a log line is edited": (replaced(LOG, b"done", b"DONE"), {MEANING, COMPLETE, SIGNATURE}),
    "a log line is edited and all checksums rewritten": (
        forged(replaced(LOG, b"done", b"DONE")),
        {COMPLETE, SIGNATURE},
    ),
    "the log is removed": (removed(LOG), {MEANING, COMPLETE, SIGNATURE}),
    "the log is removed from the lists too": (relisted(removed(LOG)), {MEANING, COMPLETE, SIGNATURE}),
    "the log is emptied": (written(LOG, b""), {MEANING, COMPLETE, SIGNATURE}),
    "an artifact is edited": (
        replaced("data/artifacts/videos.txt", b"text", b"TEXT"),
        {MEANING, COMPLETE, SIGNATURE},
    ),
    "an artifact is cut short": (
        written("data/artifacts/videos/roll out (3) é.mp4", bytes(range(256)) * 7),
        {MEANING, COMPLETE, SIGNATURE},
    ),
    "an artifact grows by one byte": (written("data/artifacts/empty.bin", b"\0"), {MEANING, COMPLETE, SIGNATURE}),
    "two artifacts change places": (
        swap("data/artifacts/videos.txt", "data/artifacts/empty.bin"),
        {MEANING, COMPLETE, SIGNATURE},
    ),
    "an artifact is renamed": (
        renamed("data/artifacts/videos.txt", "data/artifacts/movies.txt"),
        {MEANING, COMPLETE, SIGNATURE},
    ),
    "the case of a name is changed": (
        relisted(renamed("data/artifacts/videos.txt", "data/artifacts/Videos.txt")),
        {MEANING, COMPLETE, SIGNATURE},
    ),
    "an artifact is removed": (removed("data/artifacts/eval.json"), {MEANING, COMPLETE, SIGNATURE}),
    "an artifact is removed and said to be outside": (said_outside, {SIGNATURE}),
    "a file is added": (written("data/artifacts/new.bin", b"new"), {MEANING, COMPLETE, SIGNATURE}),
    "a file is added and listed": (
        relisted(written("data/artifacts/new.bin", b"new")),
        {MEANING, SIGNATURE},
    ),
    "an empty file is added": (written("data/.hidden", b""), {MEANING, COMPLETE, SIGNATURE}),
    "a tag file is added": (written("README.txt", b"trust me"), {COMPLETE}),
    "an attestation is added": (written("attestations/audit.json", b"{}"), {COMPLETE}),
    "the diff is edited": (replaced("data/source.diff", b"a/x", b"a/y"), {MEANING, COMPLETE, SIGNATURE}),
    "the configuration is edited": (
        forged(replaced("data/config.yaml", b"12", b"99")),
        {COMPLETE, SIGNATURE},
    ),
    "the lock is edited": (
        forged(replaced("data/requirements.lock", b"2.0.0", b"1.0.0")),
        {COMPLETE, SIGNATURE},
    ),
    "the typed overrides are edited": (
        forged(replaced("data/overrides.yaml", b"pusht", b"other")),
        {SIGNATURE},
    ),
    "the series is edited": (
        forged(replaced("data/metrics.jsonl", b"0.5", b"0.1")),
        {COMPLETE, SIGNATURE},
    ),
    "an outcome is flipped": (
        forged(replaced("data/episodes.jsonl", b"false", b"true")),
        {MEANING, SIGNATURE},
    ),
    "two outcomes change places": (
        forged(replaced("data/episodes.jsonl", b"true", b"TMP"), replaced("data/episodes.jsonl", b"false", b"true"),
               replaced("data/episodes.jsonl", b"TMP", b"false")),
        {SIGNATURE},
    ),
    "outcomes are doubled": (
        forged(lambda package: (package / "data/episodes.jsonl").write_bytes(
            (package / "data/episodes.jsonl").read_bytes() * 2) and None),
        {MEANING, SIGNATURE},
    ),
    "the status is a word of nobody's": (
        forged(record(lambda m: m["run"].update(status="splendid"))),
        {SHAPE, SIGNATURE},
    ),
    "the schema is of another version": (
        forged(record(lambda m: m.update(schema_version="2.0"))),
        {SHAPE, SIGNATURE},
    ),
    "the manifest is printed prettily": (
        forged(lambda package: (package / MANIFEST).write_text(
            json.dumps(json.loads((package / MANIFEST).read_bytes()), indent=1)) and None),
        {SHAPE, SIGNATURE},
    ),
    "a field stands twice in the manifest": (
        forged(replaced(MANIFEST, b'{"adapter"', b'{"adapter":null,"adapter"')),
        {SHAPE, SIGNATURE},
    ),
    "NaN is written as a number": (
        forged(replaced(MANIFEST, b'"value":0.5', b'"value":NaN')),
        {SHAPE, SIGNATURE},
    ),
    "the manifest is cut short": (
        forged(lambda package: os.truncate(package / MANIFEST, 500)),
        {SHAPE, SIGNATURE},
    ),
    "a success rate does not follow from its counts": (
        forged(record(lambda m: m["metrics"]["solved"].update(value=0.99))),
        {MEANING, SIGNATURE},
    ),
    "an interval is made narrower": (
        forged(record(lambda m: m["metrics"]["solved"]["interval"].update(low=0.6))),
        {MEANING, SIGNATURE},
    ),
    "the run ends before it begins": (
        forged(record(lambda m: m["run"].update(created_at="2027-01-01T00:00:00.000+00:00"))),
        {MEANING, SIGNATURE},
    ),
    "a failure is told as a success": (
        forged(record(lambda m: m["run"].update(
            status="failed", exit_code=1, error={"code": "x", "message": "m", "hint": ""}))),
        {MEANING, SIGNATURE},
    ),
    "another run's id": (
        forged(record(lambda m: m.update(client_run_id="019aa1c2-7d40-7c3e-9b1a-4f3c2b1a0d9f"))),
        {MEANING, SIGNATURE},
    ),
    "the crate tells of no run": (relisted(crate(lambda e: e.pop(f"urn:uuid:{RUN_ID}"))), {MEANING, SIGNATURE}),
    "the crate says that it failed": (
        relisted(crate(lambda e: e[f"urn:uuid:{RUN_ID}"].update(
            actionStatus="http://schema.org/FailedActionStatus"))),
        {MEANING, SIGNATURE},
    ),
    "the crate says another time": (
        relisted(crate(lambda e: e[f"urn:uuid:{RUN_ID}"].update(endTime="2026-01-01T00:00:00.000+00:00"))),
        {MEANING, SIGNATURE},
    ),
    "the crate lists one file less": (relisted(crate(lambda e: e["./"]["hasPart"].pop())), {MEANING, SIGNATURE}),
    "the crate has no license": (relisted(crate(lambda e: e["./"].pop("license"))), {MEANING, SIGNATURE}),
    "the crate has another digest": (
        relisted(crate(lambda e: e["config.yaml"].update(sha256="0" * 64))),
        {MEANING, SIGNATURE},
    ),
    "the crate's run has no software": (
        relisted(crate(lambda e: e[f"urn:uuid:{RUN_ID}"].update(instrument={"@id": "#nothing"}))),
        {MEANING, SIGNATURE},
    ),
    "the crate claims no profile": (
        relisted(crate(lambda e: e["./"].update(conformsTo={"@id": "https://example.org/"}))),
        {MEANING, SIGNATURE},
    ),
    "the crate is not JSON": (relisted(written(CRATE, b"{")), {SHAPE, SIGNATURE}),
    "the crate is removed": (relisted(removed(CRATE)), {SHAPE, SIGNATURE}),
    "the bag is of another version": (
        relisted(written("bagit.txt", b"BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n")),
        {SHAPE},
    ),
    "the bag is no bag": (removed("bagit.txt"), {SHAPE, COMPLETE}),
    "the payload is counted wrongly": (
        lambda package: (replaced("bag-info.txt", b"Payload-Oxum: ", b"Payload-Oxum: 1")(package), None)[1],
        {COMPLETE},
    ),
    "bag-info.txt is removed": (removed("bag-info.txt"), {SHAPE, COMPLETE}),
    "a line of the list is dropped": (
        lambda package: (package / layout.PAYLOAD_LIST).write_text(
            "".join((package / layout.PAYLOAD_LIST).read_text().splitlines(True)[1:])) and None,
        {COMPLETE},
    ),
    "a digest in the list is edited": (
        lambda package: (package / layout.PAYLOAD_LIST).write_text(
            "0" * 64 + (package / layout.PAYLOAD_LIST).read_text()[64:]) and None,
        {COMPLETE},
    ),
    "a line of the list leads out of the bag": (
        lambda package: (package / layout.PAYLOAD_LIST).write_text(
            (package / layout.PAYLOAD_LIST).read_text() + "0" * 64 + "  ../../etc/passwd\n") and None,
        {COMPLETE},
    ),
    "the list is cut in a line": (
        lambda package: os.truncate(package / layout.PAYLOAD_LIST, 90),
        {SHAPE, COMPLETE},
    ),
    "the list is removed": (removed(layout.PAYLOAD_LIST), {SHAPE, COMPLETE}),
    "the list of tag files is removed": (removed(layout.TAG_LIST), {SHAPE}),
    "one statement is removed": (relisted(removed(RUN)), {SIGNATURE}),
    "the other statement is removed": (relisted(removed(PAYLOAD)), {SIGNATURE}),
    "the statements change places": (relisted(swap(RUN, PAYLOAD)), {SHAPE, SIGNATURE}),
    "a bit of the signature is flipped": (
        relisted(bundle(PAYLOAD, lambda b: sig(b).update(sig=flipped(sig(b)["sig"])))),
        {SIGNATURE},
    ),
    "the signature is empty": (relisted(bundle(RUN, lambda b: sig(b).update(sig=""))), {SIGNATURE}),
    "a second signature is added": (
        relisted(bundle(RUN, lambda b: b["dsseEnvelope"]["signatures"].append(sig(b)))),
        {SHAPE, SIGNATURE},
    ),
    "the bundle is of another kind": (
        relisted(bundle(RUN, lambda b: b.update(mediaType="application/json"))),
        {SHAPE, SIGNATURE},
    ),
    "the envelope holds another type": (
        relisted(bundle(RUN, lambda b: b["dsseEnvelope"].update(payloadType="text/plain"))),
        {SHAPE, SIGNATURE},
    ),
    "the bundle is not JSON": (relisted(written(PAYLOAD, b"signed!")), {SHAPE, SIGNATURE}),
    "the key's name is exchanged": (
        relisted(bundle(RUN, lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64))),
        {SIGNATURE},
    ),
    "the enclosed key is exchanged": (written(SIGNER, b"-----BEGIN PUBLIC KEY-----\n"), {COMPLETE}),
}  # fmt: skip
