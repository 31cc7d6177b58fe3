"""Packages are verified by programs that know nothing of WorldFlux, and refused when they should be."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import npm_room
import pytest
from evidence_lab import make_key, make_package, make_run

from worldflux.evidence import dsse
from worldflux.evidence.crate import Attribution
from worldflux.evidence.keys import SigningKey

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
RUN_STATEMENT = "attestations/run.slsa.sigstore.json"
PAYLOAD_STATEMENT = "attestations/payload.oms.sigstore.json"
STATUSES = ("succeeded", "failed", "timeout", "cancelled", "refused", "interrupted")


def needed(program: str) -> str:
    """The path of a program that a test lives on."""
    found = shutil.which(program) or shutil.which(program, path=str(BIN))
    if found is None:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
            pytest.fail(f"{program} is not installed: see tests/missing-packages")
        pytest.skip(f"{program} is not installed")
    return found


def run(*words: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True,
        timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def edited(package: Path) -> None:
    """Change one figure of the record."""
    path = package / "data" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"value":0.5', b'"value":0.9'))


def test_check_jsonschema_takes_the_packed_manifest(package: Path, tmp_path: Path) -> None:
    """The manifest fits the published schema; one without its run does not."""
    from worldflux.manifest.validator import SCHEMA_FILE

    tool = needed("check-jsonschema")
    assert run(tool, "--schemafile", SCHEMA_FILE, package / "data/manifest.json").returncode == 0
    document = json.loads((package / "data/manifest.json").read_bytes())
    del document["run"]["status"]
    (tmp_path / "bad.json").write_text(json.dumps(document))
    assert run(tool, "--schemafile", SCHEMA_FILE, tmp_path / "bad.json").returncode == 1


@pytest.mark.parametrize("status", STATUSES)
def test_bagit_and_coreutils_take_every_kind_of_run(status: str, tmp_path: Path, key: SigningKey) -> None:
    """bagit.py and `sha256sum -c --strict` pass for every way a run can end, also with nothing collected."""
    bagit, sums = needed("bagit.py"), needed("sha256sum")
    for bare in (False, True):
        folder = make_run(tmp_path / f"runs{bare}", status, bare=bare)
        package = tmp_path / f"package{bare}"
        make_package(folder, package, key)
        assert run(bagit, "--validate", package).returncode == 0
        for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            assert run(sums, "-c", "--strict", name, cwd=package).returncode == 0
    edited(package := tmp_path / "packageFalse")
    assert run(bagit, "--validate", package).returncode != 0
    assert run(sums, "-c", "--strict", "manifest-sha256.txt", cwd=package).returncode != 0


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validator's cache of documents, with the one that RO-Crates name, from the package rocrate."""
    import io

    import requests
    import requests_cache
    import rocrate
    import urllib3

    text = (Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_bytes()
    cache = tmp_path_factory.mktemp("roc") / "cache"

    class Local(requests.adapters.HTTPAdapter):
        def send(self, request: Any, **_: Any) -> Any:  # type: ignore[override]
            body = urllib3.HTTPResponse(
                body=io.BytesIO(text), status=200, headers={"Content-Type": "application/ld+json"},
                preload_content=False,
            )  # fmt: skip
            return self.build_response(request, body)

    with requests_cache.CachedSession(str(cache), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", Local())
        assert session.get("https://w3id.org/ro/crate/1.1/context").ok
    return cache


ROC = """
import json, sys, warnings
warnings.simplefilter("ignore")
from rocrate_validator import models, services
cache, *crates = sys.argv[1:]
for crate in crates:
    settings = models.ValidationSettings(
        rocrate_uri=crate, profile_identifier="process-run-crate-0.5", requirement_severity="RECOMMENDED",
        offline=True, cache_path=cache,
    )
    issues = services.validate(settings).get_issues()
    print(json.dumps([f"{issue.check.identifier}: {issue.message}" for issue in issues]))
"""


def crate_issues(cache: Path, *crates: Path) -> Iterator[list[str]]:
    """What roc-validator says against crates at the levels REQUIRED and RECOMMENDED."""
    ended = run(sys.executable, "-c", ROC, cache, *crates)
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == len(crates), ended.stdout
    return (json.loads(line) for line in lines)


@pytest.mark.slow
def test_roc_validator_takes_every_kind_of_run(tmp_path: Path, contexts: Path) -> None:
    """No issue at REQUIRED or RECOMMENDED: for every ending, no artifacts, one artifact, files left outside."""
    crates = []
    for index, status in enumerate(STATUSES):
        artifacts: dict[str, bytes] | None = [None, {}, {"one.bin": b"1"}][index % 3]
        folder = make_run(tmp_path / f"runs{index}", status, artifacts, bare=status == "interrupted")
        said = Attribution("CC-BY-4.0", "A. Researcher", "https://orcid.org/0000-0002-1825-0097")
        options: dict[str, Any] = {"said": said} if index % 2 else {"exclude": ["artifacts/*", "logs/*"]}
        make_package(folder, tmp_path / f"package{index}", **options)
        crates.append(tmp_path / f"package{index}" / "data")
    assert list(crate_issues(contexts, *crates)) == [[] for _ in crates]


@pytest.mark.slow
def test_roc_validator_can_refuse(package: Path, contexts: Path, tmp_path: Path) -> None:
    """A crate without its license, and one whose log is gone, have issues."""
    shutil.copytree(package, tmp_path / "nolog")
    next((tmp_path / "nolog" / "data" / "logs").iterdir()).unlink()
    path = package / "data" / "ro-crate-metadata.json"
    document = json.loads(path.read_bytes())
    del next(each for each in document["@graph"] if each["@id"] == "./")["license"]
    path.write_text(json.dumps(document))
    assert all(crate_issues(contexts, package / "data", tmp_path / "nolog" / "data"))


def test_model_signing_takes_the_payload(package: Path) -> None:
    """OpenSSF's tool verifies data/ with the public key, and refuses a changed, an added and a missing file."""
    tool = needed("model_signing")

    def verify() -> int:
        signature, key = package / PAYLOAD_STATEMENT, package / "attestations/signer.pub.pem"
        return run(
            tool, "verify", "key", "--signature", signature, "--public_key", key, package / "data"
        ).returncode

    assert verify() == 0
    (package / "data" / "extra.txt").write_text("x")
    assert verify() != 0
    (package / "data" / "extra.txt").unlink()
    assert verify() == 0
    edited(package)
    assert verify() != 0


@pytest.mark.parametrize("name", [RUN_STATEMENT, PAYLOAD_STATEMENT])
def test_in_toto_takes_the_statements(name: str, package: Path) -> None:
    """The in-toto library parses both statements strictly, the provenance's predicate too."""
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1.statement import Statement

    payload = dsse.decode(json.loads((package / name).read_bytes())).payload
    statement = Statement.copy_from_pb(json_format.Parse(payload, Statement([], "", {}).pb))
    statement.validate()
    if name == RUN_STATEMENT:
        predicate = json_format.MessageToJson(statement.pb.predicate)
        parsed = json_format.Parse(predicate, provenance_pb2.Provenance())
        assert parsed.run_details.metadata.invocation_id
        broken = json.loads(predicate) | {"unknown": 1}
        with pytest.raises(json_format.ParseError):
            json_format.Parse(json.dumps(broken), provenance_pb2.Provenance())


@pytest.mark.parametrize("name", [RUN_STATEMENT, PAYLOAD_STATEMENT])
def test_securesystemslib_takes_the_envelopes(name: str, package: Path) -> None:
    """The TUF and in-toto projects' DSSE library verifies both envelopes, and refuses another payload."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    document = json.loads((package / name).read_bytes())
    envelope = Envelope.from_dict(document["dsseEnvelope"])
    pem = (package / "attestations/signer.pub.pem").read_text()
    key_id = document["verificationMaterial"]["publicKey"]["hint"]
    key = SSlibKey(key_id, "ecdsa", "ecdsa-sha2-nistp256", {"public": pem})
    envelope.verify([key], threshold=1)
    envelope.payload = envelope.payload.replace(b"acme", b"evil") + b" "
    with pytest.raises(VerificationError):
        envelope.verify([key], threshold=1)


@pytest.mark.parametrize("name", [RUN_STATEMENT, PAYLOAD_STATEMENT])
def test_openssl_takes_the_signatures(name: str, package: Path, tmp_path: Path) -> None:
    """openssl verifies the signature over the pre-authentication encoding, written here by hand."""
    openssl = needed("openssl")
    envelope = json.loads((package / name).read_bytes())["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 " + b" ".join([str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    (tmp_path / "signed").write_bytes(signed)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = (openssl, "dgst", "-sha256", "-verify", package / "attestations/signer.pub.pem")
    assert run(*words, "-signature", tmp_path / "sig", tmp_path / "signed").returncode == 0
    (tmp_path / "signed").write_bytes(signed + b" ")
    assert run(*words, "-signature", tmp_path / "sig", tmp_path / "signed").returncode != 0


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """npm's Sigstore verifier."""
    return npm_room.modules(needed("npm"))


def js_verify(node_modules: Path, *words: Path) -> subprocess.CompletedProcess[str]:
    return run(needed("node"), HERE / "js_verify.js", *words, NODE_PATH=str(node_modules))


@pytest.mark.slow
def test_the_verifier_is_fetched_once(node_modules: Path) -> None:
    """What was fetched by an earlier run of the tests is used as it lies there, without npm and its network."""
    assert npm_room.modules("/no/such/npm") == node_modules
    assert (node_modules / "@sigstore/verify/package.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", [RUN_STATEMENT, PAYLOAD_STATEMENT])
def test_npm_sigstore_takes_the_bundles(name: str, package: Path, node_modules: Path, tmp_path: Path) -> None:
    """@sigstore/verify takes both bundles with the public key, and refuses them with another one."""
    key = package / "attestations/signer.pub.pem"
    ended = js_verify(node_modules, package / name, key)
    assert ended.returncode == 0 and ended.stdout == "verified\n", ended.stderr
    from worldflux.evidence import keys

    keys.create(tmp_path / "other", "other")
    refused = js_verify(node_modules, package / name, tmp_path / "other/other.pub")
    assert refused.returncode != 0 and "signature verification failed" in refused.stderr


def test_unzip_takes_the_archive(archive: Path, tmp_path: Path) -> None:
    """The archive is read by Python's own zipfile, and unpacked it is the bag that bagit.py takes."""
    import zipfile

    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(tmp_path / "unpacked")
    (bag,) = (tmp_path / "unpacked").iterdir()
    assert run(needed("bagit.py"), "--validate", bag).returncode == 0


def test_the_key_of_the_lab_is_a_key(tmp_path: Path) -> None:
    """openssl reads the private key that `key create` writes, and the lab's."""
    openssl = needed("openssl")
    from worldflux.evidence import keys

    keys.create(tmp_path / "keys", "made")
    make_key(tmp_path / "keys")
    for name in ("made", "lab"):
        shown = run(openssl, "pkey", "-in", tmp_path / f"keys/{name}.pem", "-pubout")
        assert shown.stdout == (tmp_path / f"keys/{name}.pub").read_text()
