"""What of LeRobot's evaluator is known to stop an evaluation, told before it is begun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def policy_faults(record: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Why an imported policy can not be evaluated, one sentence each with its thread; empty when it can.

    Args:
        record: the import's record.
        environ: looked at for HF_TOKEN, which gated second repos need.
    """
    found = []
    if record["selection"]["meta_only"]:
        found.append(f"only its metadata is here; import the rest: worldflux import {record['id']}")
    for problem in record["problems"]:
        if "eval" in problem["stops"]:
            threads = f" ({', '.join(problem['sources'])})" if problem["sources"] else ""
            found.append(problem["text"] + threads)
    for need in record["facts"]["needs"]:
        if need["gated"] and not environ.get("HF_TOKEN"):
            found.append(f"it fetches the gated {need['repo']} when it is loaded, and HF_TOKEN is not set")
    return found
