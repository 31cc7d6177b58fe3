"""The origin of a server, in one spelling: what a key is issued for, stored under and sent to."""

from __future__ import annotations

import ipaddress
import re

from worldflux.errors import UsageError

__all__ = ["check_origin", "is_loopback"]

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.S)
_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?")
#: What a resolver may read as a number of an address: `127.1`, `0x7f000001`.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def check_origin(url: str) -> str:
    """The origin of a server's address as `scheme://host` or `scheme://host:port`.

    Lower case, names in their ASCII (IDNA) form, IPv6 in its shortest form and brackets, no default port and
    no dot at the end, so that two spellings of one server give one text.

    Args:
        url: what a person or a file says; `/` at the end is fine, any other path is not.

    Raises:
        UsageError: not an address of a server, or one that a key must not be sent to: with a user name or
            password, with a path, or without https off this machine (127.0.0.0/8, ::1, localhost).
    """
    if re.search(r"wf[xs]_\w{8}", url):
        raise UsageError(
            "a key stands where the server's address belongs",
            "such as --server https://worldflux.example.org; the key is asked for, or read from standard input",
            code="server",
        )
    found = _URL.fullmatch(url.strip())
    if re.search(r"[\x00-\x20\x7f\\]", url.strip()):
        raise _refused(url, "holds a space, a backslash or a control character")
    if found is None:
        raise _refused(url, "is no address of a server", f"write it whole, such as https://{_guess(url)}")
    scheme, authority = found["scheme"].lower(), found["authority"]
    if scheme not in _PORTS:
        raise _refused(url, f"must start with https://, not {scheme}://")
    if "@" in authority:
        raise UsageError(
            "the server's address holds a user name or password",
            "leave out what stands before the @; a key goes to: worldflux auth login --server URL",
        )
    host, port = _split(url, authority, _PORTS[scheme])
    origin = f"{scheme}://{host}{port}"
    if found["rest"] not in ("", "/"):
        raise _refused(url, "holds more than a server", f"leave out what follows: {origin}")
    if scheme == "http" and not is_loopback(origin):
        raise _refused(
            url,
            "has no https, so that a key would travel readable for everyone on the way",
            f"use https://{host}{port}, or a tunnel: ssh -N -L 8765:127.0.0.1:PORT {host}"
            " and --server http://127.0.0.1:8765",
        )
    return origin


def is_loopback(origin: str) -> bool:
    """Whether an origin of `check_origin` is this machine: 127.0.0.0/8, ::1 or localhost."""
    host = origin.partition("://")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return host == "localhost" or host == "::1" or ipaddress.IPv4Address(host) in _LOOPBACK
    except ValueError:
        return False


_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def _split(url: str, authority: str, default: int) -> tuple[str, str]:
    """Host and `:port`; the port is empty when it is the scheme's own."""
    if authority.startswith("["):
        inside, bracket, after = authority[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise _refused(url, "has a bracket that is not closed")
        host, port = _ipv6(url, inside), after[1:]
    else:
        name, _, port = authority.partition(":")
        host = _name(url, name)
    if not port:
        return host, ""
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise _refused(url, "has a port that is not a number from 1 to 65535")
    return host, "" if int(port) == default else f":{int(port)}"


def _ipv6(url: str, text: str) -> str:
    try:
        if "%" in text:
            raise ValueError("a zone means something on one machine only")
        return f"[{ipaddress.IPv6Address(text).compressed}]"
    except ValueError:
        raise _refused(url, "has no valid IPv6 address between the brackets") from None


def _name(url: str, text: str) -> str:
    """A host name in ASCII, or an IPv4 address written as four numbers."""
    host = text.lower()
    if not host.isascii():
        import idna

        try:
            host = idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
        except idna.IDNAError:
            raise _refused(url, "has a host name that does not exist in the DNS") from None
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused(url, "has no valid host name")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _refused(url, "has an address that is not four numbers from 0 to 255") from None
    return host


def _guess(url: str) -> str:
    """A host to show in an example: the one that was meant, when that is plain."""
    host = re.split(r"[/?#]", url.strip().removeprefix("//"))[0]
    return host if re.fullmatch(r"[A-Za-z0-9.\-]+(?::[0-9]+)?", host) else "worldflux.example.org"


def _refused(url: str, problem: str, hint: str = "such as https://worldflux.example.org") -> UsageError:
    shown = "".join(c if c.isprintable() else "?" for c in url.strip().rpartition("@")[2])[:200]
    return UsageError(f"the server's address {shown!r} {problem}", hint, code="server")
