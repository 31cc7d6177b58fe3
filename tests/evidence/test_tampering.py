"""Every kind of change to a package is caught, and by the layers that can know of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evidence_lab import make_package, make_run, relist
from package_changes import MANIFEST, PAYLOAD, RUN, SIGNER, forged, relisted, removed, replaced, sign_anew
from tampering_matrix import MATRIX

from worldflux.evidence import dsse, keys
from worldflux.evidence.keys import SigningKey
from worldflux.evidence.package import Refused
from worldflux.evidence.reading import FAIL
from worldflux.evidence.trust import Trust
from worldflux.evidence.verify import verify_path
from worldflux.manifest import io


@pytest.mark.parametrize("name", MATRIX)
def test_each_change_is_caught_by_the_layers_that_can(name: str, package: Path, trust: Trust) -> None:
    """Exactly these layers fail, each with a place and a problem; the others hold."""
    change, expected = MATRIX[name]
    change(package)
    report = verify_path(package, trust)
    failed = {layer.name for layer in report.layers if layer.status == FAIL}
    faults = [(layer.name, *map(str, layer.faults)) for layer in report.layers if layer.faults]
    assert failed == expected, faults
    assert report.state == "invalid"
    for layer in report.layers:
        assert bool(layer.faults) == (layer.status == FAIL)
        assert all(fault.where and fault.problem for fault in layer.faults)


def test_the_matrix_is_complete(package: Path, trust: Trust) -> None:
    """There are more than forty kinds of change, and the package they start from is verified."""
    assert len(MATRIX) >= 40
    assert verify_path(package, trust).state == "verified"


def test_a_stripped_signature_is_told(package: Path, trust: Trust) -> None:
    """Whoever removes all signatures gets an unsigned package, which is not a verified one."""
    relisted(removed(RUN, PAYLOAD, SIGNER))(package)
    report = verify_path(package, trust)
    assert report.state == "unsigned" and report.layer("signature").status == "none"


def test_whoever_signs_again_is_a_stranger(package: Path, trust: Trust, tmp_path: Path) -> None:
    """A forger with a key of their own makes a whole package that nobody trusted has signed."""
    keys.create(tmp_path / "forger", "forger")
    forger = keys.load(tmp_path / "forger", "forger")
    forged(replaced(MANIFEST, b'"value":0.5', b'"value":0.9'))(package)
    sign_anew(package, forger)
    report = verify_path(package, trust)
    assert report.state == "signed" and report.layer("signature").status == "unknown"
    assert report.signer is not None and report.signer.key_id == forger.public.key_id


def test_a_forger_can_not_borrow_a_trusted_keys_name(package: Path, trust: Trust, tmp_path: Path) -> None:
    """A forger's signature under the trusted key's id is no signature."""
    keys.create(tmp_path / "forger", "forger")
    forger = keys.load(tmp_path / "forger", "forger")
    forged(replaced(MANIFEST, b'"value":0.5', b'"value":0.9'))(package)
    sign_anew(package, forger, claimed=trust.signers[0].key_id)
    report = verify_path(package, trust)
    assert report.layer("signature").status == FAIL


def test_one_statement_by_another_key_is_refused(package: Path, trust: Trust, tmp_path: Path) -> None:
    """Both statements are by one signer: a stranger can not contribute half of the evidence."""
    keys.create(tmp_path / "other", "other")
    other = keys.load(tmp_path / "other", "other")
    payload = dsse.decode(json.loads((package / RUN).read_bytes())).payload
    (package / RUN).write_bytes(other.bundle(payload))
    relist(package)
    assert verify_path(package, trust).layer("signature").status == FAIL


def test_a_signed_statement_of_another_run_is_refused(
    package: Path, trust: Trust, key: SigningKey, tmp_path: Path
) -> None:
    """Genuine statements about one run prove nothing about another, also by the same key."""
    other = make_run(tmp_path / "more", run_id="019aa1c2-7d40-7c3e-9b1a-4f3c2b1a0daa")
    make_package(other, tmp_path / "other", key)
    for name in (RUN, PAYLOAD):
        shutil.copy(tmp_path / "other" / name, package / name)
    relist(package)
    assert verify_path(package, trust).layer("signature").status == FAIL


def test_a_trusted_signer_who_lies_about_the_run_is_caught(
    package: Path, trust: Trust, key: SigningKey
) -> None:
    """A provenance that contradicts the manifest fails, though the key is right."""
    genuine = dsse.decode(json.loads((package / RUN).read_bytes())).payload
    edits: list[Callable[[dict[str, Any]], object]] = [
        lambda said: said["predicate"]["runDetails"]["builder"].update(
            id="https://worldflux.dev/runners/modal"
        ),
        lambda said: said["predicate"]["buildDefinition"]["externalParameters"].update(recipe="other"),
        lambda said: said["subject"].pop(),
    ]
    for edit in edits:
        statement = json.loads(genuine)
        edit(statement)
        (package / RUN).write_bytes(key.bundle(io.canonical(statement)))
        relist(package)
        assert verify_path(package, trust).layer("signature").status == FAIL


def test_the_enclosed_key_decides_nothing(package: Path, trust: Trust) -> None:
    """Removing or exchanging the convenience copy changes no verdict about a trusted key."""
    relisted(removed(SIGNER))(package)
    assert verify_path(package, trust).state == "verified"


def test_links_and_special_files_are_refused(package: Path, trust: Trust) -> None:
    """A link in a package is not followed, whatever it points to."""
    (package / "data" / "link").symlink_to("/etc/hostname")
    with pytest.raises(Refused, match="link"):
        verify_path(package, trust)
    (package / "data" / "link").unlink()
    os.mkfifo(package / "data" / "pipe")
    with pytest.raises(Refused, match="special file"):
        verify_path(package, trust)
    (package / "data" / "pipe").unlink()
    (package / "elsewhere").symlink_to("/tmp", target_is_directory=True)
    with pytest.raises(Refused, match="link"):
        verify_path(package, trust)


def test_what_is_no_package_is_refused(tmp_path: Path, trust: Trust) -> None:
    """A missing path, and a file that is no archive, are explained; an empty folder fails."""
    with pytest.raises(Refused, match="no such"):
        verify_path(tmp_path / "nothing", trust)
    (tmp_path / "file").write_bytes(b"hello")
    with pytest.raises(Refused, match="no ZIP"):
        verify_path(tmp_path / "file", trust)
    (tmp_path / "empty").mkdir()
    assert verify_path(tmp_path / "empty", trust).state == "invalid"
