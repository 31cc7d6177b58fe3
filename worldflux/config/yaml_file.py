"""YAML as people write it: read strictly, with every trap named by file, line and key.

YAML 1.1 turns `no` into false, `12:30:00` into 45000 and `010` into 8, keeps the last of two
equal keys, and lets a few lines of anchors fill the memory. Here each of these is a fault with
the way to write it, found before any value is used. Numbers and booleans follow YAML 1.2.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from worldflux.errors import Fault

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_INT = 2**63

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z|0x[0-9a-fA-F]{1,16}\Z|0o[0-7]{1,22}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.inf\Z|\.nan\Z", re.I)
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+\Z")
_YAML_1_1_BOOL = frozenset({"yes", "no", "on", "off"})
_SHELL_VARIABLE = re.compile(r"(?<!\\)\$\{([A-Z_][A-Z0-9_]*)\}")
_STANDARD = "tag:yaml.org,2002:"
_PLAIN_TAGS = (_STANDARD + "map", _STANDARD + "seq", _STANDARD + "str")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path, label: str) -> tuple[Any, list[Fault]]:
    """The content of a YAML file and everything wrong with it.

    Args:
        path: the file.
        label: how messages call it, such as `recipes/pusht/recipe.yaml`.

    Returns:
        The content, as far as it can be understood (None when it can not), and the faults.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            return None, [
                Fault(label, f"is {size:,} bytes; the limit is 1 MiB", "keep data in files of its own")
            ]
        raw = path.read_bytes()
    except OSError as error:
        return None, [Fault(label, f"can not be read: {error.strerror}")]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return None, [Fault(f"{label}: byte {error.start}", "is not UTF-8 text", "save the file as UTF-8")]
    return parse_yaml(text, label)


def parse_yaml(text: str, label: str) -> tuple[Any, list[Fault]]:
    """Like `read_yaml`, for text in memory."""
    if "\0" in text:
        return None, [Fault(label, "holds a NUL character")]
    try:
        blocked = _event_faults(text, label)
        if blocked:
            return None, blocked
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        return None, [_syntax_fault(error, text, label)]
    if node is None:
        return None, []
    reader = _Reader(label)
    return reader.value(node, ()), reader.faults


def _event_faults(text: str, label: str) -> list[Fault]:
    """What must be refused before a tree is built: depth, anchors, several documents."""
    depth = documents = 0
    faults: list[Fault] = []
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                return [
                    Fault(f"{label}:{line}", "holds a second document (`---`)", "keep one document a file")
                ]
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return [Fault(f"{label}:{line}", f"is nested deeper than {MAX_DEPTH} levels")]
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        name = getattr(event, "anchor", None)
        if name and len(faults) < 20:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            hint = "write the value out, or refer to another key as ${key}"
            faults.append(Fault(f"{label}:{line}", f"uses the anchor `{sign}{name}`", hint))
    return faults


def _syntax_fault(error: yaml.YAMLError, text: str, label: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "is not valid YAML"
    if mark is None:
        return Fault(label, f"is not valid YAML: {problem}")
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    hint = "indent with spaces; YAML does not take tabs" if "\t" in line else ""
    return Fault(f"{label}:{mark.line + 1}", f"is not valid YAML: {problem}", hint)


class _Reader:
    """Builds plain values from a YAML tree and notes the faults on the way."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.faults: list[Fault] = []

    def value(self, node: Any, path: tuple[str, ...]) -> Any:
        if node.tag not in _PLAIN_TAGS and (not node.tag.startswith(_STANDARD) or "python" in node.tag):
            self._fault(node, path, f"the tag `{node.tag}` is not allowed", "write a plain value")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _fault(self, node: Any, path: tuple[str, ...], problem: str, hint: str = "") -> None:
        key = ".".join(path)
        where = f"{self.label}:{key}" if key else self.label
        self.faults.append(Fault(where, f"line {node.start_mark.line + 1}: {problem}", hint))

    def _mapping(self, node: Any, path: tuple[str, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._fault(key_node, path, "a key must be a text")
                continue
            here = (*path, key)
            plain = self._plain(key_node, key)
            if not isinstance(plain, str) or (key.lower() in _YAML_1_1_BOOL and not key_node.style):
                self._fault(
                    key_node, here, f"the key `{key}` is not read as a text", f'write "{key}": in quotes'
                )
            if key in lines:
                self._fault(
                    key_node, here, f"the key stands twice, first in line {lines[key]}", "keep one of them"
                )
                continue
            lines[key] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, here)
        return result

    def _scalar(self, node: Any, path: tuple[str, ...]) -> Any:
        text = node.value
        value = text if node.style else self._trapped(node, path, text)
        if isinstance(value, str):
            self._check_variables(node, path, value)
        elif isinstance(value, int) and not isinstance(value, bool) and not -MAX_INT <= value < MAX_INT:
            self._fault(node, path, "the number does not fit in 64 bits", "write it in quotes")
        return value

    def _trapped(self, node: Any, path: tuple[str, ...], text: str) -> Any:
        if text.lower() in _YAML_1_1_BOOL:
            hint = f'write "{text}" in quotes for the text, or true or false'
            self._fault(node, path, f"`{text}` is a boolean to some YAML readers and a text to others", hint)
            return text
        if _SEXAGESIMAL.match(text):
            hint = f'write "{text}" in quotes; a duration is written 90s, 10m, 2h'
            self._fault(node, path, f"`{text}` is a number in base 60 to some YAML readers", hint)
            return text
        if _LEADING_ZERO.match(text):
            hint = f'write "{text}" in quotes for the text, or the number without the leading zero'
            self._fault(node, path, f"`{text}` is an octal number to some YAML readers", hint)
            return text
        return self._plain(node, text)

    @staticmethod
    def _plain(node: Any, text: str) -> Any:
        """A plain scalar after the YAML 1.2 core rules; quoted ones stay texts."""
        if node.style:
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text[0] in "tT"
        if _INT.match(text) and len(text) < 4000:
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if _FLOAT.match(text):
            return (
                float(text.replace(".inf", "inf").replace(".nan", "nan"))
                if text[-1] in "fnFN"
                else float(text)
            )
        return text

    def _check_variables(self, node: Any, path: tuple[str, ...], value: str) -> None:
        for name in _SHELL_VARIABLE.findall(value):
            hint = (
                f"no shell reads this; ${{oc.env:{name}}} takes the variable from the environment, "
                f"\\${{{name}}} keeps the text"
            )
            self._fault(node, path, f"`${{{name}}}` looks like a shell variable", hint)
