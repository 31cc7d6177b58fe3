"""The gate: nothing that is known or looks like a secret passes, and nothing it says repeats one."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nightly import times
from prints import cheap

from worldflux.errors import RefusedError
from worldflux.manifest import secrets
from worldflux.manifest.secrets import Gate, SecretRefused, fingerprint

ALNUM = string.ascii_letters + string.digits
#: Drawn anew for each run of the tests; 40 hexadecimal digits look like a commit and like a wandb key.
HEX_KEY = random.Random(7).randbytes(20).hex()


def drawn(prefix: str, count: int, alphabet: str = ALNUM) -> str:
    """A token of a vendor's form, put together here so that no file holds one."""
    return prefix + "A1b" + "".join(random.Random(count).choices(alphabet, k=count - 3))


def document(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ({"runtime": {"metadata": {"note": HEX_KEY}}}, "/runtime/metadata/note"),
        ({"run": {"tags": ["a", f"x{HEX_KEY}y"]}}, "/run/tags/1"),
        ({"a": [{"b": [[{"c": HEX_KEY}]]}]}, "/a/0/b/0/0/c"),
        ({"artifacts": [{"path": f"ckpt-{HEX_KEY}.pt"}]}, "/artifacts/0/path"),
        ({"git": {"remote": f"https://bob:{HEX_KEY}@example.org/a.git"}}, "/git/remote"),
        ({"run": {"argv": ["train.py", "--x", HEX_KEY]}}, "/run/argv/2"),
        ({"run": {"error": {"message": f"ValueError: bad {HEX_KEY}!"}}}, "/run/error/message"),
        ({"a/b": {"c~d": HEX_KEY}}, "/a~1b/c~0d"),
        (HEX_KEY, ""),
    ],
)
def test_a_known_value_is_found_where_it_stands(place: Any, path: str) -> None:
    """A value that looks like a commit id is found anywhere, by JSON pointer, because it is known."""
    findings = Gate({"WANDB_API_KEY": HEX_KEY}).check(document(place))
    assert [(f.path, f.rule) for f in findings] == [(path, "value of WANDB_API_KEY")]
    assert Gate().check(document({"commit": HEX_KEY})) == []


def test_a_secret_in_a_key_is_found_and_the_path_hides_it() -> None:
    """Object keys are searched too, and the pointer shows *** instead of the key."""
    findings = Gate({"T": HEX_KEY}).check(document({"env": {f"k{HEX_KEY}": {"x": HEX_KEY}}}))
    assert [f.path for f in findings] == ["/env/***", "/env/***/x"]


def test_a_vendor_token_as_a_key_is_hidden_too() -> None:
    """A pointer through a key that only looks like a token does not show it either."""
    token = drawn("ghp_", 36)
    assert [f.path for f in Gate().check(document({token: {"password": "hunter2!x"}}))] == [
        "/***",
        "/***/password",
    ]


def test_a_number_is_found() -> None:
    """A value of digits is found when a program wrote it as a number, also without its leading zeros."""
    assert Gate({"PIN": "48151623421"}).check(b'{"metrics":{"n":48151623421}}')
    assert Gate({"PIN": "0048151623"}).check(b'{"n":48151623}')
    assert Gate({"PIN": "-48151623.50"}).check(b'{"n":-48151623.5}')
    assert Gate().check(b'{"db":{"password":48151623}}')[0].path == "/db/password"


@pytest.mark.parametrize(
    "value", [*["--12345678", "+-1234567", "-.-.-.-.-", "1.2.3.4.5", "²²²²²²²²", "infinity"], "9" * 500]
)
def test_what_is_almost_a_number_is_text(value: str) -> None:
    """A value that only begins like a number is found as it is, and does not stop the search."""
    assert Gate({"PIN": value}).check(document({"n": value}))


def based(encode: Callable[[bytes], bytes], shift: int, value: str) -> str:
    return encode(b"xyz"[:shift] + value.encode() + b"::end"[: 5 - shift]).decode()


