"""The registry of bad designs fits the code; `python tests/mutants/run.py` sees whether they are caught."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("tomllib", reason="the registry of mutants is TOML, read from Python 3.11 on")

HERE = Path(__file__).parent


def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutant_runner", HERE / "mutants" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutant_runner"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


run = runner()
MUTANTS = run.load()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_still_applies(mutant: run.Mutant, tmp_path: Path) -> None:  # type: ignore[name-defined]
    """The text that a mutant replaces is in the code exactly once, and the result still compiles."""
    for change in mutant.changes:
        target = tmp_path / change.file
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE.parent / change.file, target)
    mutant.apply(tmp_path)
    for change in mutant.changes:
        text = (tmp_path / change.file).read_text()
        if change.file.endswith(".py"):
            compile(text, change.file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_names_tests_that_exist(mutant: run.Mutant) -> None:  # type: ignore[name-defined]
    """A mutant says which design it is, and its guards are tests that can be found."""
    assert mutant.design and mutant.tests and mutant.changes
    for test in mutant.tests:
        path, *names = test.split("::")
        text = (HERE.parent / path).read_text()
        for name in names:
            plain = name.partition("[")[0]
            assert re.search(rf"(def|class) {re.escape(plain)}\b", text), f"{test} does not exist"


def entry(folder: Path, text: str) -> None:
    (folder / "area.toml").write_text(f"[[mutant]]\n{text}")


def test_a_mutant_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """A text that is missing or found twice is told, not silently skipped."""
    entry(
        tmp_path,
        """name = "m"\ndesign = "d"\ntests = ["t"]\n[[mutant.change]]\nfile = "f"\nold = "a"\nnew = "b"\n""",
    )
    (mutant,) = run.load(tmp_path)
    assert mutant.name == "area/m"
    for text in ("", "aa"):
        (tmp_path / "f").write_text(text)
        with pytest.raises(run.MutantError, match=f"occurs {len(text)} times in f"):
            mutant.apply(tmp_path)


@pytest.mark.parametrize(
    "text", ['name = "m"', 'name = "m"\ndesign = "d"\ntests = []\nchange = [{file = "f"}]']
)
def test_a_half_written_entry_is_an_error(tmp_path: Path, text: str) -> None:
    """An entry without its parts is refused with its name."""
    entry(tmp_path, text)
    with pytest.raises(run.MutantError, match=r"^area/m: .*needs"):
        run.load(tmp_path)


def test_names_areas_and_patterns_choose() -> None:
    """Mutants are chosen by full name, by name, by area and by pattern; an unknown name lists all."""
    one = run.Mutant("process/one", "", (), ())
    two = run.Mutant("secrets/two", "", (), ())
    assert run.chosen([one, two], []) == [one, two]
    assert run.chosen([one, two], ["process"]) == [one]
    assert run.chosen([one, two], ["two"]) == [two]
    assert run.chosen([one, two], ["*/t*", "process/one"]) == [two, one]
    with pytest.raises(run.MutantError, match="there are: process/one secrets/two"):
        run.chosen([one, two], ["three"])


def test_only_a_failure_of_the_named_test_counts(tmp_path: Path) -> None:
    """A test that passes, a longer name, or a file that can not be imported catches nothing."""
    (tmp_path / "test_a.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('x', ['a b', 'c'])\n"
        "def test_one(x): assert x == 'c'\n"
        "def test_one_more(): assert False\n"
        "def test_two(): pass\n"
    )
    (tmp_path / "test_b.py").write_text("import no_such_module\n")
    failed, _ = run.failing(tmp_path, ["test_a.py::test_one", "test_a.py::test_two"], 20)
    assert failed == {"test_a.py::test_one"}
    failed, _ = run.failing(tmp_path, ["test_b.py"], 20)
    assert failed == set()
