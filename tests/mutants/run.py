"""Known-bad designs, each swapped in to see that the tests notice: `python tests/mutants/run.py [NAME ...]`.

A NAME is a mutant, an area (`process`) or a pattern (`process/*log*`); none means all. For each
mutant the project is copied aside, the copy is changed, and the tests that guard against that
design are run there. A mutant is caught when each of those tests fails. Ends with 1 when one
is not caught, with 2 when the tests do not even pass on the unchanged copy.

The designs are listed in `<area>.toml` beside this file:

    [[mutant]]
    name = "no-log-cap"
    design = "what somebody might well write, and believe to be right"
    tests = ["tests/runtime/test_process.py::test_a_flood_is_cut_and_drained"]

    [[mutant.change]]
    file = "worldflux/runtime/shim/output.py"
    old = "text that occurs exactly once"
    new = "text to put in its place"
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomllib

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: Never copied: what is built, downloaded or run, and what the tests do not read.
SKIPPED = (".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "node_modules")


class MutantError(Exception):
    """A mutant that does not fit the code any more, or a registry that can not be read."""


@dataclass(frozen=True)
class Change:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bad design. `name` is `area/name`; `tests` are the pytest ids that must fail on it."""

    name: str
    design: str
    tests: tuple[str, ...]
    changes: tuple[Change, ...]

    def apply(self, root: Path) -> None:
        """Change the project below `root`.

        Raises:
            MutantError: a text to be replaced does not occur exactly once.
        """
        for change in self.changes:
            path = root / change.file
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            count = text.count(change.old)
            if count != 1:
                raise MutantError(f"{self.name}: text occurs {count} times in {change.file}: {change.old!r}")
            path.write_text(text.replace(change.old, change.new), encoding="utf-8")


def load(folder: Path = HERE) -> list[Mutant]:
    """All mutants of all areas.

    Raises:
        MutantError: an entry lacks a key, has an unknown one, or a name is used twice.
    """
    mutants: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []):
            label = f"{path.stem}/{entry.get('name', '?')}"
            if set(entry) != {"name", "design", "tests", "change"} or label in mutants:
                raise MutantError(f"{label}: needs name, design, tests and change, and a name of its own")
            try:
                changes = tuple(Change(**change) for change in entry["change"])
            except TypeError as error:
                raise MutantError(f"{label}: a change needs file, old and new") from error
            mutants[label] = Mutant(label, entry["design"], tuple(entry["tests"]), changes)
    return list(mutants.values())


def chosen(mutants: Sequence[Mutant], names: Sequence[str]) -> list[Mutant]:
    """The mutants that are meant by names, areas or patterns.

    Raises:
        MutantError: a name means none.
    """
    if not names:
        return list(mutants)
    found: dict[str, Mutant] = {}
    for name in names:
        patterns = (name, f"{name}/*", f"*/{name}")
        hits = [
            each for each in mutants if any(fnmatch.fnmatchcase(each.name, pattern) for pattern in patterns)
        ]
        if not hits:
            raise MutantError(f"no mutant is called {name!r}; there are: {' '.join(m.name for m in mutants)}")
        found.update((mutant.name, mutant) for mutant in hits)
    return list(found.values())


@contextmanager
def copied_project() -> Iterator[Path]:
    """A copy of the project that anybody may read, for some tests become another user."""
    with tempfile.TemporaryDirectory(prefix="worldflux-mutant-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        shutil.copytree(
            ROOT, name, ignore=shutil.ignore_patterns(*SKIPPED), dirs_exist_ok=True, symlinks=True
        )
        yield Path(name)


def failing(root: Path, tests: Sequence[str], seconds: int) -> tuple[set[str], str]:
    """Run tests in a copy; returns which of them failed, and pytest's output."""
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-rf", "--tb=line", "-p", "no:cacheprovider", f"--timeout={seconds}"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    reports = [
        line.removeprefix("FAILED ") for line in result.stdout.splitlines() if line.startswith("FAILED ")
    ]
    failed = {test for test in tests if any(_is(report, test) for report in reports)}
    if result.returncode not in (0, 1):
        return set(), result.stdout  # nothing was collected, or pytest itself broke
    return failed, result.stdout


def _is(report: str, test: str) -> bool:
    """Whether a line `ID[case] - message` is about this test."""
    rest = report.removeprefix(test)
    return rest != report and (not rest or rest.startswith(("[", " - ")))


def verify_unchanged(mutants: Sequence[Mutant]) -> None:
    """See that the guarding tests pass on an unchanged copy, and test that copy.

    Raises:
        MutantError: they do not, so that a failure on a mutant would mean nothing.
    """
    with copied_project() as root:
        where = subprocess.run(
            [sys.executable, "-c", "import worldflux; print(worldflux.__file__)"],
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        ).stdout.strip()
        if not where.startswith(str(root)):
            raise MutantError(f"the tests would not import the copy but {where}")
        tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        failed, output = failing(root, tests, seconds=120)
        if failed or " passed" not in output or " error" in output:
            raise MutantError(f"the tests do not pass without a mutant:\n{output}")


def caught(mutant: Mutant) -> tuple[bool, str]:
    """Whether all of a mutant's tests fail on it, and a line or more that says so."""
    began = time.monotonic()
    with copied_project() as root:
        mutant.apply(root)
        failed, output = failing(root, mutant.tests, seconds=15)
    took = f"({time.monotonic() - began:.1f} s)"
    missed = [test for test in mutant.tests if test not in failed]
    if not missed:
        return True, f"caught      {mutant.name} {took}"
    lines = "\n".join(f"    {line}" for line in output.splitlines()[-15:])
    return False, f"NOT CAUGHT  {mutant.name} {took} by {', '.join(missed)}\n{lines}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="mutants at a time (default: 1)")
    parser.add_argument("--list", action="store_true", help="print the names and their designs, run nothing")
    options = parser.parse_args()
    try:
        mutants = chosen(load(), options.names)
        if options.list:
            for mutant in mutants:
                print(f"{mutant.name}: {mutant.design}")
            return 0
        verify_unchanged(mutants)
        survived = 0
        with ThreadPoolExecutor(options.jobs) as pool:
            for is_caught, line in pool.map(caught, mutants):
                print(line, flush=True)
                survived += not is_caught
    except MutantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(mutants) - survived} of {len(mutants)} mutants caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
