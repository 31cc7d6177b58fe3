"""The README tells the truth: its commands run, its help text is the real one, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import warm_python

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
HELP = re.compile(r"<!-- help: (.+?) -->\n```text\n(.*?)```", re.S)
#: Commands that are the subject of other tests, need a checkout, or change this environment.
ELSEWHERE = ("make ", "pip install", "eval ")


def commands() -> list[str]:
    """Lines of console blocks, in order."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "100", "NO_COLOR": "1"}
    words = shlex.split(command)
    if words[0] in ("worldflux", "worldflux-run") and not set(command) & set("|&;<>$`*?~#"):
        return warm_python.run(
            [BIN / words[0], *words[1:]], cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )  # fmt: skip
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    """Pasted one after the other into an empty folder, they all end well."""
    where = tmp_path
    for command in commands():
        if command.startswith(ELSEWHERE):
            continue
        ended = run(command, where)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
        if "&& cd " in command:
            where = where / command.rpartition("cd ")[2]


@pytest.mark.parametrize("command", [match[0] for match in HELP.findall(README)])
def test_help_text_is_current(command: str, tmp_path: Path) -> None:
    """What the README shows of a command is what the command prints."""
    shown = dict(HELP.findall(README))[command]
    assert run(command, tmp_path).stdout == shown


def test_links_lead_somewhere() -> None:
    """Every relative link of every committed page names a file that exists."""
    pages = [ROOT / "README.md", *ROOT.glob("recipes/*/README.md"), *ROOT.glob("worldflux/**/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_recipe_is_listed() -> None:
    """The README names each built-in recipe, and each composes."""
    names = sorted(path.parent.name for path in ROOT.glob("recipes/*/recipe.yaml"))
    for name in names:
        assert f"recipes/{name}/README.md" in README
    checked = run("worldflux recipe check " + " ".join(map(shlex.quote, names)), ROOT)
    assert checked.returncode == 0, checked.stderr


def test_no_registry_and_no_foreign_path_is_committed() -> None:
    """Committed files name no package registry and no absolute path of a developer's machine."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    pattern = re.compile(rb"pypi\.org/simple|pythonhosted|registry\.npmjs|deb\.debian\.org|/(work|farm)/")
    found = []
    for name in tracked.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and name != "tests/test_docs.py" and pattern.search(path.read_bytes()):
            found.append(name)
    assert found == []


if __name__ == "__main__":
    page = HELP.sub(lambda m: f"<!-- help: {m[1]} -->\n```text\n{run(m[1], ROOT).stdout}```", README)
    (ROOT / "README.md").write_text(page, encoding="utf-8")
