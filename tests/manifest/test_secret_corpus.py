"""The corpus of synthetic secrets and harmless look-alikes, against the gate as people use it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from prints import cheap_prints

from worldflux.manifest.secrets import Gate

__all__ = ["cheap_prints"]  # fixture

pytestmark = pytest.mark.usefixtures("cheap_prints")

BENCH = Path(__file__).parents[1] / "bench"


def loaded(name: str) -> ModuleType:
    """A module of tests/bench, which is no package."""
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


corpus = loaded("secret_corpus")


@pytest.mark.parametrize("split", ["tune", "held"])
def test_secrets_are_found(split: str) -> None:
    """At least 95 of 100 documents with a secret are refused, also of those no rule was written for."""
    cases = list(corpus.load("positive", split))
    missed = [case.id for case in cases if not Gate.from_environment(case.env).check(case.data)]
    assert len(missed) <= 0.05 * len(cases), missed


@pytest.mark.parametrize("split", ["tune", "held"])
def test_harmless_documents_pass(split: str) -> None:
    """None of the harmless documents is refused: a wrong refusal would stop somebody's run."""
    cases = list(corpus.load("negative", split))
    assert [case.id for case in cases if Gate.from_environment(case.env).check(case.data)] == []


@pytest.mark.parametrize("split", ["tune", "held"])
def test_what_is_masked_has_no_secret_left(split: str) -> None:
    """Any refused text passes once it was masked, and the value is gone from it."""
    for case in corpus.load("positive", split):
        gate = Gate.from_environment(case.env)
        if case.data.startswith(b"{"):
            continue
        masked = gate.mask(case.data.decode())
        assert case.value not in masked and gate.check(masked.encode()) == [], case.id


def test_the_corpus_is_large_and_a_third_is_held_out() -> None:
    """At least 200 documents of each kind; a third of each in families that are wholly held out."""
    for kind in ("positive", "negative"):
        cases = list(corpus.load(kind))
        held = {case.family for case in cases if case.split == "held"}
        assert len(cases) >= 200 and len({case.id for case in cases}) == len(cases)
        assert 0.28 < sum(case.split == "held" for case in cases) / len(cases) < 0.4
        assert held.isdisjoint(case.family for case in cases if case.split == "tune")


def test_no_line_of_the_corpus_has_the_form_of_a_token() -> None:
    """Scanners of hosting sites must not stop a push: values are stored in pieces of nine characters."""
    for path in corpus.FOLDER.glob("*.jsonl"):
        for line in path.read_text("utf-8").splitlines():
            assert all(len(part) <= 9 for parts in json.loads(line).get("parts", []) for part in parts)
            assert not re.search(r"gh[po]_\w{36}|AKIA[A-Z2-7]{16}|hf_\w{34}|PRIVATE KEY|xox[bp]-\d", line)


def test_the_corpus_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are what the generator writes, to the byte."""
    monkeypatch.syspath_prepend(str(BENCH))
    maker = loaded("make_secret_corpus")
    monkeypatch.setattr(maker, "FOLDER", tmp_path)
    maker.main()
    for kind in ("positive.jsonl", "negative.jsonl"):
        assert (tmp_path / kind).read_bytes() == (corpus.FOLDER / kind).read_bytes()