WAYS: dict[str, Callable[[str], str]] = {
    "raw": lambda v: v,
    "quoted": lambda v: quote(v, safe=""),
    "quoted path": lambda v: quote(v),
    "quoted form": quote_plus,
    "quoted small": lambda v: re.sub("%..", lambda m: m[0].lower(), quote(v, safe="")),
    "json": lambda v: json.dumps(v),
    "json utf-8": lambda v: json.dumps(v, ensure_ascii=False),
    "repr": lambda v: repr({"k": v}),
    "bytes repr": lambda v: repr(v.encode()),
    "hex": lambda v: v.encode().hex(),
    "HEX": lambda v: v.encode().hex().upper(),
    **{f"base64 +{n}": lambda v, n=n: based(base64.b64encode, n, v) for n in range(4)},
    **{f"urlsafe +{n}": lambda v, n=n: based(base64.urlsafe_b64encode, n, v).rstrip("=") for n in range(3)},
}  # fmt: skip
SECRET = st.text(st.characters(codec="utf-8"), min_size=8, max_size=60).filter(lambda v: len(v.strip()) >= 8)
AROUND = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=times(40, 150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    value=SECRET,
    way=st.sampled_from(sorted(WAYS)),
    before=AROUND,
    after=AROUND,
    place=st.sampled_from(["leaf", "key", "list", "deep", "root", "second"]),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2]),
)
def test_any_secret_in_any_form_and_position_is_found(
    value: str, way: str, before: str, after: str, place: str, ascii_only: bool, indent: int | None
) -> None:
    """Whatever eight characters a secret has, it is found in any JSON position in each known form."""
    text = before + WAYS[way](value.strip()) + after
    if way.startswith(("base64", "urlsafe", "hex", "HEX")):
        text = f"{before} {WAYS[way](value.strip())} {after}"
    planted: Any = {
        "leaf": {"a": {"b": text}},
        "key": {"a": {text: 1}},
        "list": {"a": [1, "x", text]},
        "deep": [[[{"a": [{"b": [text]}]}]]],
        "root": text,
        "second": {"a": "x\\y\n", "b": [text], "c": {}},
    }[place]
    data = json.dumps(planted, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    with cheap():
        assert any(f.rule == "value of S" for f in Gate({"S": value}).check(data))


@pytest.mark.parametrize("way", sorted(WAYS))
def test_each_form_is_found(way: str) -> None:
    """A value with a quote, a slash, a blank and an umlaut is found in each form, inside a longer text."""
    value = "pä/ss 'w\"" + HEX_KEY[:9]
    for text in (WAYS[way](value), f"a {WAYS[way](value)} z"):
        assert [f.path for f in Gate({"S": value}).check(document({"x": [text]}))] == ["/x/0"]


def test_every_escape_of_json_is_seen_through() -> None:
    """A writer that escapes more than it must (\\u0041, \\/) hides nothing."""
    value = "Ab/cd+ef" + HEX_KEY[:8]
    escaped = "".join(f"\\u{ord(c):04X}" for c in value)
    assert Gate({"S": value}).check(f'{{"a":"{escaped}"}}'.encode())
    assert Gate({"S": value}).check(('{"a":"' + value.replace("/", "\\/") + '"}').encode())


def test_a_duplicate_key_does_not_hide_its_first_value() -> None:
    """Readers keep the last of two equal keys; the gate looks at both."""
    token = drawn("", 24)
    assert Gate().check(f'{{"api_key":"{token}","api_key":null}}'.encode())


def test_a_value_across_two_strings_is_told_by_its_bytes() -> None:
    """A known value with JSON punctuation in it is found in the bytes even if no string holds it."""
    findings = Gate({"S": 'abcd","efgh'}).check(b'["abcd","efgh"]')
    assert [(f.path, f.rule) for f in findings] == [("bytes 2-13", "value of S")]


@pytest.mark.parametrize(
    "data", [b"\xff\xfe{", b"[" * 100_000, b"", b"\x00" * 50, b'{"a":' + b"1" * 5000 + b"}"]
)
def test_malformed_documents_are_searched_as_text(data: bytes) -> None:
    """Bytes that are no JSON, or nested past reading, neither raise nor pass unread."""
    gate = Gate({"S": HEX_KEY})
    assert gate.check(data) == []
    findings = gate.check(data + b" " + HEX_KEY.encode())
    start = len(data) + 1
    assert [f.path for f in findings] == [f"bytes {start}-{start + 40}"]


def test_short_values_are_not_searched_for() -> None:
    """Seven characters occur by chance; such a value is left to the rules on names."""
    assert Gate({"S": "abcdefg"}).check(b'{"a":"abcdefg"}') == []
    assert Gate({"S": "abcdefgh"}).check(b'{"a":"abcdefgh"}')


def test_each_line_of_a_private_key_is_known() -> None:
    """A key file is found by any of its lines, also without header."""
    lines = ["".join(random.Random(n).choices(ALNUM, k=64)) for n in range(3)]
    pem = "\n".join(["-----BEGIN " + "PRIVATE KEY-----", *lines, "-----END " + "PRIVATE KEY-----"])
    assert Gate({"KEY": pem}).check(document({"x": ["a", lines[1]]}))[0].rule == "value of KEY"


def refusal(gate: Gate, data: bytes, what: str = "manifest.json") -> SecretRefused:
    with pytest.raises(SecretRefused) as caught:
        gate.refuse(data, what)
    return caught.value


def test_a_refusal_says_where_and_how_to_go_on() -> None:
    """The message names document, place and rule; the hint gives the line that allows the value."""
    error = refusal(Gate({"HF_TOKEN": HEX_KEY}), document({"note": HEX_KEY}))
    assert isinstance(error, RefusedError) and error.code == "secret" and error.exit_code == 4
    assert error.problem == "manifest.json would carry a secret\n  at /note: value of HF_TOKEN"
    assert f"allow_secrets: [{fingerprint(HEX_KEY)}]" in error.hint
    assert error.details == {
        "findings": [{"path": "/note", "rule": "value of HF_TOKEN", "fingerprint": fingerprint(HEX_KEY)}]
    }


@pytest.mark.parametrize("known", [True, False])
def test_nothing_that_is_said_repeats_a_secret(known: bool) -> None:
    """Neither message, hint, details, repr nor traceback hold a piece of the value, whatever was hit."""
    token = drawn("ghp_", 36)
    gate = Gate({"GITHUB_TOKEN": token, "P": "correct horse"} if known else {})
    places = [
        {"password": token},
        {token: {token: [token]}},
        {"argv": ["--token", token], "u": f"https://a:{token}@h/{token}"},
        {
            "x": base64.b64encode(b"a" + token.encode()).decode(),
            "y": f"Bearer {token}",
            "z": "say correct horse",
        },
    ]
    for place in places:
        try:
            gate.refuse(document(place), f"runs/{token}/manifest.json")
        except SecretRefused as error:
            said = "\n".join(
                [
                    str(error),
                    repr(error),
                    error.hint,
                    json.dumps(error.details),
                    traceback.format_exc(),
                    repr(gate),
                ]
                + [repr(finding) for finding in gate.check(document(place))]
            )
        else:
            pytest.fail("not refused")
        for start in range(0, len(token) - 8, 4):
            assert token[start : start + 8] not in said
        assert "correct" not in said and base64.b64encode(token.encode()).decode()[:8] not in said


def test_a_fingerprint_does_not_help_to_guess() -> None:
    """It is no plain hash, costs milliseconds a guess, and is safe in YAML and in a manifest."""
    import hashlib

    began = time.process_time()
    found = fingerprint("hunter2hunter2")
    assert time.process_time() - began > 0.005
    for plain in (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.blake2b):
        assert found.removeprefix("wfs1-") not in plain(b"hunter2hunter2").hexdigest()
    assert len(found) == 21 and found != fingerprint("hunter2hunter3")
    assert Gate().check(document({"allow_secrets": [found]})) == []


def test_an_allowed_value_passes_everywhere_and_only_it() -> None:
    """An allowed fingerprint lets that value pass at any place and in any form, and no other value."""
    gate = Gate({"A": HEX_KEY, "B": HEX_KEY[::-1]}, allow=[fingerprint(HEX_KEY)])
    assert gate.check(document({"note": HEX_KEY, "n": [base64.b64encode(HEX_KEY.encode()).decode()]})) == []
    assert [f.rule for f in gate.check(document({"note": HEX_KEY[::-1]}))] == ["value of B"]
    token = drawn("ghp_", 36)
    assert Gate(allow=[fingerprint(token)]).check(document({"a": token, "password": token})) == []
    assert Gate(allow=[fingerprint(token)]).check(document({"a": drawn("ghp_", 37)}))
    assert Gate(allow=["/a", "github-token", token, "*"]).check(document({"a": token}))


def test_the_environment_gives_names_and_the_gate_takes_values() -> None:
    """Secret-named variables, passwords in URLs, members of key files, and extra values are known."""
    env = {
        "HF_TOKEN": drawn("", 20),
        "HTTPS_PROXY": "http://bob:p%40ss" + HEX_KEY[:6] + "@proxy:3128",
        "GCP_CREDENTIALS": json.dumps(
            {"type": "service_account", "client_email": "a@b", "private_key": HEX_KEY}
        ),
        "PATH": "/usr/bin:/bin/some/where",
        "PROJECT_NOTE": "the usual settings",
        "TOKENIZERS_PARALLELISM": "disabled",
        "DB_PASSWORD": "changeme",
        "MY_TOKEN_PATH": "/home/bob/token",
        "AUTH_TOKEN": "/run/secrets/auth",
    }
    gate = Gate.from_environment(env, extra={"api key": "secret stored key", "HF_TOKEN": "another one"})
    rule = {value: gate.check(document({"v": value}))[0].rule for value in (
        env["HF_TOKEN"], "p@ss" + HEX_KEY[:6], HEX_KEY, "secret stored key", "another one")}  # fmt: skip
    assert list(rule.values()) == [
        "value of HF_TOKEN",
        "value of HTTPS_PROXY (password)",
        "value of GCP_CREDENTIALS /private_key",
        "value of api key",
        "value of HF_TOKEN (stored)",
    ]
    harmless = [env[name] for name in list(env)[3:]]
    assert gate.check(document({"v": harmless, "names": sorted(env)})) == []


def test_a_text_that_was_harmless_is_judged_by_its_place_and_by_what_is_known() -> None:
    """That a text was found clean once does not help it under another name, or when its value is a known one."""
    assert Gate().check(document({"note": HEX_KEY, "argv": ["run", HEX_KEY]})) == []
    assert Gate().check(document({"password": HEX_KEY})) and Gate({"A": HEX_KEY}).check(
        document({"note": HEX_KEY})
    )
    assert Gate().check(document({"argv": ["run", "--token", HEX_KEY]}))


def test_a_secret_is_refused_as_often_as_it_comes() -> None:
    """Only texts of documents without any secret are remembered, and not without end."""
    token = drawn("ghp_", 36)
    for _ in range(3):
        assert [f.path for f in Gate().check(document({"note": "fine", "a": [token]}))] == ["/a/0"]
    for number in range(100):
        assert (
            Gate().check(document([f"word {number} {n} " + "y " * (n % 2 * 500) for n in range(200)])) == []
        )
    assert len(secrets._clean) <= 2 * secrets.MOST_CLEAN
    assert max(map(len, secrets._clean)) <= secrets.LONGEST_CLEAN


def test_findings_are_capped() -> None:
    """A document full of secrets is refused after twenty: each more would cost a slow fingerprint."""
    began = time.monotonic()
    assert len(Gate().check(document([drawn("ghp_", 36 + n) for n in range(500)]))) == 20
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("way", sorted(WAYS))
def test_mask_hides_known_values_in_every_form(way: str) -> None:
    """What `mask` returns holds no trace of a known value, in any form, and keeps the rest."""
    value = "pä ss'\"" + HEX_KEY[:12]
    masked = Gate({"S": value}).mask(f"before {WAYS[way](value)} after")
    assert HEX_KEY[:8] not in masked and "***" in masked
    assert masked.startswith("before ") and masked.endswith(" after")
    assert not Gate({"S": value}).check(document({"m": masked}))


def test_mask_keeps_what_is_allowed_and_what_is_harmless() -> None:
    """Text without a secret comes back unchanged, also with what is no Unicode; allowed values stay."""
    text = "épisode 3 \udcff done in 12.5 s, commit " + HEX_KEY
    assert Gate().mask(text) == text
    assert Gate({"S": HEX_KEY}).mask(text) == text.replace(HEX_KEY, "***")
    assert Gate({"S": HEX_KEY}, allow=[fingerprint(HEX_KEY)]).mask(text) == text


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


@given(ANY_TEXT, ANY_TEXT)
@example("\udcff\ud800", "\udc00")
def test_mask_never_raises(before: str, after: str) -> None:
    """Any text at all can be masked, lone surrogates included."""
    assert HEX_KEY not in Gate({"S": HEX_KEY}).mask(before + HEX_KEY + after)


@given(st.binary(max_size=300))
def test_check_never_raises(data: bytes) -> None:
    """Any bytes at all can be checked."""
    Gate({"S": HEX_KEY}).check(data)


def test_the_module_is_light_to_import() -> None:
    """It is imported by each command: no pattern is compiled and no codec, hash or URL module is loaded."""
    code = """
import sys, worldflux.errors
before = set(sys.modules)
from worldflux.manifest import secrets, secret_names, secret_rules, secret_vendors
heavy = {"json", "base64", "binascii", "hashlib", "urllib.parse", "subprocess"} & (set(sys.modules) - before)
modules = secret_names, secret_rules, secret_vendors
caches = [f for module in modules for f in vars(module).values() if hasattr(f, "cache_info")]
print(sorted(heavy), sum(f.cache_info().currsize for f in caches), len(caches) > 8)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "0", "True"]
