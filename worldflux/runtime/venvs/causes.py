"""What uv's words mean: one line of cause, one next step.

The patterns are taken from what uv 0.13 says in each of these cases; a case that is not known
falls back to uv's own first error and deepest cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from worldflux.errors import AccessError, TemporaryError, WorldFluxError
from worldflux.runtime.venvs.uvtool import UvFailure

INDEX_HINT = (
    "`worldflux doctor` shows what is used; uv.toml is not read: set UV_DEFAULT_INDEX, UV_INDEX, "
    "UV_FIND_LINKS or SSL_CERT_FILE for a mirror (pip's settings are translated)"
)
_NAME = r"(?P<package>[A-Za-z0-9][A-Za-z0-9._+!=-]*)"


@dataclass(frozen=True)
class Cause:
    """A pattern in uv's words, and what to tell the person instead."""

    pattern: str
    code: str
    problem: str
    hint: str
    kind: type[WorldFluxError] = WorldFluxError


#: The first one that is found counts.
CAUSES = (
    Cause(
        r"no space left on device|disk quota exceeded|\(os error 28\)",
        "disk-full",
        "the disk is full",
        "free some space (`worldflux runs gc`), or set WORLDFLUX_HOME to a larger disk",
    ),
    Cause(
        r"hash mismatch for `(?P<package>[^`]+)`",
        "hash-mismatch",
        "{package}: the file is not the one that was locked",
        "do not install it; compare with the publisher, or lock again: `uv pip compile --generate-hashes`",
    ),
    Cause(
        r"the network was disabled|network connectivity is disabled",
        "offline",
        "a package is not in the cache and the network is switched off",
        "connect once to fill the cache, and unset UV_OFFLINE",
        TemporaryError,
    ),
    Cause(
        r"UnknownIssuer|invalid peer certificate|certificate verify failed",
        "certificate",
        "the package index shows a certificate that is not trusted",
        "set SSL_CERT_FILE to your organisation's certificates, or UV_SYSTEM_CERTS=1",
    ),
    Cause(
        r"\b(401 Unauthorized|403 Forbidden)",
        "index-access",
        "the package index refused access",
        "put the login into ~/.netrc, or set UV_INDEX_<NAME>_USERNAME and UV_INDEX_<NAME>_PASSWORD",
        AccessError,
    ),
    Cause(
        r"failed to (download|install)[^`]*`(?P<package>[^`]+)`[^`]*(extract archive|wheel is invalid)",
        "bad-wheel",
        "{package}: the file is not a usable wheel",
        "choose another version, or another index if yours answers with something else (UV_DEFAULT_INDEX)",
    ),
    Cause(
        r"failed to fetch|sending request|response body|timed out|connection (closed|reset)|\b50[0234] [A-Z]",
        "index-unreachable",
        "the package index can not be reached",
        INDEX_HINT,
        TemporaryError,
    ),
    Cause(
        rf"Because (all versions of )?{_NAME} ha(s|ve) no (usable )?wheels",
        "no-wheel",
        "{package}: no wheel for this Python and platform",
        "choose another version or another `env.python`; source distributions are not built",
    ),
    Cause(
        rf"Because {_NAME} was not found in the",
        "not-found",
        "{package} is not in the package index",
        INDEX_HINT,
    ),
    Cause(
        rf"Because there is no version of {_NAME}",
        "not-found",
        "there is no release {package} in the package index",
        INDEX_HINT,
    ),
    Cause(
        r"your requirements are unsatisfiable",
        "unsatisfiable",
        "the requirements can not be met together",
        "loosen or remove one of them; the whole derivation is in `details` of the error (--json)",
    ),
)


def explained(failure: UvFailure, *, doing: str) -> WorldFluxError:
    """uv's failure as one line with a next step; what it said in full is in `details`.

    Args:
        doing: what was being done, put before the cause.
    """
    details = {"uv": failure.text[-4000:], "exit_code": failure.returncode}
    for cause in CAUSES:
        match = re.search(cause.pattern, failure.text, re.IGNORECASE)
        if match:
            words = {name: value or "" for name, value in match.groupdict().items()}
            problem = f"{doing}: {cause.problem.format(**words)}"
            return cause.kind(problem, cause.hint, code=cause.code, details=details)
    if failure.returncode < 0:
        return WorldFluxError(
            f"{doing}: uv was ended by signal {-failure.returncode}",
            "try again; if it happens again, look for a memory limit",
            code="uv-killed",
            details=details,
        )
    return WorldFluxError(
        f"{doing}: {summary(failure.text)}", INDEX_HINT, code="environment", details=details
    )


def summary(text: str) -> str:
    """The first error and the deepest cause of uv's words, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    causes = [line.removeprefix("cause:").strip() for line in lines if line.startswith("cause:")]
    return ": ".join([*(errors or lines or ["no reason given"])[:1], *causes[-1:]])[:400]
