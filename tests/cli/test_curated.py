"""`worldflux curated`: what people see before they pay."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest_cli import Run

SIX = [
    "lerobot/act",
    "openpi/pi05",
    "openvla/openvla-7b",
    "nvidia/gr00t-n1.7-3b",
    "tdmpc2/317m",
    "tiny-jepa/orby-v1",
]


def test_the_list_tells_floor_and_fit(wf: Run) -> None:
    """Each task has its floor and an answer for the machine that was named."""
    out = wf("curated", "list", "--family", "vla", "--runtime", "modal", "--machine", "L4").out
    row = next(line for line in out.splitlines() if line.startswith("nvidia/gr00t-n1.7-3b"))
    assert re.split(r"\s{2,}", row) == ["nvidia/gr00t-n1.7-3b", "16 GB yes", "40 GB no", "experimental"]
    assert "modal L4 (24 GB)" in out and "lerobot/act" not in out


def test_fits_on_a_machine_without_a_gpu(wf: Run) -> None:
    """What is known to run without a GPU is listed, and nothing else."""
    entries = wf("--json", "curated", "list", "--fits", "--vram", "0").envelope["data"]["entries"]
    assert [entry["id"] for entry in entries] == [
        "lerobot/act", "lerobot/tdmpc", "tiny-jepa/orby-hier-v1", "tiny-jepa/orby-v1",
    ]  # fmt: skip


@pytest.mark.parametrize("adapter", SIX)
def test_inspect_reads_well(wf: Run, adapter: str) -> None:
    """License, floors, support, issues and how to run it, in at most 100 columns, links apart."""
    out = wf("curated", "inspect", adapter, "--vram", "24").out
    for title in ("GPU memory, against a card of 24 GB", "Support", "Known issues", "How to run it"):
        assert title in out
    for label in ("family", "known as", "code", "weights"):
        assert re.search(rf"^  {label} +\S", out, re.MULTILINE), label
    assert not [
        line
        for line in out.splitlines()
        if len(line) > 100 and "https://" not in line and "worldflux" not in line
    ]
    assert "None" not in out and "null" not in out and "{" not in out


def test_inspect_keeps_contradicting_figures(wf: Run) -> None:
    """Who says what stays apart, and issues have their links."""
    out = wf("curated", "inspect", "openvla/openvla-7b").out
    for part in (
        "16 GB stated",
        "11 GB stated",
        "21 GB reported by user",
        "6 GB stated (int4",
        "openvla/openvla/issues/311",
    ):
        assert part in out
    assert "Llama 2 Community License" in out


def test_the_configured_machine_of_a_runtime_is_taken(wf: Run, project: Path) -> None:
    """`--runtime modal` alone measures against the GPU that the project's conf names."""
    folder = project / "conf" / "runtime"
    folder.mkdir(parents=True)
    (folder / "modal.yaml").write_text("gpu: A100-80GB\n")
    machine = wf("--json", "curated", "inspect", "openpi/pi0", "--runtime", "modal").envelope["data"][
        "machine"
    ]
    assert machine == {
        "name": "modal A100-80GB",
        "runtime": "modal",
        "gpus": [{"name": "A100-80GB", "gb": 80.0}],
    }


def test_a_machine_that_is_not_known_is_said_to_be(wf: Run) -> None:
    """Without a machine type the floor is shown and nothing is claimed."""
    data = wf("--json", "curated", "inspect", "openpi/pi0", "--runtime", "replicate").envelope["data"]
    assert data["machine"]["gpus"] is None
    assert {task["state"] for task in data["entry"]["tasks"]} == {"unknown"}


def test_what_a_runtime_comes_with_is_measured(wf: Run) -> None:
    """As shipped, the EC2 and Modal runtimes rent machines without a GPU, and the catalog knows it."""
    for runtime in ("aws-ec2", "modal"):
        data = wf("--json", "curated", "inspect", "openpi/pi0", "--runtime", runtime).envelope["data"]
        assert data["machine"]["gpus"] == []
        assert {task["state"] for task in data["entry"]["tasks"]} == {"too small"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["inspect", "lerobot/atc"], "did you mean `lerobot/act`?"),
        (["inspect", "lerobot:me/x"], "worldflux import lerobot:me/x"),
        (["inspect", "lerobot-dataset:me/x"], "worldflux import lerobot-dataset:me/x"),
        (["list", "--task", "evaluate"], "tasks: generate, rollout, eval, train"),
        (["list", "--family", "vlla"], "did you mean `vla`?"),
        (["list", "--level", "beta"], "production"),
        (["list", "--machine", "L4"], "--runtime modal --machine L4"),
        (["list", "--runtime", "modal", "--machine", "L44"], "did you mean `L4`?"),
        (["list", "--vram", "-1"], "--vram 24"),
    ],
)
def test_wrong_words_are_answered(wf: Run, words: list[str], part: str) -> None:
    """A mistake is one block with the right word or the next command, and exit code 2."""
    ended = wf("curated", *words)
    assert ended.code == 2 and ended.out == ""
    assert part in ended.err and "Traceback" not in ended.err


def test_environments(wf: Run) -> None:
    """Simulators are listed with what they install, and shown with what breaks."""
    assert "gym-pusht==0.1.8" in wf("curated", "list", "--environments").out
    out = wf("curated", "inspect", "crafter").out
    assert "repeats   no" in out and "danijar/crafter/issues/36" in out


@pytest.mark.serial
def test_the_list_is_quick() -> None:
    """`curated list` costs at most eight bare interpreter starts: it imports nothing heavy."""

    def fastest(*words: str) -> float:
        times = []
        for _ in range(7):
            begun = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            times.append(time.perf_counter() - begun)
        return min(times)

    assert fastest("-m", "worldflux.cli.main", "curated", "list") < 8 * fastest("-c", "import json, argparse")


def test_nothing_heavy_is_imported() -> None:
    """Neither requests nor jsonschema nor a thread pool is loaded to show the catalog."""
    program = (
        "import sys\nfrom worldflux.cli.main import main\n"
        "try:\n    main(['curated', 'list'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'requests', 'jsonschema', 'pydantic', 'yaml', 'rich', 'concurrent.futures'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
