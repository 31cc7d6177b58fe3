"""One run with everything that a run can have."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fill import VariedRun, cost, curve
from films import png

from worldflux.manifest.model import success_metric

DIFF = b"""diff --git a/run.py b/run.py
--- a/run.py
+++ b/run.py
@@ -1,2 +1,2 @@
-steps = 100
+steps = 200
 train(steps)
"""
LOG = b"".join(b"line %d of the log\n" % number for number in range(3000)) + (
    b"\x1b[31mred alert\x1b[0m <b>bold</b>\n"
)
ADAPTER = {
    "id": "lerobot/diffusion",
    "support": "experimental",
    "facts": {
        "title": "Diffusion policy",
        "known_issues": ["crashes above horizon 64"],
        "license": {"code": "MIT"},
    },
}
ENVIRONMENT = {
    "os": "Debian GNU/Linux 12",
    "platform": "Linux-6.1",
    "python": {"implementation": "CPython", "version": "3.11.7"},
    "lock": {"path": "requirements.lock", "sha256": "1" * 64},
    "packages": {"numpy": "2.2.6", "torch": "2.9.0"},
    "variables": {"OMP_NUM_THREADS": "1"},
    "forwarded": ["HF_TOKEN"],
}
HARDWARE = {
    "cpu": {"model": "AMD EPYC", "logical": 16, "physical": 8},
    "memory_bytes": 137438953472,
    "accelerators": [{"vendor": "NVIDIA", "model": "H100", "memory_bytes": 85899345920}],
    "driver": "570.1",
    "cuda": "12.8",
}
GIT = {
    "present": True,
    "commit": "ab" * 20,
    "branch": "main",
    "remote": "https://example.org/r.git",
    "dirty": True,
    "untracked": [],
    "diff": {
        "path": "source.diff",
        "bytes": len(DIFF),
        "sha256": hashlib.sha256(DIFF).hexdigest(),
        "truncated": False,
    },
}
MEDIA_TYPES = {
    "film.webm": "video/webm",
    "view.png": "image/png",
    "report.json": "application/json",
    "table.csv": "text/csv",
    "source.diff": "text/x-diff",
}


def rich_run(film: bytes, **more: Any) -> VariedRun:
    """The run; `more` replaces fields."""
    fields: dict[str, Any] = {
        "name": "rich run",
        "metrics": {
            "success": success_metric(41, 50),
            "loss": {"value": 0.125, "step": 299, "kind": "value"},
            "odd": {"value": "NaN", "kind": "value"},
        },
        "params": {"recipe": "push-eval", "seed": 4, "params": {"lr": 0.1}},
        "series": curve(4, 0.1, 300),
        "logs": {"output": LOG, "sim": b"second log\n"},
        "adapter": ADAPTER,
        "runtime": "modal",
        "tags": ["nightly"],
        "artifacts": {
            "film.webm": film,
            "view.png": png(48, 250, 120, 90),
            "report.json": json.dumps({"mean": [1, {"deep": True}]}).encode(),
            "table.csv": b'name,score\n"a, b",0.5\nc,1\n',
            "source.diff": DIFF,
            "weights.bin": bytes(range(256)),
        },
        "media_types": MEDIA_TYPES,
        "edit": {
            "cost": cost(1.25),
            "config/overrides": ["+recipe=push-eval", "params.lr=0.1", "params.note='two words'"],
            "environment": ENVIRONMENT,
            "hardware": HARDWARE,
            "git": GIT,
        },
    }
    return VariedRun(**{**fields, **more})
