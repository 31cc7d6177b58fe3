"""The gate: refuses bytes that carry a secret, before they are written and again before they are sent.

Two kinds of knowledge meet here. Values that this process can see (variables, the API key, provider files)
are searched for exactly, in every form a program may have given them. Everything else is judged by form and
surroundings. What a refusal shows is the place, the rule and a fingerprint; the value never.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from worldflux.errors import RefusedError
from worldflux.manifest.masking import MASK, cover, mask_argv, mask_url
from worldflux.manifest.secret_leaves import Leaves, Slot
from worldflux.manifest.secret_names import is_location, is_placeholder, is_secret_name
from worldflux.manifest.secret_needles import Needles, to_bytes, to_text
from worldflux.manifest.secret_rules import context_spans, text_spans, userinfo_pattern
from worldflux.manifest.secret_vendors import vendor_spans

__all__ = ["Finding", "Gate", "SecretRefused", "fingerprint", "is_secret_name", "mask_argv", "mask_url"]

#: More findings than this say nothing new, and each costs a slow fingerprint.
MOST_FINDINGS = 20

#: In place of the number of a leaf: the hit is told by its offset in the bytes.
IN_BYTES = -1


@dataclass(frozen=True)
class Finding:
    """One secret in a document.

    Attributes:
        path: JSON pointer of the string or key that holds it, a secret step shown as `***`; `bytes START-END`
            in a text that is not JSON, or where it spans more than one string.
        rule: `value of NAME` for a known value, else the rule that knew it.
        fingerprint: what to write under `allow_secrets` when the value is no secret; see `fingerprint`.
    """

    path: str
    rule: str
    fingerprint: str


class SecretRefused(RefusedError):
    """A document was not written or sent because it carries a secret. Never holds the value."""

    code = "secret"

    def __init__(self, what: str, findings: Collection[Finding]) -> None:
        lines = [f"{what} would carry a secret" if len(findings) == 1 else f"{what} would carry secrets"]
        lines += [f"  at {finding.path or '/'}: {finding.rule}" for finding in findings]
        prints = ", ".join(dict.fromkeys(finding.fingerprint for finding in findings))
        hint = (
            "Take the value out, or name the variable that holds it (env.pass, ${oc.env:NAME} unresolved). "
            f"If it is no secret, add to worldflux.yaml: allow_secrets: [{prints}]"
        )
        super().__init__(
            "\n".join(lines), hint, details={"findings": [vars(finding) for finding in findings]}
        )


def fingerprint(value: str) -> str:
    """What stands for a value in `allow_secrets`: `wfs1-` and 16 hexadecimal digits.

    The list is committed and refusals end in public logs, so a short secret must not be guessed from it: the
    digits are 64 bits of scrypt (16 MiB and some 50 ms a guess), not of a plain hash.
    """
    import hashlib

    salt = b"worldflux allow_secrets 1"
    return "wfs1-" + hashlib.scrypt(to_bytes(value), salt=salt, n=1 << 14, r=8, p=1, dklen=8).hex()


class _Hit:
    """A secret before it is told: the leaf it is in, value, rule; for IN_BYTES from where to where."""

    __slots__ = ("end", "leaf", "rule", "start", "value")

    def __init__(self, leaf: int, value: str, rule: str, start: int = 0, end: int = 0) -> None:
        self.leaf, self.value, self.rule, self.start, self.end = leaf, value, rule, start, end


def _secrets_of(name: str, value: str) -> Iterator[tuple[str, str]]:
    """What of a variable is secret: the value, its parts if it is a JSON key file, the password in a URL."""
    if is_secret_name(name) and not is_placeholder(value) and not is_location(value):
        yield name, value
        if value.lstrip().startswith("{") and (leaves := Leaves.read(value)):
            for leaf, secret, _ in leaves.suspects:
                yield f"{name} {leaves.pointer(leaves.slot(leaf), lambda slot: str(slot[1]))}", secret
    if "://" in value and "@" in value:
        for match in userinfo_pattern().finditer(value):
            if match.group(2) and not is_placeholder(match.group(2)):
                from urllib.parse import unquote

                yield f"{name} (password)", unquote(match.group(2), errors="surrogateescape")


#: Texts that hold no secret by their looks; most of a document are in the next one again.
_clean: set[str] = set()
#: Texts that are kept there, and characters of the longest of them.
MOST_CLEAN, LONGEST_CLEAN = 4096, 256


def _looks(texts: list[str]) -> bool:
    """Whether any text may hold a secret by its looks; digests, most of a manifest, are left out."""
    texts = [t for t in texts if t not in _clean]
    found = _judged(texts)
    if not found:
        if len(_clean) > MOST_CLEAN:
            _clean.clear()
        _clean.update([t for t in texts if len(t) <= LONGEST_CLEAN][:MOST_CLEAN])
    return found


def _judged(texts: list[str]) -> bool:
    # No issued token is shorter than 20 characters.
    long = [t for t in texts if len(t) > 19 and (len(t) < 40 or not t.isalnum() or not t.islower())]
    short = [t for t in texts if 8 < len(t) < 20]
    found = itertools.chain(
        vendor_spans("\n".join(dict.fromkeys(long))), context_spans("\n".join(dict.fromkeys([*long, *short])))
    )
    return any(True for _ in found)


class Gate:
    """Knows the secrets that are visible and searches documents for these and for look-alikes."""

    def __init__(self, secrets: Mapping[str, str] | None = None, allow: Collection[str] = ()) -> None:
        """A gate for exact values.

        Args:
            secrets: what to call it -> value; values under eight characters are not searched for.
            allow: fingerprints of values that are no secrets.
        """
        self._values = dict(secrets or {})
        self._allow = frozenset(entry.strip().lower() for entry in allow)
        self._derived: Needles | None = None
        self._prints: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Gate of {len(self._values)} values>"

    @classmethod
    def from_environment(
        cls, env: Mapping[str, str], *, extra: Mapping[str, str] | None = None, allow: Collection[str] = ()
    ) -> Gate:
        """A gate for all secret-named variables, passwords in URLs of any variable, and `extra` values.

        Args:
            env: the variables the process can see.
            extra: more exact values by what to call them (the API key, contents of provider files); taken as
                secret whatever they look like.
            allow: fingerprints of values that are no secrets.
        """
        values: dict[str, str] = {}
        for name, value in env.items():
            for label, part in _secrets_of(name, value):
                values.setdefault(label, part)
        for name, value in (extra or {}).items():
            values[name if values.get(name, value) == value else f"{name} (stored)"] = value
        return cls(values, allow)

    @property
    def _needles(self) -> Needles:
        if self._derived is None:
            self._derived = Needles(self._values)
        return self._derived

    def check(self, data: bytes) -> list[Finding]:
        """What secrets the bytes hold: at most 20, each value once a place; empty when they may be written.

        Never raises on malformed input: what is not JSON is searched as text.
        """
        text = to_text(data)
        leaves = Leaves.read(text)
        if leaves is None:
            return self._findings(self._text_hits(data, text), lambda hit: f"bytes {hit.start}-{hit.end}")
        needles = self._needles.inside(data)
        if "\\" in text:
            needles = list(
                dict.fromkeys([*needles, *self._needles.inside(to_bytes("\n".join(leaves.texts)))])
            )
        if not needles and not leaves.suspects and not _looks(leaves.texts):
            return []
        return self._document_findings(data, leaves, needles)

    def refuse(self, data: bytes, what: str) -> None:
        """Raise when the bytes may not be written; `what` names them in the message (`manifest.json`).

        Raises:
            SecretRefused: with path, rule and fingerprint of each secret, and how to allow it.
        """
        findings = self.check(data)
        if findings:
            raise SecretRefused(self.mask(what), findings)

    def refuse_values(self, data: bytes, what: str) -> None:
        """Raise when bytes of any kind hold a known value in any form; looks are not judged.

        Ten times as quick as `refuse`, and right for what is no text, where looks deceive.

        Raises:
            SecretRefused: as `refuse`.
        """
        spans = self._needles.spans(data, self._needles.inside(data))
        hits = (
            _Hit(IN_BYTES, self._value(name), f"value of {name}", start, end) for start, end, name in spans
        )
        findings = self._findings(hits, lambda hit: f"bytes {hit.start}-{hit.end}")
        if findings:
            raise SecretRefused(self.mask(what), findings)

    def mask(self, text: str) -> str:
        """The text with known values, in any form, and look-alikes replaced by `***`."""
        data = to_bytes(text)
        needles = self._needles.inside(data)
        if needles:
            spans = [
                (a, b)
                for a, b, name in self._needles.spans(data, needles)
                if not self._allowed(self._value(name))
            ]
            text = to_text(cover(data.decode("latin-1"), spans).encode("latin-1"))
        return cover(text, [(a, b) for a, b, _ in text_spans(text) if not self._allowed(text[a:b])])

    def _value(self, name: str) -> str:
        return self._values[name].strip()

    def _print(self, value: str) -> str:
        if value not in self._prints:
            self._prints[value] = fingerprint(value)
        return self._prints[value]

    def _allowed(self, value: str) -> bool:
        return bool(self._allow) and self._print(value) in self._allow

    def _text_hits(self, data: bytes, text: str) -> Iterator[_Hit]:
        for start, end, name in self._needles.spans(data, self._needles.inside(data)):
            yield _Hit(IN_BYTES, self._value(name), f"value of {name}", start, end)
        latin = len(data) == len(text)
        told: set[str] = set()
        for span in text_spans(text):
            value = text[span.start : span.end]
            if value not in told:
                told.add(value)
                start = span.start if latin else len(to_bytes(text[: span.start]))
                yield _Hit(IN_BYTES, value, span.rule, start, start + len(to_bytes(value)))

    def _document_findings(self, data: bytes, leaves: Leaves, needles: list[bytes]) -> list[Finding]:
        hits = [*self._leaf_hits(leaves, needles)]
        known = {hit.rule for hit in hits}
        spanning = [needle for needle in needles if f"value of {self._needles.name(needle)}" not in known]
        for start, end, name in self._needles.spans(data, spanning):
            hits.append(_Hit(IN_BYTES, self._value(name), f"value of {name}", start, end))
        secret_texts = {leaves.texts[hit.leaf] for hit in hits if hit.leaf >= 0}

        def shown(slot: Slot) -> str:
            step = str(slot[1])
            if step in secret_texts or self.mask(step) != step:
                return MASK
            return "".join(c if c.isprintable() else "?" for c in step[:80])

        def path(hit: _Hit) -> str:
            if hit.leaf == IN_BYTES:
                return f"bytes {hit.start}-{hit.end}"
            return leaves.pointer(leaves.slot(hit.leaf), shown)

        return self._findings(hits, path)

    def _leaf_hits(self, leaves: Leaves, needles: list[bytes]) -> Iterator[_Hit]:
        """Known values first, so that a value is told by the surest rule; a key-name last."""
        if needles:
            for index, text in enumerate(leaves.texts):
                raw = to_bytes(text)
                for needle in needles:
                    if needle in raw:
                        name = self._needles.name(needle)
                        yield _Hit(index, self._value(name), f"value of {name}")
        starts = [*itertools.accumulate((len(text) + 1 for text in leaves.texts), initial=0)]
        whole = "\n".join(leaves.texts)
        for span in text_spans(whole):
            yield _Hit(bisect_right(starts, span.start) - 1, whole[span.start : span.end], span.rule)
        for leaf, value, rule in leaves.suspects:
            yield _Hit(leaf, value, rule)

    def _findings(self, hits: Iterable[_Hit], path: Callable[[_Hit], str]) -> list[Finding]:
        """The hits that are not allowed; of those that say the same of one place the first."""
        findings: list[Finding] = []
        taken: dict[int, list[str]] = {}
        for hit in hits:
            others = taken.setdefault(hit.leaf, [])
            within = hit.leaf != IN_BYTES
            if any(hit.value == o or (within and (hit.value in o or o in hit.value)) for o in others):
                continue
            if self._allowed(hit.value):
                continue
            others.append(hit.value)
            findings.append(Finding(path(hit), hit.rule, self._print(hit.value)))
            if len(findings) == MOST_FINDINGS:
                break
        return findings
