"""Imports of datasets: LeRobot's revision, metadata first, episodes by the files that hold them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_standin import StandInHub
from lerobot_files import contents, dataset_info, imported

from worldflux.catalog.importer import Wanted, bring
from worldflux.errors import UsageError, WorldFluxError


def test_a_dataset_is_resolved_as_lerobot_does(
    hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path
) -> None:
    """Without a revision tag v3.0 is taken, whatever main says, and the record has tag and commit."""
    repo = hub.add("me/pusht", pusht, "dataset", refs={"v2.1": "", "v3.0": "", "note": ""})
    found = imported("lerobot-dataset:me/pusht", tmp_path)
    assert contents(found.folder) == pusht
    assert (found.record["names"], found.record["commit"]) == (["v3.0"], repo.commit)
    assert found.record["origin"]["refs"] == ["main", "note", "v2.1", "v3.0"]
    assert found.record["license"] == "mit"
    assert found.record["facts"]["episodes"] == 6 and found.record["facts"]["robot_type"] == "pusht_2d"


def test_metadata_comes_before_recordings(hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path) -> None:
    """All of meta/ is here before the first recording is asked for."""
    hub.add("me/pusht", pusht, "dataset", refs={"v3.0": ""})
    imported("lerobot-dataset:me/pusht", tmp_path)
    order = [request.path for request in hub.asked("/resolve/")]
    last_meta = max(at for at, path in enumerate(order) if "/meta/" in path)
    first_recording = min(at for at, path in enumerate(order) if "/data/" in path or "/videos/" in path)
    assert last_meta < first_recording


def test_meta_only_of_a_dataset(hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path) -> None:
    """`--meta-only` brings what inspect needs and no recording."""
    hub.add("me/pusht", pusht, "dataset", refs={"v3.0": ""})
    found = imported("lerobot-dataset:me/pusht", tmp_path, meta_only=True)
    assert not [path for path in contents(found.folder) if path.startswith(("data/", "videos/"))]
    assert found.record["selection"] == {"meta_only": True, "episodes": None}


def test_episodes_bring_the_files_that_hold_them(
    hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path
) -> None:
    """`--episodes 0:3` brings the two data and video files of episodes 0 to 3, and later ones add up."""
    hub.add("me/pusht", pusht, "dataset", refs={"v3.0": ""})
    found = imported("lerobot-dataset:me/pusht", tmp_path, episodes="0:3")
    recordings = sorted(path for path in contents(found.folder) if path.startswith(("data/", "videos/")))
    assert [path[-11:-4] for path in recordings if path.endswith(".mp4")] == ["ile-000", "ile-001"]
    assert len(recordings) == 4
    assert found.record["selection"]["episodes"] == "0:3" and not found.record["complete"]
    more = imported("lerobot-dataset:me/pusht", tmp_path, episodes="5")
    assert more.record["selection"]["episodes"] == "0:3,5:6"
    assert more.record["complete"] is False
    hub.requests.clear()
    assert not imported("lerobot-dataset:me/pusht", tmp_path, episodes="1:3").fresh
    assert hub.asked("/resolve/") == []
    whole = imported("lerobot-dataset:me/pusht", tmp_path)
    assert whole.record["complete"] and contents(whole.folder) == pusht


def test_episodes_beyond_the_last_are_refused(
    hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path
) -> None:
    """The dataset's number of episodes is in the error, and no recording was brought."""
    hub.add("me/pusht", pusht, "dataset", refs={"v3.0": ""})
    with pytest.raises(UsageError, match="has 6 episodes"):
        bring("lerobot-dataset:me/pusht", Wanted(episodes="4:9"), home=tmp_path)
    assert not hub.asked("/data/")


def test_an_old_dataset_is_taken_when_its_revision_is_named(hub: StandInHub, tmp_path: Path) -> None:
    """v2.1 only: refused with the conversion command; named, it comes in, by episode, with the problem."""
    info = dataset_info(
        codebase_version="v2.1",
        chunks_size=2,
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )
    files = {"meta/info.json": json.dumps(info).encode(), "meta/episodes.jsonl": b"{}\n"}
    for episode in range(6):
        files[f"data/chunk-{episode // 2:03d}/episode_{episode:06d}.parquet"] = b"d%d" % episode
        files[f"videos/chunk-{episode // 2:03d}/observation.image/episode_{episode:06d}.mp4"] = (
            b"v%d" % episode
        )
    hub.add("me/old", files, "dataset", refs={"v2.1": ""})
    with pytest.raises(UsageError) as caught:
        bring("lerobot-dataset:me/old", home=tmp_path)
    assert caught.value.code == "old_format" and "convert_dataset_v21_to_v30" in caught.value.hint
    found = imported("lerobot-dataset:me/old@v2.1", tmp_path, episodes="3")
    recordings = [path for path in contents(found.folder) if path.startswith(("data/", "videos/"))]
    assert sorted(recordings) == [
        "data/chunk-001/episode_000003.parquet",
        "videos/chunk-001/observation.image/episode_000003.mp4",
    ]
    assert found.record["problems"][0]["code"] == "format"


def test_a_dataset_without_a_version_tag_is_refused_as_lerobot_refuses_it(
    hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path
) -> None:
    """No tag that is a version: the error says so and how to take main anyway."""
    hub.add("me/pusht", pusht, "dataset")
    with pytest.raises(UsageError) as caught:
        bring("lerobot-dataset:me/pusht", home=tmp_path)
    assert caught.value.code == "no_version" and "@main" in caught.value.hint
    assert imported("lerobot-dataset:me/pusht@main", tmp_path).record["names"] == ["main"]


def test_hostile_path_templates_do_nothing(hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path) -> None:
    """A template that climbs out or pokes at objects names a file the listing does not have."""
    for template in ("../../{chunk_index}", "{chunk_index.__class__}", "{0}", "{chunk_index:999999999d}"):
        info = json.dumps(dataset_info(data_path=template)).encode()
        hub.add("me/evil", {**pusht, "meta/info.json": info}, "dataset", refs={"v3.0": ""})
        with pytest.raises(WorldFluxError) as caught:
            bring("lerobot-dataset:me/evil", Wanted(episodes="0:1"), home=tmp_path)
        assert caught.value.code == "bad_metadata"
