"""Where blobs are kept: the same promises by a folder and by S3."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from worldflux.errors import UsageError
from worldflux.server import blob_s3
from worldflux.server.blob_s3 import S3Blobs
from worldflux.server.blobs import BlobStore, DiskBlobs
from worldflux.server.problems import Problem


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 client of a service that lives in this process."""
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    with moto.mock_aws():
        made = boto3.client("s3", region_name="us-east-1")
        made.create_bucket(Bucket="bucket")
        yield made


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "disk":
        return DiskBlobs(tmp_path)
    return S3Blobs("s3://bucket/some/prefix", tmp_path, client=request.getfixturevalue("client"))


def test_what_is_put_is_there(store: BlobStore) -> None:
    """Bytes come back whole and from the middle, in their workspace only, until they are removed."""
    data = os.urandom(1000)
    store.put(1, name(data), data)
    store.put(1, name(data), data)
    assert store.holds(1, name(data)) and not store.holds(2, name(data))
    with store.open(1, name(data)) as file:
        assert file.read() == data
    with store.open(1, name(data), 990) as file:
        assert file.read() == data[990:]
    with pytest.raises(FileNotFoundError):
        store.open(2, name(data))
    assert [(each.sha256, each.bytes) for each in store.stored(1)] == [(name(data), 1000)]
    store.remove(1, name(data))
    store.remove(1, name(data))
    assert not store.holds(1, name(data)) and list(store.stored(1)) == []


def test_a_file_is_taken(store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished upload moves into the store, in parts when it is large, and is gone from where it was."""
    monkeypatch.setattr(blob_s3, "PART_BYTES", 5 * 1024 * 1024)
    for data in (b"small", os.urandom(6 * 1024 * 1024)):
        path = tmp_path / "upload"
        for _ in range(2):  # a second writer changes nothing
            path.write_bytes(data)
            store.take(1, name(data), path)
            assert not path.exists()
        with store.open(1, name(data)) as file:
            assert file.read() == data


@pytest.mark.parametrize("wrong", ["", "../x", "A" * 64, "0" * 63, "0" * 64 + "/x", "0" * 63 + "\n"])
def test_only_digests_are_names(store: BlobStore, wrong: str) -> None:
    """Nothing else becomes a path or a key."""
    for use in (store.holds, store.open, store.remove):
        with pytest.raises(ValueError, match="digest"):
            use(1, wrong)
    with pytest.raises(ValueError, match="digest"):
        store.put(1, wrong, b"")


def test_many_writers_of_one_blob(tmp_path: Path) -> None:
    """Eight threads that put the same bytes leave one whole file and no leftovers."""
    store, data = DiskBlobs(tmp_path), os.urandom(100_000)
    threads = [threading.Thread(target=store.put, args=(1, name(data), data)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.sha256 for each in store.stored(1)] == [name(data)]
    assert list(store.staging.iterdir()) == []
    with store.open(1, name(data)) as file:
        assert file.read() == data


def test_forgotten_uploads_are_swept(tmp_path: Path) -> None:
    """What nobody went on with for a week goes; what is younger stays."""
    store = DiskBlobs(tmp_path)
    for index, (suffix, days) in enumerate(((".part", 8), (".part", 6), (".tmp", 1), (".tmp", 0))):
        path = store.staging / f"{index}{suffix}"
        path.write_bytes(b"x")
        then = (datetime.now() - timedelta(days=days)).timestamp()
        os.utime(path, (then, then))
    assert store.sweep() == 2
    assert sorted(path.name for path in store.staging.iterdir()) == ["1.part", "3.tmp"]


def test_stale_multiparts_are_ended(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of an upload that was begun a day ago cost nothing any more; a fresh one goes on."""
    store = S3Blobs("s3://bucket", tmp_path, client=client)
    client.create_multipart_upload(Bucket="bucket", Key="1/00/x")
    # The service of these tests says that every upload was begun in 2010.
    monkeypatch.setattr(blob_s3, "STALE_HOURS", 24 * 365 * 100.0)
    assert store.sweep() == 0
    monkeypatch.undo()
    assert store.sweep() == 1
    assert "Uploads" not in client.list_multipart_uploads(Bucket="bucket")


def test_a_failed_multipart_leaves_no_parts(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file can not be read to its end, the upload is aborted."""
    monkeypatch.setattr(blob_s3, "PART_BYTES", 5 * 1024 * 1024)
    store = S3Blobs("s3://bucket", tmp_path, client=client)
    path = tmp_path / "large"
    path.write_bytes(bytes(6 * 1024 * 1024))
    real = client.upload_part

    def second_fails(**words: Any) -> Any:
        if words["PartNumber"] == 2:
            raise OSError("unplugged")
        return real(**words)

    monkeypatch.setattr(client, "upload_part", second_fails)
    with pytest.raises(OSError, match="unplugged"):
        store.take(1, "0" * 64, path)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="bucket") and not store.holds(1, "0" * 64)
    assert path.exists(), "an upload that failed can be tried again"


def test_trouble_with_the_service_is_temporary(client: Any, tmp_path: Path) -> None:
    """A bucket that is gone is 503 to a client, with no word about the store's insides."""
    store = S3Blobs("s3://no-such-bucket-here", tmp_path, client=client)
    with pytest.raises(Problem) as caught:
        store.put(1, "0" * 64, b"x")
    assert caught.value.status == 503 and "no-such-bucket" not in caught.value.detail


@pytest.mark.parametrize("url", ["bucket", "http://bucket/x", "s3://", "s3:///x"])
def test_an_address_that_is_none(url: str, tmp_path: Path) -> None:
    """Only s3://bucket/prefix names a store."""
    with pytest.raises(UsageError):
        S3Blobs(url, tmp_path, client=object())


def test_ages_are_not_negative(store: BlobStore) -> None:
    """A blob of now is no older than a moment."""
    store.put(1, name(b"x"), b"x")
    (only,) = store.stored(1)
    assert 0 <= only.age_seconds < 600 and datetime.now(timezone.utc)
