"""What a lock may say, line by line, and that what is passed on says the same."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.errors import ConfigError
from worldflux.runtime.venvs.lockfile import MAX_BYTES, digest, normalised, parse

A, B = "a" * 64, "b" * 64
GOOD = f"""\
# made by hand
alpha==1.0 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
    # via beta
beta[x,Y_z]==2.0+cpu ; python_version < '3.12' and sys_platform == "linux" --hash=sha256:{A}  # why

Gamma.One == 3.0rc1 --hash sha256:{A.upper()}
"""

#: What is said of a refused line -> such lines.
REFUSED = {
    "--index-url": ["--index-url https://x/"],
    "-i": ["-i https://x/", "-ihttps://x/"],
    "--extra-index-url": ["--extra-index-url=https://x/"],
    "--find-links": ["--find-links ./w"],
    "-f": ["-f w"],
    "-e": ["-e ."],
    "--editable": ["--editable=."],
    "-r": ["-r other.txt"],
    "-c": ["-cother.txt"],
    "--pre": ["--pre"],
    "--no-binary": ["--no-binary :all:"],
    "--trusted-host": ["--trusted-host x"],
    "-": ["-"],
    "URL": [
        "x @ https://h/x.whl",
        "https://h/x-1-py3-none-any.whl",
        "x@https://h/x.whl",
        "git+https://h/x",
        "hg+ssh://h/x",
        "file:///x",
        "file:x",
        "./x",
        "../x",
        "/x",
        "~/x",
        "x.whl",
        "d/x.zip",
        "x.tar.gz",
        "C:\\x\\y.whl",
    ],
    "not a requirement": [".", "x[a==1", "x==1 y==2"],
    "variables": ["${PKG}==1", "x==$V"],
    "--config-settings": ["x==1 --config-settings=a=b"],
    "--global-option": ["x==1 --global-option y"],
    "md5": ["x==1 --hash=md5:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
    "sha1": ["x==1 --hash=sha1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
    "sha256": ["x==1 --hash=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
    "--hash": ["x==1 --hash=sha256:zz"],
    "marker": ["x==1 ; nonsense"],
    "plain text": [
        "ünïcode==1",
        "x==1\x0b--index-url y",
        "x==1\r--index-url y",
        "x==1\x00",
        "x==1\u2028--index-url y",
    ],
}


def faults(text: str, *, pinned: bool = True) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(text, pinned=pinned)
    return [(fault.where, fault.problem) for fault in caught.value.faults]


def test_a_lock_is_read() -> None:
    """Comments, continuations, extras, markers and both spellings of --hash are understood."""
    lock = parse(GOOD)
    assert [(item.line, item.name, item.pin) for item in lock.requirements] == [
        (2, "alpha", "1.0"), (6, "beta", "2.0+cpu"), (8, "Gamma.One", "3.0rc1"),
    ]  # fmt: skip
    alpha, beta, gamma = lock.requirements
    assert alpha.hashes == (f"sha256:{A}", f"sha256:{B}") and gamma.hashes == (f"sha256:{A}",)
    assert beta.extras == ("x", "y-z") and beta.marker.endswith('== "linux"') and gamma.key == "gamma-one"
    assert lock.complete


def test_what_is_passed_on_says_the_same() -> None:
    """The plain form is read back as the same requirements."""
    lock = parse(GOOD)
    plain = parse(lock.render())
    keep = [(i.name, i.extras, i.versions, i.marker, i.hashes) for i in lock.requirements]
    assert [(i.name, i.extras, i.versions, i.marker, i.hashes) for i in plain.requirements] == keep
    assert "\\" not in lock.render() and "#" not in lock.render()


@pytest.mark.parametrize(
    ("line", "word"), [(line, word) for word, lines in REFUSED.items() for line in lines]
)
@pytest.mark.parametrize("pinned", [True, False])
def test_refused_lines_are_named_by_number(line: str, word: str, pinned: bool) -> None:
    """ENV-10: each is refused where it stands, also between good lines and when versions are open."""
    (fault,) = faults(f"alpha==1.0 --hash=sha256:{A}\n{line}\nbeta==1 --hash=sha256:{A}\n", pinned=pinned)[:1]
    assert fault[0] == "requirements:2" and word in fault[1]


def test_no_password_is_repeated() -> None:
    """What is said about a refused line does not hold the address, which may hold a password."""
    for line in ("--index-url https://me:pass@h/", "-ihttps://me:pass@h/", "x @ https://me:pass@h/x.whl",
                 "x==1 --index-url=https://me:pass@h", "https://me:pass@h/x"):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            parse(line)
        assert "pass" not in str(caught.value)


def test_every_fault_is_told_at_once() -> None:
    """All refused lines come in one error, in order."""
    told = faults(f"alpha\n-e .\nbeta==1\ngamma==1 --hash=sha256:{A}\n")
    assert [where for where, _ in told] == ["requirements:1", "requirements:2", "requirements:3"]


@pytest.mark.parametrize(
    "line", ["x", "x>=1,<2", "x~=1.2", "x==1.*", "x===1", "x (>=1)", "x[extra]", "x;python_version>'3'"]
)
def test_open_versions_need_permission(line: str) -> None:
    """A list without hashes is refused as a lock and accepted as a list to be resolved."""
    assert "not pinned" in faults(f"{line}\n")[0][1]
    lock = parse(f"{line}\n", pinned=False)
    assert not lock.complete and parse(lock.render(), pinned=False).render() == lock.render()


def test_comment_tricks_hide_nothing() -> None:
    """A backslash in a comment joins no lines, and a hash sign inside a word starts no comment."""
    assert faults("# comment \\\n--pre\n")[0][0] == "requirements:2"
    assert faults(f"x==1 --hash=sha256:{A} # c \\\n--pre\n")[0][0] == "requirements:2"
    assert "not allowed" in faults(f"x==1 \\\n--pre --hash=sha256:{A}\n")[0][1]
    assert faults(f"x==1 --hash=sha256:{A}#y\n")


def test_digests_ignore_line_ends_and_byte_order_mark() -> None:
    """The same lock from Windows has the same digest; another lock has another."""
    assert digest(GOOD) == digest("\ufeff" + GOOD.replace("\n", "\r\n")) != digest(GOOD + "\n")
    assert parse("\ufeff" + GOOD.replace("\n", "\r\n")).render() == parse(GOOD).render()
    assert normalised("A__b.-C") == "a-b-c"


def test_a_huge_text_is_refused_and_odd_ones_are_read_fast() -> None:
    """Size is limited, and no pattern takes more than linear time."""
    assert "larger" in faults("#" * (MAX_BYTES + 1))[0][1]
    began = time.process_time()
    many = 100_000
    spaces = (" " * many, "x==1" + " " * many + "!", "\\\n" * many)
    words = (
        "x" * many,
        "x[" + "a," * many,
        "x==" * many,
        "x==1 ;" + " (" * many,
        "x==1 " + "--hash=a:a " * many,
    )
    for text in (*spaces, *words):
        try:
            parse(text, pinned=False)
        except ConfigError:
            continue
    assert time.process_time() - began < 5


@settings(max_examples=times(100, 300), deadline=None)
@given(st.text(alphabet="ab1.=<>~!;#\\ \t\r\n-'\"[]()@/:+$", max_size=60))
def test_nothing_slips_through_the_plain_form(text: str) -> None:
    """Whatever the text, what is passed on is names, versions, markers and hashes."""
    try:
        plain = parse(text, pinned=False).render()
    except ConfigError:
        return
    for line in plain.splitlines():
        assert re.match(r"[A-Za-z0-9]", line)
        assert not re.search(r"\s-(?!-hash=)|://|@|\\|\$", line)
    assert parse(plain, pinned=False).render() == plain
