"""The header of a safetensors file, of good files and of broken ones."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from lerobot_files import safetensors

from worldflux.catalog.safetensors import MAX_HEADER, from_chunks, read
from worldflux.errors import WorldFluxError


def test_counts_parameters_and_types(tmp_path: Path) -> None:
    """Parameters, bytes and types come from the header; the most frequent type first."""
    data = safetensors({"a": ("BF16", [10, 10]), "b": ("F32", [5]), "scalar": ("F32", [])})
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    header = read(path)
    assert header.names == ("a", "b", "scalar")
    assert (header.parameters, header.tensor_bytes, header.file_bytes) == (106, 224, len(data))
    assert list(header.dtypes.items()) == [("BF16", 100), ("F32", 6)]


def test_reads_no_further_than_the_header() -> None:
    """A stream is left alone after the header, so that weights are not brought to look at it."""
    data = safetensors({"a": ("F32", [100_000])})
    taken = 0

    def chunks():  # type: ignore[no-untyped-def]
        nonlocal taken
        for at in range(0, len(data), 64):
            taken += 64
            yield data[at : at + 64]

    assert from_chunks(chunks(), "w").parameters == 100_000
    assert taken < 1000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x02",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", MAX_HEADER + 1) + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 12) + b'{"a": {}}   ',
        struct.pack("<Q", 50) + b'{"a":{"dtype":"F32","shape":1,"data_offsets":[0]}}',
        b"\x80\x04\x95" + b"\0" * 20,
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    """Cut, oversized, other formats and nonsense are told as such, with the file's name."""
    with pytest.raises(WorldFluxError) as caught:
        from_chunks([data], "w.safetensors")
    assert caught.value.code == "bad_safetensors" and "w.safetensors" in caught.value.problem


def test_metadata_is_no_tensor() -> None:
    """`__metadata__` is not counted."""
    text = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    assert from_chunks([struct.pack("<Q", len(text)) + text], "w").parameters == 0
