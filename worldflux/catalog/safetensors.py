"""The header of a safetensors file: names, types and shapes of its tensors, without its weights."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worldflux.errors import WorldFluxError

#: Headers larger than this are refused; real ones are below a few MB.
MAX_HEADER = 64 * 2**20


@dataclass(frozen=True)
class Header:
    """What is in a safetensors file.

    Attributes:
        names: the tensors.
        parameters: how many numbers they hold together.
        tensor_bytes: how many bytes they take.
        dtypes: parameters by type, the most frequent first.
        file_bytes: the size the file must have.
    """

    names: tuple[str, ...]
    parameters: int
    tensor_bytes: int
    dtypes: dict[str, int]
    file_bytes: int


def read(path: Path) -> Header:
    """The header of a file. Raises WorldFluxError when it is no safetensors file."""
    with open(path, "rb") as handle:
        return from_chunks(iter(lambda: handle.read(1 << 16), b""), str(path.name))


def from_chunks(chunks: Iterable[bytes], name: str) -> Header:
    """The header at the start of a stream, which is read no further than its end.

    Raises:
        WorldFluxError: the bytes are not those of a safetensors file, or end within the header.
    """
    stream = iter(chunks)
    first = _take(stream, b"", 8)
    if len(first) < 8:
        raise _broken(name, "it ends within its first 8 bytes")
    (length,) = struct.unpack("<Q", first[:8])
    if not 2 <= length <= MAX_HEADER:
        raise _broken(name, f"its header would take {length} bytes")
    whole = _take(stream, first, 8 + length)
    if len(whole) < 8 + length:
        raise _broken(name, "it ends within its header")
    try:
        raw = json.loads(whole[8 : 8 + length])
        return _header(raw, 8 + length)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _broken(name, "its header is not readable") from None


def _take(stream: Iterator[bytes], have: bytes, size: int) -> bytes:
    parts, count = [have], len(have)
    while count < size:
        chunk = next(stream, b"")
        if not chunk:
            break
        parts.append(chunk)
        count += len(chunk)
    return b"".join(parts)


def _header(raw: dict[str, dict[str, object]], start: int) -> Header:
    names, types, total, end = [], Counter[str](), 0, 0
    for name, tensor in raw.items():
        if name == "__metadata__":
            continue
        shape, offsets = tensor["shape"], tensor["data_offsets"]
        if not isinstance(shape, list) or not isinstance(offsets, list):
            raise TypeError(name)
        first, last = (int(offset) for offset in offsets)
        names.append(name)
        types[str(tensor["dtype"])] += math.prod(int(size) for size in shape)
        total += last - first
        end = max(end, last)
    return Header(tuple(names), sum(types.values()), total, dict(types.most_common()), start + end)


def _broken(name: str, why: str) -> WorldFluxError:
    return WorldFluxError(f"{name} is not a safetensors file: {why}", "ask its owner", code="bad_safetensors")
