"""Files as LeRobot writes them, made small."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from worldflux.catalog.builtin import DATA
from worldflux.catalog.importer import Imported, Wanted, bring


def safetensors(tensors: dict[str, tuple[str, list[int]]], fill: bytes = b"\x01") -> bytes:
    """A safetensors file with these tensors, all bytes alike."""
    sizes = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = sizes[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + fill * end


ACT_CONFIG: dict[str, Any] = {
    "type": "act",
    "n_obs_steps": 1,
    "input_features": {"observation.state": {"type": "STATE", "shape": [2]}},
    "output_features": {"action": {"type": "ACTION", "shape": [2]}},
    "device": "cpu",
    "use_peft": False,
    "license": None,
    "pretrained_path": None,
    "pretrained_revision": None,
    "chunk_size": 16,
    "n_action_steps": 8,
}


def processor(*steps: tuple[str, dict[str, Any]]) -> bytes:
    found = [{"registry_name": name, "config": config} for name, config in steps]
    return json.dumps({"name": "policy_preprocessor", "steps": found}).encode()


def dataset_info(**changes: Any) -> dict[str, Any]:
    info: dict[str, Any] = {
        "codebase_version": "v3.0",
        "robot_type": "pusht_2d",
        "fps": 10,
        "total_episodes": 6,
        "total_frames": 360,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "splits": {"train": "0:6"},
        "features": {
            "observation.image": {"dtype": "video", "shape": [96, 96, 3], "info": {"video.codec": "av1"}},
            "observation.state": {"dtype": "float32", "shape": [2]},
            "action": {"dtype": "float32", "shape": [2]},
        },
    }
    return {**info, **changes}


def episodes_table(path: Path, rows: list[dict[str, Any]]) -> bytes:
    """The bytes of a meta/episodes file with these rows."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path.read_bytes()


def import_act(folder: Path) -> str:
    """Write an ACT policy of four files, import it, and return its id."""
    folder = folder / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(ACT_CONFIG))
    (folder / "model.safetensors").write_bytes(safetensors({"w": ("F32", [5])}))
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        (folder / name).write_bytes(processor())
    return str(bring(str(folder)).record["id"])


RECORD = Draft202012Validator(json.loads((DATA / "schema" / "import.v1.schema.json").read_bytes()))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def imported(what: str, home: Path, **wanted: Any) -> Imported:
    found = bring(what, Wanted(**wanted), home=home)
    RECORD.validate(found.record)
    return found
