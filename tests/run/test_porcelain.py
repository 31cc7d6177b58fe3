"""What git prints, taken apart; what is private, taken out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldflux.run.porcelain import clean_remote, parse_status


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://git.example.org/a/b.git", "https://git.example.org/a/b.git"),
        ("https://alice@git.example.org/a/b.git", "https://git.example.org/a/b.git"),
        ("https://alice:pw@git.example.org:8443/a/b", "https://git.example.org:8443/a/b"),
        ("https://x:p@ss@git.example.org/a", "https://git.example.org/a"),
        ("https://git.example.org/a?private_token=abc#x", "https://git.example.org/a"),
        ("ssh://git@git.example.org:2222/a/b.git", "ssh://git.example.org:2222/a/b.git"),
        ("git@git.example.org:a/b.git", "git.example.org:a/b.git"),
        ("git.example.org:a/b.git", "git.example.org:a/b.git"),
        ("HTTPS://U:P@H/x", "HTTPS://H/x"),
        ("/home/alice/repo.git", None),
        ("../repo.git", None),
        ("./a:b", None),
        ("file:///home/alice/repo", None),
        ("ext::sh -c cat% alice:pw", None),
        ("https://user:pa/ss@git.example.org/a", None),
        ("https://h/a b", None),
        ("https://h/a\nb", None),
        ("", None),
        ("https://" + "h" * 3000, None),
    ],
)
def test_remotes_lose_what_is_private(url: str, cleaned: str | None) -> None:
    """User names, passwords, queries and local paths do not reach the record."""
    assert clean_remote(url) == cleaned


@given(
    st.sampled_from(["https", "ssh", "git+ssh", "http"]),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=8),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=8),
)
def test_no_password_survives_in_a_remote(scheme: str, before: str, after: str) -> None:
    """However the user part looks, the secret in it is gone or the remote is."""
    found = clean_remote(f"{scheme}://{before}canary{after}@git.example.org/a/b.git")
    assert found is None or "canary" not in found


def test_a_rename_counts_as_two_changes() -> None:
    """Where git reports a rename all the same, both names are changed files."""
    hashes = "1" * 40, "2" * 40
    entry = f"2 R. N... 100644 100644 100644 {hashes[0]} {hashes[1]} R100 new name\0old name\0"
    status = parse_status(f"# branch.oid {hashes[0]}\0{entry}? x\0".encode())
    assert [change.path for change in status.changes] == [b"new name", b"old name"]
    assert (status.commit, status.branch, status.untracked) == (hashes[0], None, [b"x"])
