"""Masking by looks: command lines, URLs and messages."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worldflux.manifest.masking import cover, mask_argv, mask_text, mask_url

VALUE = "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=24)) + "7Kq"


@pytest.mark.parametrize(
    ("argv", "masked"),
    [
        ("train.py --api-key V --lr 0.1", "train.py --api-key *** --lr 0.1"),
        ("train.py --api-key=V", "train.py --api-key=***"),
        ("x --token V", "x --token ***"),
        ("x --hf_token V", "x --hf_token ***"),
        ("x --password letmein", "x --password ***"),
        ("x -token V", "x -token ***"),
        ("hub.token=V seed=3", "hub.token=*** seed=3"),
        ("++hub.api_key=V", "++hub.api_key=***"),
        ("+a=1 ~hub.password=letmein", "+a=1 ~hub.password=***"),
        ("env HF_TOKEN=V python x.py", "env HF_TOKEN=*** python x.py"),
        ("git clone https://bob:V@example.org/a.git", "git clone https://***@example.org/a.git"),
        ("curl -u bob:V http://h", "curl -u bob:*** http://h"),
        ("x --url=https://example.org/?token=V&a=1", "x --url=https://example.org/?token=***&a=1"),
        ("x --token --verbose 3", "x --token --verbose 3"),
    ],
)
def test_secrets_in_a_command_line(argv: str, masked: str) -> None:
    """Values of secret-named options, overrides, variables and URLs become ***; everything else stays."""
    assert mask_argv(argv.replace("V", VALUE).split()) == masked.split()


def test_a_header_in_one_argument() -> None:
    """An argument with blanks, as a shell passes it, is masked inside."""
    assert mask_argv(["curl", "-H", f"Authorization: Bearer {VALUE}"]) == [
        "curl",
        "-H",
        "Authorization: Bearer ***",
    ]


@pytest.mark.parametrize(
    "argv",
    [
        "worldflux run +recipe=tiny-jepa-eval seed=3 params.max_tokens=512 runtime=local",
        "worldflux-run -m +recipe=a,b seed=range(5) data.tokenizer=bert-base-uncased",
        "worldflux auth login --with-token",
        "x --max-tokens 512 --tokenizer gpt2 --token-count 12345678901 --key a --keys b,c",
        "x --token $HF_TOKEN --api-key ${oc.env:KEY} --password-file pw.txt --token-file /run/secrets/hf",
        "git clone ssh://git@example.org/a.git git@example.org:a.git https://example.org/a@b",
        "x -u 1000:1000 --commit 4f1c0a7be2b0a4c1c3ccf6d1d2b9a7b2f1f0e9d8",
    ],
)
def test_harmless_command_lines_stay(argv: str) -> None:
    """Counts, tokenizers, switches, references and digests are not touched."""
    assert mask_argv(argv.split()) == argv.split()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://bob:V@example.org/a/b.git", "https://***@example.org/a/b.git"),
        ("https://V@example.org/a.git", "https://***@example.org/a.git"),
        ("https://oauth2:V@example.org:8443/a.git?x=1", "https://***@example.org:8443/a.git?x=1"),
        ("https://bob:p@ss:V@example.org/a.git", "https://***@example.org/a.git"),
        ("https://example.org/d?access_token=V", "https://example.org/d?access_token=***"),
        ("https://x.blob.example.org/a?sv=1&sig=V7Kq7Kq", "https://x.blob.example.org/a?sv=1&sig=***"),
        ("ssh://git@example.org/a.git", "ssh://git@example.org/a.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("https://bob@example.org/a.git", "https://bob@example.org/a.git"),
        ("file:///home/bob/a.git", "file:///home/bob/a.git"),
        ("", ""),
    ],
)
def test_urls_and_git_remotes(url: str, masked: str) -> None:
    """User, password, token and signature go; a plain user name and harmless queries stay."""
    assert mask_url(url.replace("V", VALUE)) == masked


def test_text() -> None:
    """Each secret of a longer text is masked, also twice the same."""
    text = f"failed: https://a:{VALUE}@h/x (Authorization: Bearer {VALUE}), password={VALUE}; retry"
    assert mask_text(text) == "failed: https://a:***@h/x (Authorization: Bearer ***), password=***; retry"


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6))
@example("a longer text", [(0, 10), (2, 4)])
def test_cover_hides_every_covered_character(text: str, spans: list[tuple[int, int]]) -> None:
    """Whatever overlaps, each character outside all spans stays, in order, and no other."""
    spans = [(a, b) for a, b in spans if a < b <= len(text)]
    marks = cover("".join("s" if any(a <= i < b for a, b in spans) else "k" for i in range(len(text))), spans)
    assert "s" not in marks and marks.count("k") == sum(
        not any(a <= i < b for a, b in spans) for i in range(len(text))
    )


@given(st.lists(st.text(max_size=30), max_size=8))
def test_masking_again_changes_nothing(argv: list[str]) -> None:
    """Masked arguments are as many as before and are stable under masking."""
    once = mask_argv(argv)
    assert len(once) == len(argv) and mask_argv(once) == once
