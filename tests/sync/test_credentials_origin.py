"""A server has one spelling, and what a key must not be sent to has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_lab import make_key

from worldflux.errors import UsageError
from worldflux.sync.credentials import check_origin
from worldflux.sync.origin import is_loopback

SAME = [
    ("https://Runs.Example.ORG/", "https://runs.example.org"),
    ("https://runs.example.org:443", "https://runs.example.org"),
    ("  https://runs.example.org  ", "https://runs.example.org"),
    ("HTTPS://runs.example.org.", "https://runs.example.org"),
    ("https://runs.example.org:08443", "https://runs.example.org:8443"),
    ("https://runs.example.org:", "https://runs.example.org"),
    ("https://bücher.example", "https://xn--bcher-kva.example"),
    ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("https://ｅxample.org", "https://example.org"),
    ("https://a。example", "https://a.example"),
    ("https://my_host:8443", "https://my_host:8443"),
    ("https://10.0.0.7:8443/", "https://10.0.0.7:8443"),
    ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
    ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ("http://127.9.9.9", "http://127.9.9.9"),
    ("http://LocalHost:80/", "http://localhost"),
    ("http://[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000"),
]


@pytest.mark.parametrize(("typed", "origin"), SAME, ids=[typed for typed, _ in SAME])
def test_one_server_has_one_spelling(typed: str, origin: str) -> None:
    """However a server is written, its key is stored and found under one text, which stays as it is."""
    assert check_origin(typed) == origin
    assert check_origin(origin) == origin


REFUSED = [
    ("", "no address"),
    ("runs.example.org", "such as https://runs.example.org"),
    ("//runs.example.org", "such as https://runs.example.org"),
    ("runs.example.org:8443", "https://runs.example.org:8443"),
    ("ftp://runs.example.org", "must start with https://"),
    ("file:///etc/passwd", "must start with https://"),
    ("https://", "no valid host name"),
    ("https://:443", "no valid host name"),
    ("https://runs.example.org/api", "leave out what follows: https://runs.example.org"),
    ("https://runs.example.org//", "leave out what follows"),
    ("https://runs.example.org?x=1", "leave out what follows"),
    ("https://runs.example.org#x", "leave out what follows"),
    ("https://me@runs.example.org", "user name or password"),
    ("https://me:hunter2@runs.example.org", "user name or password"),
    ("https://good.example@evil.example", "user name or password"),
    ("https://good.example\\@evil.example", "a backslash"),
    ("https://good.example\\.evil.example", "a backslash"),
    ("https://exa\nmple.org", "control character"),
    ("https://exa mple.org", "a space"),
    ("https://exa\tmple.org", "control character"),
    ("https://example.org\x00", "control character"),
    ("https://a..b", "no valid host name"),
    ("https://-a.example", "no valid host name"),
    ("https://" + "a" * 64 + ".example", "no valid host name"),
    ("https://" + "a." * 130 + "example", "no valid host name"),
    ("https://a%2eexample", "no valid host name"),
    ("https://℀.example", "does not exist in the DNS"),
    ("https://a\u200bb\u202e.example", "does not exist in the DNS"),
    ("https://x:0", "from 1 to 65535"),
    ("https://x:65536", "from 1 to 65535"),
    ("https://x:８０", "from 1 to 65535"),
    ("https://x:+80", "from 1 to 65535"),
    ("https://x:80:90", "from 1 to 65535"),
    ("https://[::1", "not closed"),
    ("https://[::1]x", "not closed"),
    ("https://[fe80::1%eth0]", "no valid IPv6"),
    ("https://[127.0.0.1]", "no valid IPv6"),
    ("https://127.1", "four numbers"),
    ("https://2130706433", "four numbers"),
    ("https://0x7f.0.0.1", "four numbers"),
    ("https://1.2.3.4.5", "four numbers"),
    ("https://127.0.0.01", "four numbers"),
]


@pytest.mark.parametrize(("typed", "told"), REFUSED, ids=[ascii(typed)[:50] for typed, _ in REFUSED])
def test_what_is_no_server_is_refused(typed: str, told: str) -> None:
    """Each wrong address is refused with what is wrong or what to write, on lines without control characters."""
    with pytest.raises(UsageError) as caught:
        check_origin(typed)
    assert told in str(caught.value)
    assert str(caught.value).replace("\n", "").isprintable()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["runs.example.org", "10.0.0.1", "[2001:db8::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "128.0.0.1",
     "localhost.example", "notlocalhost", "localhost.localdomain"],
)  # fmt: skip
def test_without_https_only_this_machine(host: str) -> None:
    """Plain http is refused for every host that is not loopback by its very text, and a tunnel is named."""
    with pytest.raises(UsageError, match="readable for everyone") as caught:
        check_origin(f"http://{host}:8000")
    assert "ssh -N -L" in caught.value.hint
    assert not is_loopback(check_origin(f"https://{host}:8000"))


def test_a_key_in_place_of_the_address_is_not_repeated() -> None:
    """Who pastes the key where the address belongs does not find it in the message."""
    key = make_key()
    for typed in (key, f"https://{key}/x", f"https://host/{key}", f"{key} "):
        with pytest.raises(UsageError) as caught:
            check_origin(typed)
        assert key not in str(caught.value)


@given(st.text(max_size=60).map(lambda text: f"https://{text}"))
def test_any_text_gives_an_origin_or_a_refusal(typed: str) -> None:
    """Nothing else comes out: no other error, and an origin is stable, ASCII and without userinfo or path."""
    try:
        origin = check_origin(typed)
    except UsageError:
        return
    assert check_origin(origin) == origin and origin.isascii()
    assert not set("@/?#\\% ") & set(origin.removeprefix("https://"))
