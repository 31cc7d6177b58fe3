"""The only place that prints: tables, errors, the JSON envelope."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from worldflux.cli.answer import Answer
from worldflux.errors import WorldFluxError

ENVELOPE = "https://worldflux.dev/schemas/cli/v1"
_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|.)?", re.S
)
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])


def use_color(stream: TextIO) -> bool:
    """Whether to colour: a terminal, and neither NO_COLOR nor TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_live(stream: TextIO) -> bool:
    """Whether what was printed can be drawn over: a terminal that moves its cursor."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "", None)


def paint(text: str, code: str, stream: TextIO) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if use_color(stream) else text


def safe_line(line: str, *, color: bool = False) -> str:
    """One line from a run or a server as it may be shown: no control character acts on the terminal.

    Of text that overwrote itself (`\\r`, progress bars) the last state stays. With `color`, plain
    colour sequences stay too.
    """
    line = line.rstrip("\r\n").rpartition("\r")[2]
    kept: list[str] = []
    position = 0
    for match in _ESCAPE.finditer(line):
        kept.append(_visible(line[position : match.start()]))
        if color and _SGR.fullmatch(match.group()):
            kept.append(match.group())
        position = match.end()
    kept.append(_visible(line[position:]))
    return "".join(kept)


def _visible(text: str) -> str:
    text = text.translate(_BIDI)
    return "".join(c if c == "\t" or c.isprintable() or ord(c) > 0x9F else f"\\x{ord(c):02x}" for c in text)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Columns aligned by their widest cell; numbers to the right."""
    cells = [[safe_line(str(cell)) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] == "" for row in rows)
        for i in range(len(header))
    ]

    def join(line: Sequence[str]) -> str:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)]
        return "  ".join(parts).rstrip()

    return "\n".join(join(line) for line in [list(header), *cells])


def show(answer: Answer, command: str, as_json: bool) -> int:
    """Print an answer and return its exit code."""
    if as_json:
        _print_envelope(command, answer.data, answer.warnings, answer.error, answer.exit_code == 0)
        return answer.exit_code
    if answer.text:
        print(answer.text, flush=True)
    for warning in answer.warnings:
        print(f"{paint('warning:', '33', sys.stderr)} {warning}", file=sys.stderr)
    return answer.exit_code


def show_error(error: WorldFluxError, command: str, as_json: bool) -> int:
    """Print an error as one block, or as an envelope, and return its exit code."""
    if as_json:
        detail = {"code": error.code, "message": error.problem, "hint": error.hint, "details": error.details}
        _print_envelope(command, {}, [], detail, False)
        return error.exit_code
    lines = [f"{paint('error:', '31;1', sys.stderr)} {error.problem}"]
    lines += [f"  {line}" for line in error.hint.splitlines()]
    print("\n".join(lines), file=sys.stderr, flush=True)
    return error.exit_code


def _print_envelope(
    command: str, data: Mapping[str, Any], warnings: Sequence[str], error: Mapping[str, Any] | None, ok: bool
) -> None:
    envelope = {
        "schema": ENVELOPE,
        "command": command,
        "ok": ok,
        "data": data,
        "warnings": list(warnings),
        "error": error,
    }
    sys.stdout.write(json.dumps(envelope, allow_nan=False) + "\n")
    sys.stdout.flush()


def duration(seconds: float | None) -> str:
    """Seconds for people: 0.4s, 12s, 3m05s, 2h10m."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def size(count: int) -> str:
    """Bytes for people: 512 B, 3.4 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{count} B"


def number(value: Any) -> str:
    """A metric's value for people: four significant figures."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
