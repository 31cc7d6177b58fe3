"""Names that a manifest can hold; the same forms as in the schema, and a test holds them together."""

from __future__ import annotations

import re

METRIC_NAME = r"[A-Za-z0-9_][A-Za-z0-9_./:@+-]{0,199}"
PROJECT_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

_NOT_IN_METRIC = re.compile(r"[^A-Za-z0-9_./:@+-]")
_NOT_IN_PROJECT = re.compile(r"[^A-Za-z0-9._-]")
_NOT_IN_PATH = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069%\\\ud800-\udfff]")
MAX_PATH = 1024


def metric_name(text: str) -> str:
    """The name under which a metric is recorded: other characters become `_`; empty when none is left."""
    return _NOT_IN_METRIC.sub("_", text.strip()).lstrip("./:@+-")[:200]


def project_name(text: str) -> str:
    """A project's name made from a folder's name."""
    return _NOT_IN_PROJECT.sub("-", text).strip("-._")[:64] or "project"


def is_recordable_path(path: str) -> bool:
    """Whether a relative path can stand in a manifest, a checksum file and a URL alike."""
    parts = path.split("/")
    return len(path) <= MAX_PATH and not _NOT_IN_PATH.search(path) and not {"", ".", ".."} & set(parts)
