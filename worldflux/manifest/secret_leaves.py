"""A JSON document as a flat list of its strings, each with a way back to its place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from worldflux.manifest.secret_names import FIRM, INERT, INHERITED, NONE, WEAK, grade, is_literal

#: A place: number of the container, and key or index in it.
Slot = tuple[int, Any]

#: A literal in a place named after a secret: number of the leaf, the secret part of it, the rule.
Suspect = tuple[int, str, str]

#: Keys whose value is the name of the thing that `value` beside them is the value of.
_NAMING = ("name", "key", "variable", "env", "header", "option", "flag")


#: Instead of a grade: the key `value`, which is what the key beside it says.
_BESIDE = -1


class _Grades(dict[str, int]):
    """Key -> grade of its name, or `_BESIDE`; filled on demand, because each write has the same keys."""

    def __missing__(self, key: str) -> int:
        if len(self) > 8192:
            self.clear()
        self[key] = found = _BESIDE if key == "value" else grade(key)
        return found


_grades = _Grades()


class Leaves:
    """All keys and strings of a document, container by container, and the literals under secret names.

    Attributes:
        texts: keys and string values; their positions are the numbers of the leaves. A number that is a
            suspect has a negative one below -1.
        suspects: what the key-name and the argument-list rule say.
    """

    def __init__(self, root: Any) -> None:
        """`root`: what `json` read, with objects as tuples of pairs."""
        self.texts: list[str] = []
        self.suspects: list[Suspect] = []
        self._boxes: list[Slot] = [(-1, "")]
        self._runs: list[tuple[int, int, Any]] = []
        self._numbers: list[Slot] = []
        # A lone string becomes the member of a box that has no place of its own.
        self._stack: list[tuple[Any, int, int]] = [([root] if type(root) is str else root, 0, NONE)]
        self._lone = type(root) is str
        while self._stack:
            node, box, sure = self._stack.pop()
            self._runs.append((len(self.texts), box, node))
            if type(node) is tuple:
                self._object(node, box, sure)
            elif type(node) is list:
                self._array(node, box, sure)

    @classmethod
    def read(cls, text: str) -> Leaves | None:
        """The leaves of a JSON text; None when it is not JSON, or is nested too deep to be read."""
        import json

        try:
            return cls(json.loads(text, object_pairs_hook=tuple))
        except (ValueError, RecursionError):
            return None

    def _object(self, pairs: tuple[tuple[str, Any], ...], box: int, sure: int) -> None:
        """Collect the texts; the loop is the gate's longest, so it does only what every key needs."""
        texts, boxes, stack, start = self.texts, self._boxes, self._stack, len(self.texts)
        watched = sure
        for key, value in pairs:
            texts.append(key)
            kind = type(value)
            if kind is str:
                texts.append(value)
            elif kind is tuple or kind is list:
                boxes.append((box, key))
                stack.append((value, len(boxes) - 1, max(_grades[key], NONE)))
            if _grades[key]:
                watched = 1
        if watched:
            self._watch(pairs, box, sure, start)

    def _watch(self, pairs: tuple[tuple[str, Any], ...], box: int, sure: int, leaf: int) -> None:
        """Look at the values of an object that has, or stands under, a secret-named key."""
        for key, value in pairs:
            leaf += 1
            own = _grades[key]
            if own == _BESIDE:
                own = max(NONE, *(grade(v) for k, v in pairs if k in _NAMING and type(v) is str), NONE)
            if sure and not own and key.lower() not in INERT:
                own = INHERITED
            if type(value) is str:
                self._suspect(leaf, key, value, own, "key-name")
                leaf += 1
            elif own >= FIRM and type(value) is int and value > 99_999:
                self._numbers.append((box, key))
                self._suspect(-1 - len(self._numbers), key, str(value), own, "key-name")

    def _array(self, items: list[Any], box: int, sure: int) -> None:
        """Look at a list for options followed by their value, and for secrets when its key is one's name."""
        flag = NONE
        for index, value in enumerate(items):
            kind = type(value)
            if kind is str:
                option = value.startswith("-")
                if flag and not option:
                    self._suspect(len(self.texts), "", value, flag, "cli-flag")
                elif sure:
                    self._suspect(len(self.texts), "", value, sure, "key-name")
                flag = grade(value.lstrip("-")) if option else NONE
                flag = max(flag, FIRM) if flag >= WEAK else NONE
                self.texts.append(value)
            elif kind is tuple or kind is list:
                self._boxes.append((box, index))
                self._stack.append((value, len(self._boxes) - 1, sure))

    def _suspect(self, leaf: int, key: str, value: str, sure: int, rule: str) -> None:
        """Take a value for a secret if it looks like one to a name that sure."""
        if sure <= NONE:
            return
        scheme, _, rest = value.partition(" ")
        if rest and scheme.lower() in ("bearer", "basic", "token"):
            value = rest.strip()
        elif sure == WEAK and "=" in value[:-2] and key.lower().endswith(("cookie", "cookies")):
            value = value.partition("=")[2].partition(";")[0]
        if is_literal(value, sure):
            self.suspects.append((leaf, value, rule))

    def slot(self, leaf: int) -> Slot:
        """Where a leaf stands; a key and its value share the place."""
        if leaf < 0:
            return self._numbers[-2 - leaf]
        start, box, node = self._runs[bisect_right(self._runs, leaf, key=itemgetter(0)) - 1]
        number = start - 1
        for index, member in enumerate(node):
            if type(node) is tuple:
                number += 1 + (type(member[1]) is str)
            else:
                number += type(member) is str
            if number >= leaf:
                return box, (member[0] if type(node) is tuple else index)
        raise IndexError(leaf)

    def pointer(self, slot: Slot, shown: Callable[[Slot], str]) -> str:
        """The JSON pointer (RFC 6901) of a place; `shown` writes each step, so that it can hide one."""
        steps = []
        while slot[0] >= 0 and not self._lone:
            steps.append(shown(slot).replace("~", "~0").replace("/", "~1"))
            slot = self._boxes[slot[0]]
        return "".join("/" + step for step in reversed(steps))
