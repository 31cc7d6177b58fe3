"""Names of imports, right and wrong."""

from __future__ import annotations

import pytest

from worldflux.catalog.reference import is_reference, parse
from worldflux.errors import UsageError


@pytest.mark.parametrize(
    ("text", "kind", "repo", "revision"),
    [
        ("lerobot:lerobot/act", "policy", "lerobot/act", None),
        ("lerobot:me/a.b-c_d@main", "policy", "me/a.b-c_d", "main"),
        ("lerobot-dataset:me/x@v3.0", "dataset", "me/x", "v3.0"),
        ("lerobot-dataset:me/x@refs/convert/parquet", "dataset", "me/x", "refs/convert/parquet"),
        ("lerobot:single", "policy", "single", None),
    ],
)
def test_right_names(text: str, kind: str, repo: str, revision: str | None) -> None:
    """Scheme, repo and revision are told apart, and the name is written back as it was."""
    found = parse(text)
    assert (found.kind, found.repo, found.revision, str(found)) == (kind, repo, revision, text)


@pytest.mark.parametrize(
    "text",
    [
        "act", "hub:me/x", "lerobot:", "lerobot:a/b/c", "lerobot:../x", "lerobot:me/..", "lerobot:/me",
        "lerobot:me/x@../y", "lerobot:me/x@a b", "lerobot:me x", "lerobot:me/x?a=b", "lerobot:me/x@-f",
        "lerobot:me/x\n", "lerobot:-me/x", "lerobot:me/x@", "lerobot:.me/x",
    ],
)  # fmt: skip
def test_wrong_names(text: str) -> None:
    """What could reach another place of the disk or of the Hub is refused, with the right form."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert (
        caught.value.code == "bad_reference" and "OWNER/NAME" in caught.value.hint + caught.value.problem
    ) or ("revision" in caught.value.problem)


def test_folders_are_no_references() -> None:
    """A path is never taken for a repo."""
    assert is_reference("lerobot:x") and not is_reference("./lerobot") and not is_reference("C:/lerobot")
