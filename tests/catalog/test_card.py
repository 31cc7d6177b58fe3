"""Front matter of cards, and strangers' text made harmless."""

from __future__ import annotations

import pytest

from worldflux.catalog.card import front_matter, license_of, plain, plain_list


def test_front_matter() -> None:
    """The YAML block at the head of a card is read, with either line end."""
    assert front_matter("---\nlicense: mit\ntags: [a, b]\n---\n# x\n---\n") == {
        "license": "mit",
        "tags": ["a", "b"],
    }
    assert front_matter("---\r\nlicense: mit\r\n---\r\ntext") == {"license": "mit"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# no front matter",
        "---\nlicense: mit\n",
        "---\n- a list\n---\n",
        "---\n: : :\n  bad: [\n---\n",
        "---\na: !!python/object/apply:os.system ['true']\n---\n",
        "---\na: &a [x,x,x]\nb: [*a,*a]\n---\n",
        "---\n" + "a: b\n" * 50_000 + "---\n",
    ],
)
def test_what_is_no_front_matter_reads_as_nothing(text: str) -> None:
    """Missing, broken, executable, self-multiplying or endless front matter is left alone."""
    assert front_matter(text) == {}


def test_strangers_text_is_one_harmless_line() -> None:
    """Escape sequences, line ends and direction marks do not reach a terminal."""
    assert plain("a\x1b[31mred\n\u202eb\u200b  c") == "a [31mred b c"
    assert plain("x" * 300) == "x" * 197 + "..."
    assert plain({"no": "text"}) is None and plain(True) is None and plain("\n") is None
    assert plain(3) == "3"
    assert plain_list(["a", None, "b\n"]) == ["a", "b"] and plain_list("one") == ["one"]


def test_where_a_license_was_read() -> None:
    """The card comes first, then the Hub's tag, then config.json; none is none."""
    assert license_of({"license": "mit"}, ("license:bsd",), "x") == ("mit", "model card")
    assert license_of({"license": ["mit", "apache-2.0"]}) == ("mit, apache-2.0", "model card")
    assert license_of({}, ("a", "license:bsd")) == ("bsd", "Hub tag")
    assert license_of({}, (), "gpl") == ("gpl", "config.json")
    assert license_of({}) == (None, "not stated")
