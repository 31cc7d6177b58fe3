"""YAML is read strictly: every trap is a fault with its place, and nothing hostile costs much."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.config.yaml_file import MAX_BYTES, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e-3", 0.001),
        ("a: 1_000", "1_000"),
        ("a: true", True),
        ("a: 0x1f", 31),
        ("a: 0o17", 15),
        ("a: 1.10", 1.1),
        ("a: ~", None),
        ("a:", None),
        ("a: 2024-01-01", "2024-01-01"),
        ("a: 'no'", "no"),
        ('a: "12:30:00"', "12:30:00"),
        ("a: .inf", float("inf")),
        ("a: x:y", "x:y"),
        ("a: '${oc.env:HOME}'", "${oc.env:HOME}"),
        ("a: '\\${HOME}'", "\\${HOME}"),
    ],
)
def test_values(text: str, value: object) -> None:
    """Plain values follow YAML 1.2; quoted ones are texts."""
    assert parse_yaml(text, "f") == ({"a": value}, [])


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("a: no", "f:a", "boolean"),
        ("a: Yes", "f:a", "boolean"),
        ("on: 1", "f:on", "not read as a text"),
        ("1: x", "f:1", "not read as a text"),
        ("a: 010", "f:a", "octal"),
        ("a: 190:20:30", "f:a", "base 60"),
        ("a: {b: ${HOME}}", "f:1", "not valid YAML"),
        ("a: {b: '${HOME}'}", "f:a.b", "shell variable"),
        ("a: [x, {b: 1, b: 2}]", "f:a.1.b", "stands twice, first in line 1"),
        ("a: 99999999999999999999", "f:a", "64 bits"),
        ("a: !!python/object/apply:os.system [id]", "f:a", ""),
        ("a: !tag x", "f:a", "tag"),
        ("a: &x 1\nb: *x", "f:1", "anchor `&x`"),
        ("<<: {a: 1}", "", ""),
        ("a: 1\n---\nb: 2", "f:2", "second document"),
        ("a:\n\tb: 1", "f:2", "not valid YAML"),
        ("a: [1, 2", "f:", "not valid YAML"),
        ("a: \0", "f", "NUL"),
        ("a: '\\0'\nb: \"\\0\"", "", ""),
    ],
)
def test_traps(text: str, where: str, problem: str) -> None:
    """Each trap is one fault that says where and what."""
    _, faults = parse_yaml(text, "f")
    if where:
        assert any(fault.where.startswith(where) and problem in fault.problem for fault in faults), faults


def test_all_faults_of_a_file_at_once() -> None:
    """A file with four traps has four faults."""
    _, faults = parse_yaml("a: no\nb: 010\nc: 1:30\nd: '${X}'\n", "f")
    assert [fault.where for fault in faults] == ["f:a", "f:b", "f:c", "f:d"]


def test_hostile_files_are_cheap() -> None:
    """Deep nesting and a billion laughs end at once, without a crash."""
    laughs = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(30))
    begun = time.perf_counter()
    for text in ("[" * 100_000, "{a: " * 50_000, laughs, "- " * 200_000):
        assert parse_yaml(text, "f")[1]
    assert time.perf_counter() - begun < 5


def test_files_that_are_not_text(tmp_path: Path) -> None:
    """Too large, not UTF-8, a folder, missing: each is one fault; a byte order mark is no fault."""
    for name, data in {
        "large": b"#" * (MAX_BYTES + 1),
        "latin": b"a: \xe9",
        "utf16": "a: 1".encode("utf-16"),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert len(read_yaml(tmp_path / name, name)[1]) == 1
    assert len(read_yaml(tmp_path, "folder")[1]) == 1
    assert len(read_yaml(tmp_path / "none", "none")[1]) == 1
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_yaml(tmp_path / "bom", "bom") == ({"a": 1}, [])


#: Line breaks of YAML 1.1 that PyYAML itself does not read back, and controls, are left out.
_texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029\ufeff"), max_size=12
)
#: PyYAML leaves these plain, and Hydra as YAML 1.2 takes them for numbers: `1e3`, `.5e3`.
_powers = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
_texts = _texts.filter(lambda text: not _powers.fullmatch(text))
_leaves = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | _texts
_trees = st.dictionaries(
    _texts,
    st.recursive(
        _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3)
    ),
    max_size=4,
)


@settings(max_examples=times(50, 150), deadline=None)
@given(_trees)
def test_what_a_yaml_library_writes_is_read_back(tree: dict[str, object]) -> None:
    """Documents that PyYAML writes come back equal, or are refused with a fault; never silently other."""
    value, faults = parse_yaml(yaml.safe_dump(tree, allow_unicode=True), "f")
    assert faults or value == (tree or {})


@settings(max_examples=times(60, 200), deadline=None)
@given(st.text(max_size=60))
def test_no_text_crashes_the_reader(text: str) -> None:
    """Any text gives a value or faults."""
    parse_yaml(text, "f")
