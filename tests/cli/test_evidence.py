"""`worldflux evidence`: keys, packages and verdicts by the command line."""

from __future__ import annotations

import json
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import Run
from published import form

RECIPE = """
command: [python, main.py]
metrics: {won: {file: out.json, select: "episodes[].ok", kind: success}}
artifacts: [{path: out.json, commit: true}]
"""
PROGRAM = "import json; json.dump({'episodes': [{'ok': i < 7} for i in range(9)]}, open('out.json', 'w'))"


@pytest.fixture
def ran(wf: Run, recipe: Callable[..., Path], project: Path) -> Path:
    """The folder of a run that has ended well."""
    recipe(RECIPE, PROGRAM)
    assert wf("run", "mine").code == 0
    (folder,) = (path for path in (project / "runs").iterdir() if path.name.startswith("0"))
    return folder


def test_a_key_is_made_once_and_only_its_owner_reads_it(wf: Run, clean_environment: Path) -> None:
    """0600 in a folder 0700 below the home folder, and a second key of that name is refused."""
    first = wf("evidence", "key", "create")
    assert first.code == 0
    keys = clean_environment / ".worldflux" / "keys"
    assert stat.S_IMODE((keys / "default.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    before = (keys / "default.pem").read_bytes()
    again = wf("evidence", "key", "create")
    assert again.code == 4 and "not overwritten" in again.err
    assert (keys / "default.pem").read_bytes() == before


def test_a_key_is_never_printed(wf: Run, ran: Path, clean_environment: Path) -> None:
    """No command shows a line of the private key, nor does a package hold it."""
    shown = [
        wf("evidence", "key", "create", "--json"),
        wf("evidence", "key", "show"),
        wf("evidence", "key", "list"),
    ]
    shown.append(wf("evidence", "build", "last"))
    pem = (clean_environment / ".worldflux" / "keys" / "default.pem").read_text().splitlines()[1:-1]
    packed = b"".join(path.read_bytes() for path in (ran / "evidence").rglob("*") if path.is_file())
    for line in pem:
        assert all(line not in each.out + each.err for each in shown)
        assert line.encode() not in packed


def test_every_answer_fits_its_schema(wf: Run, ran: Path) -> None:
    """All verbs with --json, good and bad, print one document of the published form."""
    wf("evidence", "key", "create", "other")
    public = wf("evidence", "key", "show", "other").out
    (ran.parent / "friend.pub").write_text(public)
    wf("evidence", "key", "create", "lab")
    (ran.parent / "lab.pub").write_text(wf("evidence", "key", "show", "lab").out)
    calls: list[tuple[int, list[str]]] = [
        (0, ["key", "create"]),
        (0, ["key", "show"]),
        (0, ["key", "list"]),
        (0, ["key", "trust", "friend", "runs/friend.pub"]),
        (4, ["key", "trust", "friend", "runs/lab.pub"]),
        (0, ["key", "trust", "friend", "runs/lab.pub", "--replace"]),
        (0, ["key", "untrust", "friend"]),
        (2, ["key", "untrust", "friend"]),
        (0, ["build"]),
        (2, ["build"]),
        (0, ["build", "--force", "--exclude", "artifacts/out.json", "--zip", "--unsigned"]),
        (0, ["verify", "runs/" + ran.name + "/evidence"]),
        (0, ["verify", "last"]),
        (1, ["verify", "last", "--require", "signature"]),
        (2, ["verify", "nothing.zip"]),
    ]
    for code, words in calls:
        ended = wf("evidence", *words, "--json")
        assert ended.code == code, (words, ended.out, ended.err)
        form("cli").validate(ended.envelope)
        verbs = 2 if words[0] == "key" else 1
        assert ended.envelope["command"] == " ".join(["evidence", *words[:verbs]])


def test_without_a_key_a_package_is_unsigned_and_says_so(wf: Run, ran: Path) -> None:
    """Building warns, verifying warns and passes, requiring a signature fails."""
    built = wf("evidence", "build", "--zip")
    assert built.code == 0 and "unsigned" in built.out and "key create" in built.err
    seen = wf("evidence", "verify")
    assert seen.code == 0 and "UNSIGNED" in seen.out and "Nobody vouches" in seen.out
    assert "unsigned: anybody could have made it" in seen.err
    assert wf("evidence", "verify", "--require", "signature").code == 1


def test_the_only_key_signs_whatever_it_is_called(wf: Run, ran: Path) -> None:
    """One key needs no choice; of two without a `default` none is taken, and that is said."""
    wf("evidence", "key", "create", "mine")
    built = wf("evidence", "build", "last")
    assert built.code == 0 and "signed by" in built.out and "unsigned" not in built.out + built.err
    wf("evidence", "key", "create", "other")
    again = wf("evidence", "build", "last", "--force")
    assert again.code == 0 and "--sign NAME" in again.err


def test_a_strangers_signature_fails_until_it_is_trusted(wf: Run, ran: Path, tmp_path: Path) -> None:
    """Exit code 1 and the key's id; trusted by its enclosed public key it is verified; --signer names it."""
    theirs = {"WORLDFLUX_HOME": str(tmp_path / "theirs")}
    wf("evidence", "key", "create", **theirs)
    package = str(tmp_path / "given.zip")
    assert wf("evidence", "build", "--zip", "-o", package, **theirs).code == 0
    mine = wf("evidence", "verify", package)
    assert mine.code == 1 and "do not trust" in mine.out and "SIGNED" in mine.out
    with zipfile.ZipFile(package) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("signer.pub.pem"))
        (tmp_path / "their.pub").write_bytes(archive.read(name))
    assert wf("evidence", "key", "trust", "lab", str(tmp_path / "their.pub")).code == 0
    assert wf("evidence", "verify", package).code == 0
    assert wf("evidence", "verify", package, "--signer", "lab").code == 0
    wf("evidence", "key", "create", "mine")
    assert wf("evidence", "verify", package, "--signer", "mine").code == 1
    assert wf("evidence", "verify", package, "--signer", str(tmp_path / "their.pub")).code == 0


def test_a_secret_in_the_log_refuses_the_package(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """The file and the rule are named, never the value; the file can be left outside by digest."""
    recipe(RECIPE, f"print('using hf_{'aB3dE5' * 6}')\n{PROGRAM}")
    assert wf("run", "mine").code == 0
    refused = wf("evidence", "build")
    assert refused.code == 4 and "logs/" in refused.err and "aB3dE5aB3dE5" not in refused.err
    left = wf("evidence", "build", "--exclude", "logs/*")
    assert left.code == 0 and "outside by digest: logs/" in left.out
    assert wf("evidence", "verify").code == 0


def test_a_recipe_that_asks_for_evidence_gets_it(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """`evidence: true` packs the run as it ends, signed with the default key, also when it fails."""
    wf("evidence", "key", "create")
    recipe(RECIPE + "evidence: true\n", PROGRAM)
    assert "evidence: " in wf("run", "mine").out
    assert wf("evidence", "verify").out.count("VERIFIED") == 1
    recipe(RECIPE + "evidence: true\n", "raise SystemExit(3)")
    assert wf("run", "mine").code == 1
    archives = sorted((project / "runs").glob("*/evidence.zip"))
    assert len(archives) == 2
    seen = wf("evidence", "verify", "last", "--json").envelope
    assert seen["data"]["state"] == "verified" and seen["data"]["kind"] == "zip"


def test_evidence_that_can_not_be_made_does_not_change_the_run(wf: Run, recipe: Callable[..., Path]) -> None:
    """A secret in the log: the run is what it was, and the console says that there is no evidence."""
    recipe(RECIPE + "evidence: true\n", f"print('hf_{'aB3dE5' * 6}')\n{PROGRAM}")
    ended = wf("run", "mine")
    assert ended.code == 0 and "no evidence was made" in ended.out


def test_a_changed_run_folder_is_noticed(wf: Run, ran: Path) -> None:
    """Verifying a run that was never packed holds its files against its manifest."""
    assert wf("evidence", "verify").code == 0
    (ran / "artifacts" / "out.json").write_text("{}")
    seen = wf("evidence", "verify")
    assert seen.code == 1 and "artifacts/out.json" in seen.out
    refused = wf("evidence", "build")
    assert refused.code == 1 and "not what the run recorded" in refused.err


def test_the_help_page_of_the_readme_verifies_with_coreutils(wf: Run, ran: Path) -> None:
    """A reviewer without WorldFlux checks the bag with `sha256sum -c --strict`."""
    assert wf("evidence", "build", "--unsigned").code == 0
    for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "-c", "--strict", "--quiet", name], cwd=ran / "evidence", check=True)
    assert json.loads((ran / "evidence" / "data" / "manifest.json").read_bytes())["client_run_id"] == ran.name
