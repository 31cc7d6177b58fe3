"""What people type, brought into the form Hydra takes."""

from __future__ import annotations

from collections.abc import Sequence

from worldflux.config.grammar import as_override

#: Hydra's flags that take a value as the next word.
_WITH_VALUE = frozenset(
    {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c",
     "--experimental-rerun"}
)  # fmt: skip
#: Keys whose value is an expression of another grammar; quoted here so that nobody has to.
_EXPRESSIONS = ("sweep.include", "sweep.exclude")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def split_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags and the overrides, wherever they stood; Hydra 1.3 wants them apart."""
    flags: list[str] = []
    overrides: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            overrides += waiting
            break
        if not word.startswith("-") or word == "-":
            overrides.append(word)
            continue
        flags.append(word)
        if (word in _WITH_VALUE and waiting) or (
            word in ("--info", "-i") and waiting and waiting[0] in _INFO
        ):
            flags.append(waiting.pop(0))
    return flags, overrides


def normalize(overrides: Sequence[str]) -> list[str]:
    """Group choices in the one form Hydra accepts: `+recipe=NAME`, but `runtime=NAME`.

    The recipe is not part of the default configuration and the others are; nobody should have
    to know that.
    """
    result = []
    for text in overrides:
        key, sign, value = text.partition("=")
        name = key.lstrip("+")
        if sign and name == "recipe":
            text = f"+recipe={value}"
        elif sign and name in ("runtime", "cost_guard"):
            text = f"{name}={value}"
        elif sign and name in _EXPRESSIONS and value[:1] not in ("'", '"', "["):
            text = as_override(name, value)
        result.append(text)
    return result
