"""What a repo's README says about itself in its front matter; and text of strangers made safe to show."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)

#: More than this is not read as front matter.
_MAX = 64 * 1024


def front_matter(text: str) -> dict[str, Any]:
    """The YAML at the head of a model or dataset card; empty when there is none that can be read."""
    match = _FRONT.match(text[: 2 * _MAX])
    if match is None or len(match[1]) > _MAX:
        return {}
    import yaml

    class Plain(yaml.SafeLoader):
        """Without aliases: a few lines of them can unfold to gigabytes."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not read")
            return super().compose_node(parent, index)

    try:
        raw = yaml.load(match[1], Plain)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def plain(value: Any, limit: int = 200) -> str | None:
    """A stranger's text as one harmless line: no control characters, no direction marks; None if empty."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    text = "".join(" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in str(value))
    text = "".join(sign for sign in text if unicodedata.category(sign) not in ("Cf", "Cs", "Co"))
    text = " ".join(text.split())
    return (text[: limit - 3] + "..." if len(text) > limit else text) or None


def plain_list(value: Any, limit: int = 20) -> list[str]:
    """A text or a list of texts as harmless lines."""
    values = value if isinstance(value, list) else [value]
    return [text for item in values[:limit] if (text := plain(item)) is not None]


def license_of(
    card: dict[str, Any], tags: tuple[str, ...] = (), config: Any = None
) -> tuple[str | None, str]:
    """A repo's license and where it was read: its card, the Hub's tags, its config.json, or nowhere."""
    named = plain_list(card.get("license")) or plain_list(card.get("license_name"))
    if named:
        return ", ".join(named), "model card"
    for tag in tags:
        if tag.startswith("license:"):
            return plain(tag.removeprefix("license:")), "Hub tag"
    if plain(config):
        return plain(config), "config.json"
    return None, "not stated"
