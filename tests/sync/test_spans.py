"""Which bytes of a log and of the metrics leave."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_lab import sha256

from worldflux.sync import spans
from worldflux.sync.snapshot import Stream
from worldflux.sync.spans import Changed, Diverged, measure
from worldflux.sync.wire import Held

METRICS = Stream("metrics", "file")
LOG = Stream("log:output", "file")


def held(data: bytes) -> Held:
    return Held(len(data), sha256(data))


def recorded(stream: Stream, data: bytes) -> Stream:
    return Stream(stream.name, stream.path, len(data), sha256(data))


def test_only_whole_lines_leave_while_a_run_goes_on(tmp_path: Path) -> None:
    """A last line without its end stays, and is told as torn."""
    (tmp_path / "file").write_bytes(b"one\ntwo\nthr")
    span = measure(tmp_path, LOG, None, closed=False)
    assert (span.offset, span.end, span.torn, span.data) == (0, 8, True, b"one\ntwo\n")
    assert span.sha256 == sha256(b"one\ntwo\n")


def test_nothing_of_a_single_torn_line_leaves(tmp_path: Path) -> None:
    """A file that has no whole line yet has nothing to send."""
    (tmp_path / "file").write_bytes(b'{"name": "lo')
    span = measure(tmp_path, METRICS, None, closed=True)
    assert (span.bytes, span.torn) == (0, True)


def test_a_recorded_log_leaves_as_it_was_recorded(tmp_path: Path) -> None:
    """A log that ended without a line's end is whole; what was written after the record stays here."""
    (tmp_path / "file").write_bytes(b"one\nend without newline" + b"\nlate words\n")
    span = measure(tmp_path, recorded(LOG, b"one\nend without newline"), None, closed=True)
    assert span.data == b"one\nend without newline" and not span.torn


@pytest.mark.parametrize(
    ("tail", "leaves"), [(b'{"name": "a", "value": 1}', True), (b'{"name": "a", "val', False), (b"7", False)]
)
def test_a_last_metric_counts_when_it_is_whole(tmp_path: Path, tail: bytes, leaves: bool) -> None:
    """A last metric without a line's end that can be read is a point; a torn one is not."""
    data = b'{"name": "a", "value": 0}\n' + tail
    (tmp_path / "file").write_bytes(data)
    span = measure(tmp_path, recorded(METRICS, data), None, closed=True)
    assert (span.end == len(data)) is leaves and span.torn is not leaves


@pytest.mark.parametrize("size", [10, spans.KEPT_BYTES + 10])
def test_a_file_that_was_changed_after_its_record_is_told(tmp_path: Path, size: int) -> None:
    """Edited, shortened or removed after it was recorded: nothing is sent for it."""
    data = b"x" * size
    path = tmp_path / "file"
    path.write_bytes(b"y" + data[1:])
    with pytest.raises(Changed, match="not those that were recorded"):
        measure(tmp_path, recorded(LOG, data), None, closed=True)
    path.write_bytes(data[:-1])
    with pytest.raises(Changed, match=f"has {size - 1} bytes"):
        measure(tmp_path, recorded(LOG, data), None, closed=True)
    path.unlink()
    with pytest.raises(Changed, match="is gone"):
        measure(tmp_path, recorded(LOG, data), None, closed=True)


@pytest.mark.parametrize("lines", [4, 40_000])
def test_the_servers_part_is_proved_before_more_is_sent(tmp_path: Path, lines: int) -> None:
    """Sending goes on behind equal bytes, and never behind other ones or behind more than there is."""
    data = b"".join(b"line %06d\n" % i for i in range(lines))
    (tmp_path / "file").write_bytes(data)
    part = data[: 12 * (lines // 2)]
    span = measure(tmp_path, LOG, held(part), closed=False)
    assert (span.offset, span.end, span.sha256) == (len(part), len(data), sha256(data))
    with pytest.raises(Diverged, match="others on the server"):
        measure(tmp_path, LOG, held(b"X" + part[1:]), closed=False)
    with pytest.raises(Diverged, match="the server holds"):
        measure(tmp_path, LOG, held(data + b"more\n"), closed=False)


def test_a_missing_file_is_empty_until_it_is_recorded(tmp_path: Path) -> None:
    """A run that has logged nothing yet has an empty stream, unless the server knows better."""
    assert measure(tmp_path, METRICS, None, closed=False).bytes == 0
    with pytest.raises(Diverged, match="no such file"):
        measure(tmp_path, METRICS, held(b"something\n"), closed=False)


@given(st.binary(max_size=400).map(lambda data: data.replace(b"\0", b"\n")), st.integers(1, 60))
def test_parts_join_to_the_whole(tmp_path_factory: pytest.TempPathFactory, data: bytes, most: int) -> None:
    """Whatever the lines, the parts follow each other without gaps, and none is larger than allowed."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "file").write_bytes(data)
    span = measure(folder, recorded(LOG, data), None, closed=True)
    parts = spans.chunks(folder, span, most)
    assert b"".join(spans.read_part(folder, span, a, b) for a, b in parts) == data
    assert all(0 < b - a <= most for a, b in parts)


def test_parts_end_with_lines(tmp_path: Path) -> None:
    """A long stream is cut behind lines wherever a line is shorter than a part."""
    data = b"".join(b"%d\n" % (10**i) for i in range(40)) + b"z" * 500 + b"\n"
    (tmp_path / "file").write_bytes(data)
    span = measure(tmp_path, recorded(LOG, data), None, closed=True)
    ends = [data[end - 1 : end] for _, end in spans.chunks(tmp_path, span, 64)]
    assert ends[:8] == [b"\n"] * 8
