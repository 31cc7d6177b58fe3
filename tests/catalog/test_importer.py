"""Imports from the Hub and from folders: pinned, whole or not there, and never executed."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hub_standin import TOKEN, StandInHub
from lerobot_files import ACT_CONFIG, contents, imported, safetensors

from worldflux.catalog import finding
from worldflux.catalog.importer import Wanted, bring
from worldflux.catalog.policy import check
from worldflux.catalog.shelf import Shelf
from worldflux.errors import AccessError, TemporaryError, UsageError, WorldFluxError


def test_a_policy_arrives_whole_and_pinned(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """Every file is there with the Hub's bytes; the record has commit, digest, license and facts."""
    repo = hub.add("me/act", act)
    found = imported("lerobot:me/act", tmp_path)
    assert contents(found.folder) == act
    record = found.record
    assert (record["commit"], record["names"], record["complete"]) == (repo.commit, ["main"], True)
    assert (record["license"], record["license_from"]) == ("apache-2.0", "model card")
    assert record["facts"]["type"] == "act" and record["facts"]["parameters"] == 40000
    assert record["facts"]["generation"] == "processors"
    assert (
        record["facts"]["training"]["dataset"] == "lerobot/pusht"
        and record["facts"]["training"]["steps"] == 400
    )
    lines = "".join(f"{hashlib.sha256(act[path]).hexdigest()}  {path}\n" for path in sorted(act))
    assert record["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert not (found.folder.parent / "parts").exists()


def test_all_is_read_at_the_commit_not_at_the_branch(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """After the revision was resolved nothing is asked by its name, so a moving branch mixes nothing."""
    repo = hub.add("me/act", act)
    imported("lerobot:me/act", tmp_path)
    assert all(repo.commit in request.path for request in hub.asked("/resolve/") + hub.asked("/tree/"))


def test_again_costs_one_question(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """A second import of an unchanged repo asks which commit is meant, and transfers nothing."""
    hub.add("me/act", act)
    first = imported("lerobot:me/act", tmp_path)
    hub.requests.clear()
    second = imported("lerobot:me/act", tmp_path)
    assert (first.fresh, second.fresh) == (True, False)
    assert [request.path.split("?")[0] for request in hub.requests] == ["/api/models/me/act/revision/main"]


def test_a_named_commit_needs_no_network(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """An import that is here can be named by its commit offline."""
    repo = hub.add("me/act", act)
    imported("lerobot:me/act", tmp_path)
    hub.requests.clear()
    assert not imported(f"lerobot:me/act@{repo.commit}", tmp_path).fresh
    assert hub.requests == []


def test_a_newer_commit_stands_beside_the_older(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """When the branch moved, both commits are kept; the id means the newest, a commit the one named."""
    old = hub.add("me/act", act).commit
    imported("lerobot:me/act", tmp_path)
    new = hub.add("me/act", {**act, "README.md": b"---\nlicense: mit\n---\n"}).commit
    imported("lerobot:me/act", tmp_path)
    assert finding.get("lerobot:me/act", tmp_path).revision == new
    assert finding.get("lerobot:me/act@main", tmp_path).revision == new
    assert finding.get(f"lerobot:me/act@{old[:10]}", tmp_path).revision == old


def test_the_entry_is_listed_with_the_figures_of_its_type(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """The import shows up in the catalog: ACT's claims, its own weights as a lower bound, its license."""
    repo = hub.add("me/act", act)
    imported("lerobot:me/act", tmp_path)
    entry = finding.all_entries(tmp_path)["lerobot:me/act"]
    assert (entry.origin, entry.revision, entry.family) == ("imported", repo.commit, "imitation-policy")
    assert {(claim.task, claim.gb, claim.kind) for claim in entry.vram} >= {
        ("train", 2, "stated"), ("eval", 0.00016, "derived"),
    }  # fmt: skip
    assert entry.license_weights.name == "apache-2.0"
    assert not any("4047" in source.name for issue in entry.issues for source in issue.sources)
    decision = check("lerobot:me/act", "eval", "local", None, 8.0, home=tmp_path)
    assert decision.refuse is None and decision.revision == repo.commit
    assert decision.facts["imported"]["sha256"]


def test_meta_only_leaves_the_weights(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """`--meta-only` tells parameters and generation from the header, without bringing the weights."""
    hub.add("me/act", act)
    found = imported("lerobot:me/act", tmp_path, meta_only=True)
    assert "model.safetensors" not in contents(found.folder)
    assert (found.record["complete"], found.record["selection"]["meta_only"]) == (False, True)
    assert found.record["facts"]["parameters"] == 40000
    whole = imported("lerobot:me/act", tmp_path)
    assert whole.record["complete"] and contents(whole.folder) == act


def test_a_policy_from_before_the_processors_is_labelled(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """Normalisation buffers in the weights and no processor files: eval is known to stop, and why."""
    old = {path: data for path, data in act.items() if not path.startswith("policy_")}
    old["model.safetensors"] = safetensors(
        {"normalize_inputs.buffer_state.mean": ("F32", [2]), "w": ("F32", [3])}
    )
    hub.add("me/old", old)
    record = imported("lerobot:me/old", tmp_path).record
    assert record["facts"]["generation"] == "legacy-normalization"
    problem = next(problem for problem in record["problems"] if problem["code"] == "legacy-normalization")
    assert problem["stops"] == ["eval"] and "huggingface/lerobot#4047" in problem["sources"]
    decision = check("lerobot:me/old", "eval", "local", None, 8.0, home=tmp_path)
    assert any("FileNotFoundError" in warning for warning in decision.warnings)


def test_a_plugin_policy_is_imported_and_disabled(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """A type LeRobot does not know comes in for inspection; no runtime is offered for it."""
    config = json.dumps({**ACT_CONFIG, "type": "my_plugin"}).encode()
    hub.add("me/plugin", {**act, "config.json": config})
    record = imported("lerobot:me/plugin", tmp_path).record
    assert not record["facts"]["known_type"]
    decision = check("lerobot:me/plugin", "eval", "local", None, 80.0, home=tmp_path)
    assert decision.code == "support" and "my_plugin" in (decision.refuse or "")


def test_second_repos_are_named(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """What a policy fetches when it is loaded is told, and whether it is gated."""
    steps = [
        {"registry_name": "tokenizer_processor", "config": {"tokenizer_name": "google/paligemma-3b-pt-224"}}
    ]
    files = {
        **act,
        "config.json": json.dumps({**ACT_CONFIG, "type": "pi05"}).encode(),
        "policy_preprocessor.json": json.dumps({"name": "p", "steps": steps}).encode(),
    }
    hub.add("me/pi", files)
    record = imported("lerobot:me/pi", tmp_path).record
    assert record["facts"]["needs"] == [
        {"repo": "google/paligemma-3b-pt-224", "key": "tokenizer_name", "gated": True}
    ]
    assert any("gated" in problem["text"] for problem in record["problems"])


def test_nothing_of_an_import_is_executed(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """Python files and pickles of a repo are bytes; pickles are pointed out."""
    trap = tmp_path / "ran"
    code = f"open({str(trap)!r}, 'w')\n".encode()
    pickle = b"cbuiltins\nexec\n(V" + code.strip() + b"\ntR."
    files = {**act, "modeling_act.py": code, "__init__.py": code, "setup.py": code, "old.bin": pickle}
    hub.add("me/trap", files)
    record = imported("lerobot:me/trap", tmp_path / "home").record
    assert not trap.exists()
    assert any(problem["code"] == "pickle" and "old.bin" in problem["text"] for problem in record["problems"])


def test_another_kind_of_model_is_refused_before_its_weights(hub: StandInHub, tmp_path: Path) -> None:
    """A transformers model is not taken for a policy, and only small files were read to see it."""
    hub.add(
        "me/llm",
        {"config.json": b'{"model_type": "llama"}', "model.safetensors": safetensors({"w": ("F32", [9])})},
    )
    with pytest.raises(UsageError) as caught:
        bring("lerobot:me/llm", home=tmp_path)
    assert caught.value.code == "not_a_policy" and "llama" in caught.value.problem
    assert hub.asked("model.safetensors") == []
    assert finding.find("lerobot:me/llm", tmp_path) is None


@pytest.mark.parametrize(
    "path", ["../evil", "a/../../evil", "/etc/evil", "a//b", "a/./b", "c:evil", "a\\b", "a\nb"]
)
def test_dangerous_file_names_are_refused(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path, path: str
) -> None:
    """A listing whose names climb out of the folder imports nothing at all."""
    hub.add("me/evil", {**act, path: b"evil"})
    with pytest.raises(WorldFluxError) as caught:
        bring("lerobot:me/evil", home=tmp_path / "home")
    assert caught.value.code == "unsafe_path" and "\n" not in caught.value.problem
    assert not [found for found in tmp_path.rglob("*evil") if found.is_file()]
    assert finding.find("lerobot:me/evil", tmp_path / "home") is None


def test_a_wrong_digest_leaves_no_entry(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """Bytes changed on their way are refused; once the way is clean the same command succeeds."""
    repo = hub.add("me/act", act)
    repo.corrupt.add("model.safetensors")
    with pytest.raises(WorldFluxError) as caught:
        bring("lerobot:me/act", home=tmp_path)
    assert caught.value.code == "digest_mismatch" and "model.safetensors" in caught.value.problem
    assert finding.find("lerobot:me/act", tmp_path) is None
    repo.corrupt.clear()
    assert contents(imported("lerobot:me/act", tmp_path).folder) == act


def test_cut_transfers_resume_by_range(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """A connection that is closed in the middle costs only what is missing."""
    repo = hub.add("me/act", act)
    repo.cut["model.safetensors"] = [50_000, 70_000]
    found = imported("lerobot:me/act", tmp_path)
    assert contents(found.folder) == act
    ranges = [request.range for request in hub.asked("model.safetensors") if request.host == "store"]
    assert ranges == [None, "bytes=50000-", "bytes=120000-"]


def test_a_hub_without_ranges_still_works(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """A server that answers 200 to a range is understood to start over."""
    repo = hub.add("me/act", act)
    hub.ignore_range = True
    repo.cut["model.safetensors"] = [50_000]
    assert contents(imported("lerobot:me/act", tmp_path).folder) == act


def test_gated_needs_the_token(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gated policy is refused without a token and comes in with it; the record says it is gated."""
    hub.add("me/gated", act, gated=True)
    with pytest.raises(AccessError):
        bring("lerobot:me/gated", home=tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    record = imported("lerobot:me/gated", tmp_path).record
    assert record["origin"]["gated"] == "auto"
    assert TOKEN not in "".join(
        path.read_text() for path in tmp_path.rglob("*.json*") if "files" not in path.parts
    )


def test_two_imports_of_one_commit_do_not_mix(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """While one is at work another is told to wait."""
    hub.add("me/act", act)
    inside, release = threading.Event(), threading.Event()

    def hold(request: Any) -> None:
        if "model.safetensors" in request.path:
            inside.set()
            release.wait(20)

    hub.before = hold
    first = threading.Thread(target=lambda: bring("lerobot:me/act", home=tmp_path))
    first.start()
    try:
        assert inside.wait(20)
        with pytest.raises(TemporaryError) as caught:
            bring("lerobot:me/act", home=tmp_path)
        assert caught.value.code == "busy"
    finally:
        release.set()
        first.join()
    assert finding.find("lerobot:me/act", tmp_path) is not None


def test_no_room_is_told_before_anything_large(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """An import larger than the disk is refused with both numbers."""
    repo = hub.add("me/act", act)
    repo.files["model.safetensors"].size = 2**60
    with pytest.raises(WorldFluxError) as caught:
        bring("lerobot:me/act", home=tmp_path)
    assert caught.value.code == "no_space" and "WORLDFLUX_HOME" in caught.value.hint


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("lerobot:me/act", Wanted(episodes="0:3")),
        ("lerobot-dataset:me/pusht", Wanted(meta_only=True, episodes="0:3")),
        ("lerobot-dataset:me/pusht", Wanted(episodes="three")),
        ("lerobot-dataset:me/pusht", Wanted(episodes="3:3")),
    ],
)
def test_wishes_that_make_no_sense_are_refused_without_asking(
    hub: StandInHub, tmp_path: Path, what: str, wanted: Wanted
) -> None:
    """Contradicting or unreadable wishes are found before the network is used."""
    with pytest.raises(UsageError):
        bring(what, wanted, home=tmp_path)
    assert hub.requests == []


def test_a_folder_is_imported_by_content(act: dict[str, bytes], tmp_path: Path) -> None:
    """A local policy comes in as a copy pinned to its content; changing the folder makes another."""
    folder = tmp_path / "my run"
    for path, data in act.items():
        folder.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    found = imported(str(folder), tmp_path / "home")
    assert found.record["id"] == "lerobot:local/my-run" and contents(found.folder) == act
    assert found.record["origin"] == {"folder": str(folder)}
    assert not imported(str(folder), tmp_path / "home").fresh
    (folder / "README.md").write_bytes(b"changed")
    other = imported(str(folder), tmp_path / "home")
    assert other.fresh and other.record["commit"] != found.record["commit"]


def test_folders_that_are_neither_are_refused(tmp_path: Path) -> None:
    """A folder with neither policy nor dataset, and one that holds the policy one level deeper."""
    with pytest.raises(UsageError) as caught:
        bring(str(tmp_path), home=tmp_path / "home")
    assert caught.value.code == "not_importable"
    (tmp_path / "pretrained_model").mkdir()
    (tmp_path / "pretrained_model" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="neither") as deeper:
        bring(str(tmp_path), home=tmp_path / "home")
    assert "pretrained_model" in deeper.value.hint
    with pytest.raises(UsageError) as missing:
        bring(str(tmp_path / "nowhere"), home=tmp_path)
    assert missing.value.code == "no_folder"


def test_a_changed_import_is_brought_back(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """When a file of an import was edited, importing again repairs it."""
    hub.add("me/act", act)
    found = imported("lerobot:me/act", tmp_path)
    victim = found.folder / "config.json"
    victim.write_bytes(victim.read_bytes().replace(b"act", b"ACT"))
    again = imported("lerobot:me/act", tmp_path)
    assert again.fresh and contents(again.folder) == act


def test_progress_ends_where_it_should(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """Whoever watches is told files and bytes first, and at the end has seen exactly those."""

    class Watch:
        def __init__(self) -> None:
            self.phases: list[tuple[str, int, int]] = []
            self.bytes = self.files = 0
            self.lock = threading.Lock()

        def begin(self, label: str, files: int, total_bytes: int) -> None:
            self.phases.append((label, files, total_bytes))
            self.bytes = self.files = 0

        def advance(self, count: int) -> None:
            with self.lock:
                self.bytes += count

        def finished(self, path: str) -> None:
            with self.lock:
                self.files += 1

        def end(self) -> None:
            _, files, size = self.phases[-1]
            assert (self.files, self.bytes) == (files, size)

    repo = hub.add("me/act", act)
    repo.cut["model.safetensors"] = [50_000]
    watch = Watch()
    bring("lerobot:me/act", home=tmp_path, progress=watch)
    assert [label for label, _, _ in watch.phases] == ["metadata", "files"]
    assert watch.phases[-1][1:] == (len(act), sum(map(len, act.values())))


def test_the_home_is_taken_from_the_environment(hub: StandInHub, act: dict[str, bytes]) -> None:
    """Imports go to $WORLDFLUX_HOME/catalog."""
    hub.add("me/act", act)
    found = bring("lerobot:me/act")
    assert found.folder.is_relative_to(
        Path(os.environ["WORLDFLUX_HOME"]) / "catalog" / "policies" / "me" / "act"
    )
    assert Shelf.at().entries("policy")[0]["id"] == "lerobot:me/act"
