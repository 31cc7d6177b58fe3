"""LeRobot datasets: the revision LeRobot would load, episode ranges, path templates."""

from __future__ import annotations

from pathlib import Path

import pytest
from lerobot_files import dataset_info, episodes_table

from worldflux.catalog.lerobot_dataset import (
    episode_files,
    episodes_text,
    facts_of,
    info_of,
    parse_episodes,
    problems_of,
    resolve_version,
)
from worldflux.errors import UsageError, WorldFluxError

SAMPLES = Path(__file__).parents[1] / "fixtures" / "lerobot"


@pytest.mark.parametrize(
    ("refs", "chosen"),
    [
        (["main", "v3.0"], "v3.0"),
        (["v2.1", "v3.0", "v3.1"], "v3.0"),
        (["3.0"], "3.0"),
        (["v3"], "v3"),
        (["v3.0.0"], "v3.0.0"),
    ],
)
def test_the_revision_lerobot_loads(refs: list[str], chosen: str) -> None:
    """v3.0 wins, however it is written, whatever else there is."""
    assert resolve_version(refs, "me/x") == chosen


@pytest.mark.parametrize(
    ("refs", "code"),
    [
        ([], "no_version"),
        (["main", "latest"], "no_version"),
        (["v2.0", "v2.1"], "old_format"),
        (["v4.0"], "new_format"),
        (["v3.1"], "new_format"),
    ],
)
def test_where_lerobot_refuses(refs: list[str], code: str) -> None:
    """No version, only older or only newer formats: refused with the way to take it anyway."""
    with pytest.raises(UsageError) as caught:
        resolve_version(refs, "me/x")
    assert caught.value.code == code and "worldflux import lerobot-dataset:me/x@" in caught.value.hint


def test_episode_ranges() -> None:
    """Ranges are half open and may be several; numbers come back sorted and once."""
    assert parse_episodes("0:3", 6) == [0, 1, 2]
    assert parse_episodes("4, 0:2,1", 6) == [0, 1, 4]
    assert episodes_text([4, 0, 1, 1]) == "0:2,4:5"
    assert parse_episodes(episodes_text([9, 2, 3]), None) == [2, 3, 9]
    for wrong in ("", "a", "3:1", "1-3", "-1", "0:7", "6", "0:99999999999"):
        with pytest.raises(UsageError):
            parse_episodes(wrong, 6)


def test_a_real_info_file() -> None:
    """The metadata of a dataset that LeRobot 0.6.1 wrote is read in full."""
    facts = facts_of(info_of((SAMPLES / "info.json").read_bytes(), "me/x"))
    assert (facts["codebase_version"], facts["fps"], facts["episodes"], facts["frames"]) == (
        "v3.0",
        10,
        6,
        360,
    )
    assert facts["video_codecs"] == {"observation.image": "av1"} and facts["splits"] == {"train": "0:6"}
    assert facts["features"]["observation.state"] == {"dtype": "float32", "shape": [2]}
    assert facts["robot_type"] == "pusht_2d" and problems_of(facts) == []


def test_what_is_no_dataset_is_told() -> None:
    """No info.json, none of LeRobot's, and older formats each say what is wrong."""
    for text in (None, b"no json", b"[]", b"{}", b'{"features": 3}'):
        with pytest.raises(UsageError) as caught:
            info_of(text, "me/x")
        assert caught.value.code == "not_a_dataset"
    assert "convert_dataset_v21_to_v30" in problems_of(facts_of(dataset_info(codebase_version="v2.1")))[0]
    assert problems_of(facts_of(dataset_info(codebase_version=None)))


def test_hostile_metadata_is_harmless() -> None:
    """Values of wrong types and control characters become unknown or plain text."""
    features = {"a\x1b[2J": {"dtype": ["x"], "shape": "y"}, "b": 3}
    facts = facts_of(
        dataset_info(features=features, fps="fast", total_episodes=True, splits=[1], robot_type={"a": 1})
    )
    assert facts["features"] == {"a [2J": {"dtype": None, "shape": []}}
    assert (facts["fps"], facts["episodes"], facts["splits"], facts["robot_type"]) == (None, None, {}, None)


def test_episodes_of_several_tables(tmp_path: Path) -> None:
    """Episode tables in several files are all looked at, and only the wanted rows count."""
    folder = tmp_path / "meta" / "episodes" / "chunk-000"
    folder.mkdir(parents=True)
    for number in range(2):
        rows = [
            {
                "episode_index": number * 2 + at,
                "data/chunk_index": number,
                "data/file_index": at,
                "videos/observation.image/chunk_index": number,
                "videos/observation.image/file_index": 7,
            }
            for at in range(2)
        ]
        (folder / f"file-{number:03d}.parquet").write_bytes(episodes_table(tmp_path / "t.parquet", rows))
    found = episode_files(dataset_info(), tmp_path, [1, 2])
    assert found == {
        "data/chunk-000/file-001.parquet",
        "data/chunk-001/file-000.parquet",
        "videos/observation.image/chunk-000/file-007.mp4",
        "videos/observation.image/chunk-001/file-007.mp4",
    }
    with pytest.raises(WorldFluxError, match="4:5"):
        episode_files(dataset_info(), tmp_path, [1, 4])


def test_a_table_that_is_none(tmp_path: Path) -> None:
    """A broken table, or one without the columns, is told and not guessed around."""
    folder = tmp_path / "meta" / "episodes"
    folder.mkdir(parents=True)
    (folder / "file.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(WorldFluxError) as caught:
        episode_files(dataset_info(), tmp_path, [0])
    assert caught.value.code == "bad_metadata"
    (folder / "file.parquet").write_bytes(episodes_table(tmp_path / "t.parquet", [{"other": 1}]))
    with pytest.raises(WorldFluxError):
        episode_files(dataset_info(), tmp_path, [0])
