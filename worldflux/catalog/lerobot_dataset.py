"""What a LeRobot dataset repo is: its revision as LeRobot picks it, its metadata, its episodes' files."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from worldflux.catalog.card import plain
from worldflux.errors import UsageError, WorldFluxError

#: The dataset version that lerobot 0.4 to 0.6 reads.
CODEBASE = (3, 0)

INFO = "meta/info.json"

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?((?:\.\d+)*)\Z")
_FIELD = re.compile(r"\{(\w+)(?::0?(\d+)d)?\}")
_RANGE = re.compile(r"(\d+)(?::(\d+))?\Z")


def resolve_version(refs: Iterable[str], repo: str) -> str:
    """The branch or tag that LeRobot loads when no revision is given.

    It reads every ref as a version and takes v3.0, else the newest lower minor of the same major.

    Raises:
        UsageError: no ref is a version, or all are of another major.
    """
    versions: dict[tuple[int, int], str] = {}
    for ref in refs:
        match = _VERSION.match(ref)
        if match and not match[3].strip(".0"):
            versions.setdefault((int(match[1]), int(match[2] or 0)), ref)
    if CODEBASE in versions:
        return versions[CODEBASE]
    near = [version for version in versions if version[0] == CODEBASE[0] and version < CODEBASE]
    if near:
        return versions[max(near)]
    name = f"lerobot-dataset:{repo}"
    if not versions:
        problem = f"the dataset {repo} has no version tag, so LeRobot would refuse it too"
        hint = f"name a revision yourself: worldflux import {name}@main, or ask its owner to tag it v3.0"
        raise UsageError(problem, hint, code="no_version")
    newest = versions[max(versions)]
    if max(versions) < CODEBASE:
        problem = (
            f"the dataset {repo} is only there in the older format {newest}, which lerobot 0.4 to 0.6 refuse"
        )
        hint = (
            f"convert it (python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id={repo}), "
            f"or take it as it is: worldflux import {name}@{newest}"
        )
        raise UsageError(problem, hint, code="old_format")
    problem = f"the dataset {repo} is only there in the newer format {newest}"
    raise UsageError(problem, f"take it as it is: worldflux import {name}@{newest}", code="new_format")


def info_of(text: bytes | None, repo: str) -> dict[str, Any]:
    """meta/info.json.

    Raises:
        UsageError: there is none, or it is not one of LeRobot's.
    """
    hint = f"a LeRobot dataset has {INFO} with codebase_version, fps and features"
    if text is None:
        raise UsageError(f"{repo} is not a LeRobot dataset: it has no {INFO}", hint, code="not_a_dataset")
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    if not isinstance(info, dict) or not isinstance(info.get("features"), dict):
        raise UsageError(f"the {INFO} of {repo} is not one of LeRobot's", hint, code="not_a_dataset")
    return info


def facts_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata worth showing, as plain JSON."""
    features, videos = {}, {}
    for name, feature in info["features"].items():
        if not isinstance(feature, dict):
            continue
        key = plain(name) or "?"
        shape = feature.get("shape")
        sizes = [size for size in shape if isinstance(size, int)] if isinstance(shape, list) else []
        features[key] = {"dtype": plain(feature.get("dtype"), 32), "shape": sizes}
        if feature.get("dtype") == "video":
            details = feature.get("info") or feature.get("video_info")
            videos[key] = plain(details.get("video.codec"), 32) if isinstance(details, dict) else None
    splits = info.get("splits")
    return {
        "codebase_version": plain(info.get("codebase_version"), 32),
        "robot_type": plain(info.get("robot_type")),
        "fps": info.get("fps") if isinstance(info.get("fps"), int | float) else None,
        "episodes": _count(info, "total_episodes"),
        "frames": _count(info, "total_frames"),
        "tasks": _count(info, "total_tasks"),
        "features": features,
        "video_codecs": videos,
        "splits": {plain(key) or "?": plain(value) for key, value in splits.items()}
        if isinstance(splits, dict)
        else {},
    }


def problems_of(facts: Mapping[str, Any]) -> list[str]:
    """What will stop LeRobot from reading the dataset."""
    match = _VERSION.match(facts["codebase_version"] or "")
    if match is None:
        return ["its info.json states no codebase_version"]
    if (int(match[1]), int(match[2] or 0))[0] < CODEBASE[0]:
        return [
            f"format {facts['codebase_version']}: lerobot 0.4 to 0.6 refuse it until it is converted "
            "(convert_dataset_v21_to_v30)"
        ]
    return []


