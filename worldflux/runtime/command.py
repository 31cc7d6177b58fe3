"""The recipe's command as it is run on a machine that has the recipe's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_INTERPRETER = ("python", "python3")


def located(
    command: Sequence[str], source_dir: Path, *, python: str, mounted: PurePosixPath | None = None
) -> list[str]:
    """The words of a command with files of the recipe made absolute.

    The command's working directory is the run's own, empty folder, so that two runs never see
    each other's files. A word that names a file below `source_dir` becomes its absolute path;
    `python` as first word becomes the environment's interpreter. Nothing else changes.

    Args:
        command: the recipe's words.
        source_dir: the recipe's files on this machine.
        python: interpreter to run.
        mounted: where those files are on the machine that runs the command; here by default.
    """
    words = list(command)
    if words and words[0] in _INTERPRETER:
        words[0] = python
    base = mounted if mounted is not None else PurePosixPath(source_dir)
    return [str(base / word) if _names_file(word, source_dir) else word for word in words]


def _names_file(word: str, source_dir: Path) -> bool:
    if (
        not word
        or len(word) > 1024
        or word.startswith(("-", "/", "~"))
        or "\\0" in word
        or ".." in word.split("/")
    ):
        return False
    try:
        path = source_dir / word
        return path.is_file() or ("/" in word and path.is_dir())
    except OSError:
        return False
