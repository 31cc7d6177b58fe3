"""Documents of a package by somebody who wants the verifier to fall over: it judges, and never crashes."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence_lab import make_key, make_package, make_run, relist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.evidence import dsse, layout
from worldflux.evidence.package import Refused
from worldflux.evidence.trust import Trust
from worldflux.evidence.verify import verify_path
from worldflux.manifest import io

JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "../..",
    [],
    [[]],
    {},
    {"@id": 1},
    {"a": {"b": []}},
    "\u0000",
    "9" * 400,
]
DOCUMENTS = (
    "data/manifest.json",
    "data/ro-crate-metadata.json",
    layout.RUN_STATEMENT,
    layout.PAYLOAD_STATEMENT,
)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed package."""
    place = tmp_path_factory.mktemp("origin")
    folder = make_run(place / "runs", artifacts={"a.txt": b"a", "eval.json": b'{"episodes": []}'})
    make_package(folder, place / "package", make_key(place / "keys"))
    return place


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from nodes(inner, (*path, key))


def put(document: Any, path: tuple[Any, ...], junk: Any) -> Any:
    """The document with something else at a place; `drop` takes the place out."""
    if not path:
        return junk
    changed = copy.deepcopy(document)
    node = changed
    for key in path[:-1]:
        node = node[key]
    if junk == "drop":
        del node[path[-1]]
    else:
        node[path[-1]] = junk
    return changed


@settings(max_examples=times(50, 150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_document_crashes_the_verifier(data: st.DataObject, origin: Path, tmp_path: Path) -> None:
    """Any value at any place of any document: a verdict that it is invalid, or a refusal."""
    package = tmp_path / "package"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(origin / "package", package)
    name = data.draw(st.sampled_from(DOCUMENTS))
    document = json.loads((package / name).read_bytes())
    inner = name in DOCUMENTS[2:] and data.draw(st.booleans())
    bundle = document
    if inner:  # what is signed, not the envelope around it
        document = json.loads(dsse.decode(bundle).payload)
    place = data.draw(st.sampled_from(list(nodes(document))))
    document = put(document, place, data.draw(st.sampled_from([*JUNK, "drop"] if place else JUNK)))
    if inner:
        key = make_key(tmp_path / "keys")
        (package / name).write_bytes(key.bundle(json.dumps(document).encode()))
    else:
        (package / name).write_bytes(json.dumps(document).encode())
    relist(package)
    trust = Trust(signers=[make_key(tmp_path / "keys").public])
    try:
        report = verify_path(package, trust)
    except Refused:
        return
    assert len(report.layers) == 5
    json.dumps(report.to_json())


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(
    "junk",
    [b"", b"null", b"[]", b"1", b"\xff\xfe", b"{" * 100_000, b'{"a":' * 50_000, b'{"a":1e999}', b'{"a":NaN}',
     b'{"a":1,"a":2}', b"{}", b'{"@graph":[{}]}', b'{"@graph":{"@id":1}}'],
    ids=range(13),
)  # fmt: skip
def test_junk_is_invalid(name: str, junk: bytes, origin: Path, tmp_path: Path) -> None:
    """Whole documents of junk are told in the report."""
    shutil.copytree(origin / "package", tmp_path / "package")
    (tmp_path / "package" / name).write_bytes(junk)
    relist(tmp_path / "package")
    assert verify_path(tmp_path / "package", Trust()).state == "invalid"


def test_names_of_another_kind_are_told(origin: Path, tmp_path: Path) -> None:
    """A genuinely signed statement whose files have no names is a fault, not a crash."""
    shutil.copytree(origin / "package", tmp_path / "package")
    path = tmp_path / "package" / layout.PAYLOAD_STATEMENT
    statement = json.loads(dsse.decode(json.loads(path.read_bytes())).payload)
    statement["predicate"]["resources"][1]["name"] = None
    key = make_key(tmp_path / "keys")
    path.write_bytes(key.bundle(io.canonical(statement)))
    relist(tmp_path / "package")
    report = verify_path(tmp_path / "package", Trust(signers=[key.public]))
    assert report.layer("signature").status == "fail"


def test_a_keyless_signature_is_not_believed_without_an_identity(origin: Path, tmp_path: Path) -> None:
    """A bundle with anybody's certificate is unknown; with an expected identity it does not hold."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(minutes=10))
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name("me@example.org")]), critical=True)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    package = tmp_path / "package"
    shutil.copytree(origin / "package", package)
    import base64

    for path in (layout.RUN_STATEMENT, layout.PAYLOAD_STATEMENT):
        document = json.loads((package / path).read_bytes())
        raw = certificate.public_bytes(serialization.Encoding.DER)
        document["verificationMaterial"] = {
            "certificate": {"rawBytes": base64.b64encode(raw).decode()},
            "tlogEntries": [],
        }
        payload = dsse.pae(base64.b64decode(document["dsseEnvelope"]["payload"]))
        signature = private.sign(payload, ec.ECDSA(hashes.SHA256()))
        document["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signature).decode(), "keyid": ""}]
        (package / path).write_bytes(io.canonical(document))
    relist(package)
    report = verify_path(package, Trust())
    assert report.state == "signed" and "me@example.org" in report.layer("signature").summary
    named = verify_path(package, Trust(identities=[("me@example.org", "https://issuer.example.org")]))
    assert named.state in ("signed", "invalid")
    assert named.layer("signature").status != "pass"