def parse_episodes(text: str, total: int | None) -> list[int]:
    """Episode numbers from `0:10`, `7` or `0:10,20:25`; the end is not included, as in Python.

    Raises:
        UsageError: not such a list, or an episode the dataset does not have.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if match is None:
            raise UsageError(
                f"`{text}` is not a range of episodes", "write it as 0:10, or 0:10,20:25", code="bad_episodes"
            )
        first = int(match[1])
        end = int(match[2]) if match[2] else first + 1
        if end <= first or end - first > 10_000_000:
            raise UsageError(
                f"`{part}` holds no episode", "write it as 0:10: the end is not included", code="bad_episodes"
            )
        if total is not None and end > total:
            raise UsageError(
                f"the dataset has {total} episodes, `{part}` asks for more",
                f"they are 0:{total}",
                code="bad_episodes",
            )
        chosen.update(range(first, end))
    return sorted(chosen)


def episodes_text(episodes: Sequence[int]) -> str:
    """Episode numbers as short ranges: `0:10,20:25`."""
    parts: list[list[int]] = []
    for episode in sorted(set(episodes)):
        if parts and parts[-1][1] == episode:
            parts[-1][1] = episode + 1
        else:
            parts.append([episode, episode + 1])
    return ",".join(f"{first}:{end}" for first, end in parts)


def is_metadata(path: str) -> bool:
    """Whether a file is brought with the metadata: all but the recordings."""
    return not path.startswith(("data/", "videos/", "images/"))


def episode_files(info: Mapping[str, Any], folder: Path, episodes: Collection[int]) -> set[str]:
    """The data and video files that hold these episodes.

    Args:
        folder: the import's files, with meta/ complete.

    Raises:
        UsageError: `pyarrow` is missing, which reads where an episode is (v3 only).
        WorldFluxError: the metadata does not say where they are.
    """
    videos = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
    data_path, video_path = info.get("data_path"), info.get("video_path")
    if not isinstance(data_path, str) or (videos and not isinstance(video_path, str)):
        raise WorldFluxError(
            f"{INFO} does not say where the recordings are", "import all of it, without --episodes"
        )
    match = _VERSION.match(str(info.get("codebase_version")))
    rows = (
        _rows_v3(folder, videos, episodes)
        if match and int(match[1]) >= 3
        else _rows_v2(info, videos, episodes)
    )
    found = set()
    for values, by_video in rows:
        found.add(_fill(data_path, values))
        for key, where in by_video.items():
            found.add(_fill(str(video_path), {**where, "video_key": key}))
    return found


Row = tuple[dict[str, int], dict[str, dict[str, Any]]]


def _rows_v2(info: Mapping[str, Any], videos: Sequence[str], episodes: Iterable[int]) -> Iterable[Row]:
    """One file an episode, in chunks of a fixed size."""
    size = info.get("chunks_size")
    size = size if isinstance(size, int) and size > 0 else 1000
    for episode in episodes:
        values = {"episode_index": episode, "episode_chunk": episode // size}
        yield values, {key: dict(values) for key in videos}


def _rows_v3(folder: Path, videos: Sequence[str], episodes: Collection[int]) -> Iterable[Row]:
    """Many episodes share a file; meta/episodes says which."""
    need_pyarrow()
    import pyarrow
    from pyarrow import parquet

    wanted = set(episodes)
    columns = ["episode_index", "data/chunk_index", "data/file_index"]
    columns += [f"videos/{key}/{part}" for key in videos for part in ("chunk_index", "file_index")]
    for path in sorted((folder / "meta" / "episodes").glob("**/*.parquet")):
        try:
            for batch in parquet.ParquetFile(path).iter_batches(columns=columns):
                for row in batch.to_pylist():
                    if row["episode_index"] in wanted:
                        wanted.discard(row["episode_index"])
                        yield (
                            {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]},
                            {
                                key: {
                                    part: row[f"videos/{key}/{part}"]
                                    for part in ("chunk_index", "file_index")
                                }
                                for key in videos
                            },
                        )
        except (pyarrow.ArrowException, KeyError) as error:
            problem = f"meta/episodes can not be read: {type(error).__name__}"
            raise WorldFluxError(
                problem, "import all of it, without --episodes", code="bad_metadata"
            ) from None
    if wanted:
        missing = episodes_text(sorted(wanted))
        raise WorldFluxError(f"meta/episodes does not know the episodes {missing}", code="bad_metadata")


def need_pyarrow() -> None:
    """Refuse early when the reader of meta/episodes is missing. Raises UsageError."""
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None:
        problem = "--episodes needs pyarrow to read where each episode is"
        raise UsageError(
            problem, "pip install 'worldflux[datasets]', or import without --episodes", code="missing_extra"
        )


def _fill(template: str, values: Mapping[str, Any]) -> str:
    """A path template of info.json filled in. Never `str.format`: the template is a stranger's."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1])
        if found is None:
            raise WorldFluxError(f"{INFO} uses `{match[0]}`, which is not known", code="bad_metadata")
        width = min(int(match[2] or 0), 32)
        return f"{found:0{width}d}" if isinstance(found, int) else str(found)

    return _FIELD.sub(value, template)


def _count(info: Mapping[str, Any], key: str) -> int | None:
    value = info.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
