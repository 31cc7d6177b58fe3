"""What tests of the reading endpoints share: runs on a server, and another workspace beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sent_runs import SentRun, send
from server_process import Server

#: Text that breaks out of HTML, SQL, shells, terminals and JSON where somebody pastes it in.
NAUGHTY = [
    "<script>alert(1)</script>", "'; DROP TABLE runs; --", '" or ""="', "${jndi:ldap://x}", "{{7*7}}", "%00",
    "../../etc/passwd", "\\..\\..", "日本語", "😀👩‍👩‍👧", "Ω≈ç√∫", "ﷺ", "a" * 64, "null", "NaN", "undefined", "-1",
    "1e999", "0x0", "true", "%s%s%n", "$(touch x)", "`id`", "||", "&&", "a,b", "a;b", "a=b", "=cmd()", "@SUM(1)",
    "+1", "\u00a0", "\ufeff", "\u200b", "Ṱ̺̺", " ",
]  # fmt: skip


@dataclass
class TypedRun(SentRun):
    """A run whose artifacts have kinds of their own: path -> media type."""

    media: dict[str, str] = field(default_factory=dict)
    commit: dict[str, bool] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        made = super().document()
        for entry in made["artifacts"]:
            path = entry["path"].removeprefix("artifacts/")
            entry["media_type"] = self.media.get(path, entry["media_type"])
            entry["commit"] = self.commit.get(path, True)
        for part, values in self.changes.items():
            made[part] = {**made[part], **values} if isinstance(values, dict) and made[part] else values
        return made


def store(server: Server, *runs: SentRun, key: str | None = "") -> None:
    """Send runs whole, and see that they were stored."""
    for run in runs:
        send(server, *run.frames(), key=key, expect=200)


def new_workspace(server: Server, slug: str) -> str:
    """Make a workspace; its first key."""
    made = server.call("POST", "/api/workspaces", json={"slug": slug}, expect=201).json()
    return str(made["key"]["token"])


def new_key(server: Server, *scopes: str, key: str | None = "") -> str:
    """Make a key with these scopes."""
    order = {"name": "test", "scopes": list(scopes)}
    return str(server.call("POST", "/api/api-keys", json=order, key=key, expect=201).json()["token"])


def listed(server: Server, key: str | None = "", **query: Any) -> list[str]:
    """The ids that a list has."""
    answer = server.call("GET", "/api/runs", params=query, key=key, expect=200).json()
    return [run["id"] for run in answer["runs"]]
