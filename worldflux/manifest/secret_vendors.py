"""Credentials that are known by their form: a fixed prefix, an alphabet and a length.

Written from the public descriptions of each issuer. A pattern starts with its literal prefix, so that text
without it costs one substring search; patterns are compiled when their prefix is first met. Each runs in
linear time: classes are disjoint from what ends them, and open-ended ones end the match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from worldflux.manifest.secret_names import is_mixed

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Span(NamedTuple):
    """A secret in a text: `text[start:end]` is the value, `rule` says how it was known."""

    start: int
    end: int
    rule: str


#: Rule, literal prefix, pattern of the rest, and a last check of the whole.
Vendor = tuple[str, str, str, Callable[[str], bool] | None]


def worldflux_checksum(head: str) -> str:
    """The last six characters of an API key: CRC-32 of `wfx_` and its 33 characters, in base 62."""
    import binascii

    number, digits = binascii.crc32(head.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits.rjust(6, "0")


def is_worldflux_key(text: str) -> bool:
    """Whether a text is a WorldFlux API key with a right checksum; says nothing about who it belongs to."""
    if len(text) != 43 or not text.startswith("wfx_") or not (text.isascii() and text[4:].isalnum()):
        return False
    return worldflux_checksum(text[:37]) == text[37:]


def _is_jwt(text: str) -> bool:
    import base64
    import json

    head = text.partition(".")[0]
    try:
        decoded = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return False
    return isinstance(decoded, dict) and "alg" in decoded


def _is_documented(text: str) -> bool:
    return not text.endswith("EXAMPLE")


def _is_drawn(text: str) -> bool:
    return not text.islower() and not text[3:].isupper()


_AN = "[A-Za-z0-9]"
_URL = r"[\w\-]"
#: No letter or digit on either side. Behind the prefix, so that the search is for a literal.
_END = r"(?![A-Za-z0-9])"


def _vendor(rule: str, prefix: str, body: str, check: Callable[[str], bool] | None = None) -> Vendor:
    return rule, prefix, body, check


VENDORS: tuple[Vendor, ...] = (
    _vendor("aws-access-key", "AKIA", "[A-Z2-7]{16}" + _END, _is_documented),
    _vendor("aws-access-key", "ASIA", "[A-Z2-7]{16}" + _END, _is_documented),
    *(_vendor("github-token", p, _AN + "{36,}") for p in ("ghp_", "gho_", "ghu_", "ghr_")),
    _vendor("github-token", "ghs_", r"[\w.\-]{36,}"),
    _vendor("github-token", "github_pat_", r"\w{50,}"),
    *(
        _vendor("gitlab-token", p, _URL + "{20,}")
        for p in ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "gloas-")
    ),
    _vendor("huggingface-token", "hf_", _AN + "{30,40}(?![A-Za-z0-9_])", _is_drawn),
    _vendor("huggingface-token", "api_org_", "[A-Za-z]{34}" + _END),
    _vendor("anthropic-key", "sk-ant-", _URL + "{40,}"),
    _vendor("openrouter-key", "sk-or-v1-", "[0-9a-f]{64}" + _END),
    *(_vendor("openai-key", p, _URL + "{40,}") for p in ("sk-proj-", "sk-svcacct-", "sk-admin-")),
    _vendor("secret-key", "sk-", _AN + "{32,}"),
    _vendor("slack-token", "xox", r"[abeoprs]-[A-Za-z0-9\-]{20,}"),
    _vendor("slack-token", "xapp-", r"\d-[A-Z0-9]{6,20}-\d{6,20}-[a-z0-9]{32,}"),
    _vendor("webhook-url", "hooks.slack.com/", r"(?:services|workflows|triggers)/\w+/\w+/\w{20,}"),
    _vendor("webhook-url", "/api/webhooks/", r"\d{15,22}/[\w\-]{50,}"),
    _vendor("google-api-key", "AIza", _URL + r"{35}(?![\w\-])"),
    _vendor("google-oauth", "GOCSPX-", _URL + "{28}"),
    _vendor("google-oauth", "ya29.", _URL + "{30,}"),
    *(_vendor("stripe-key", p, _AN + "{16,}") for p in ("sk_live_", "sk_test_", "rk_live_", "rk_test_")),
    _vendor("stripe-key", "whsec_", "[A-Za-z0-9+/]{32,}=*"),
    _vendor("npm-token", "npm_", _AN + "{36}" + _END),
    _vendor("pypi-token", "pypi-AgE", _URL + "{50,}"),
    _vendor("replicate-token", "r8_", _AN + "{36,38}" + _END),
    _vendor("modal-token", "ak-", _AN + "{22}" + _END, is_mixed),
    _vendor("modal-token", "as-", _AN + "{22}" + _END, is_mixed),
    _vendor("wandb-key", "wandb_v1_", r"\w{40,}"),
    *(_vendor("digitalocean-token", p, "[0-9a-f]{64}" + _END) for p in ("dop_v1_", "doo_v1_", "dor_v1_")),
    _vendor("sendgrid-key", "SG.", r"[\w\-]{22}\.[\w\-]{43}(?![\w\-])"),
    _vendor("twilio-key", "SK", "[0-9a-f]{32}" + _END),
    _vendor("databricks-token", "dapi", r"[0-9a-f]{32}(?:-\d)?" + _END),
    _vendor("worldflux-key", "wfx_", _AN + "{39}" + _END, is_worldflux_key),
    _vendor("jwt", "eyJ", r"(?<![\w\-]eyJ)[\w\-]{8,}\.eyJ[\w\-]{8,}\.[\w\-]{8,}", _is_jwt),
    _vendor("azure-account-key", "AccountKey=", "[A-Za-z0-9+/]{86}=="),
    _vendor("azure-shared-key", "SharedAccessKey=", "[A-Za-z0-9+/]{43}="),
    _vendor("signed-url", "sig=", r"(?<=[?&;]sig=)[A-Za-z0-9%+/=_\-]{30,}"),
    _vendor("signed-url", "X-Amz-Signature=", "[0-9a-f]{64}"),
    _vendor("signed-url", "X-Goog-Signature=", "[0-9a-f]{64,}"),
    _vendor("nvidia-key", "nvapi-", _URL + "{50,}"),
    _vendor("groq-key", "gsk_", _AN + "{48,}"),
    _vendor("xai-key", "xai-", _AN + "{70,}"),
    _vendor("together-key", "tgp_v1_", _URL + "{40,}"),
    _vendor("langsmith-key", "lsv2_", r"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}" + _END),
    _vendor("runpod-key", "rpa_", "[A-Z0-9]{40,}[a-z0-9]{0,8}"),
    _vendor("vault-token", "hvs.", _URL + "{24,}", is_mixed),
    _vendor("docker-token", "dckr_pat_", _URL + "{27}"),
    _vendor("grafana-token", "glsa_", r"\w{32}_[0-9a-f]{8}"),
    _vendor("pulumi-token", "pul-", "[0-9a-f]{40}" + _END),
    _vendor("atlassian-token", "ATATT3", r"[\w\-=]{100,}"),
    _vendor("tailscale-key", "tskey-", r"(?:auth|api|client)-[\w\-]{15,}"),
    _vendor("age-key", "AGE-SECRET-KEY-1", "[0-9A-Z]{58}"),
    _vendor("private-key", "-----BEGIN ",
           r"(?:[A-Z0-9]{2,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\[rn]|\s){0,4}"
           r"(?:(?:[A-Za-z0-9+/=:,. \r\n\\]|-(?!-)){20,20000}?-----END [A-Z0-9 ]{0,60}-----"
           r"|[A-Za-z0-9+/=]{20,})"),
)  # fmt: skip

#: Not the middle of a word, for prefixes that are words themselves.
_BEFORE = "(?<![A-Za-z0-9]{})"


@cache
def _pattern(prefix: str, body: str) -> re.Pattern[str]:
    literal = re.escape(prefix)
    before = "" if prefix[0] in "-/" or "=" in prefix else _BEFORE.format(literal)
    return re.compile(literal + before + body, re.ASCII)


def vendor_spans(text: str) -> Iterator[Span]:
    """Every token of a known form in a text."""
    for rule, prefix, body, check in VENDORS:
        if prefix not in text:
            continue
        for match in _pattern(prefix, body).finditer(text):
            if check is None or check(match.group()):
                keep = len(prefix) if prefix.endswith("=") else 0
                yield Span(match.start() + keep, match.end(), rule)
                if rule == "aws-access-key":
                    yield from _beside(text, match.start(), match.end())
    if "Q~" in text:
        for match in _azure().finditer(text):
            yield Span(match.start() - 4, match.end(), "azure-client-secret")


@cache
def _azure() -> re.Pattern[str]:
    return re.compile(r"Q~(?<=[A-Za-z0-9_~.\-]{3}\dQ~)[A-Za-z0-9_~.\-]{31,34}", re.ASCII)


@cache
def _forty() -> re.Pattern[str]:
    return re.compile(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")


def _beside(text: str, start: int, end: int) -> Iterator[Span]:
    """The secret half of an AWS key: 40 mixed characters within 200 of the public half."""
    low = max(0, start - 200)
    for match in _forty().finditer(text, low, min(len(text), end + 200)):
        if is_mixed(match.group()):
            yield Span(match.start(), match.end(), "aws-secret-key")
