"""Rolls a controller out in HalfCheetah-v5 and scores each episode.

Writes rollouts.json and, when the machine can render, strip.png into the current folder. Series are
appended to the file that WORLDFLUX_METRICS names, when it is set. The physics never touch graphics:
pictures are made by a second program with the MUJOCO_GL that was given.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from controllers import CONTROLLERS, make_env

#: Worlds of one seed: seed s runs in the worlds s * SPAN, s * SPAN + 1, ...
SPAN = 100_000
RENDER_SECONDS = 120


def run_episode(env: Any, controller: str, world: int) -> dict[str, Any]:
    """Scores of one episode from its start to the environment's own limit."""
    act = CONTROLLERS[controller](world)
    _, info = env.reset(seed=world)
    start, total, step, over = info["x_position"], 0.0, 0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(act(step))
        total, step, over = total + float(reward), step + 1, terminated or truncated
    pitch = float(env.unwrapped.data.joint("rooty").qpos[0])
    return {
        "world": world,
        "return": round(total, 4),
        "distance": round(float(info["x_position"] - start), 4),
        "length": step,
        "upright": math.cos(pitch) > 0,
        "success": total >= env.spec.reward_threshold,
    }


def roll_out(controller: str, episodes: int, seed: int) -> list[dict[str, Any]]:
    """Scores of all episodes, computed with graphics switched off."""
    given = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        with make_env() as env:
            worlds = range(seed * SPAN, seed * SPAN + episodes)
            return [run_episode(env, controller, world) for world in worlds]
    finally:
        if given is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = given


def render(controller: str, world: int, path: str) -> str:
    """Draws one episode. Returns why there is no picture, or an empty text when there is one."""
    program = Path(__file__).with_name("render.py")
    command = [sys.executable, str(program), "--controller", controller, "--world", str(world), "--out", path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RENDER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no picture within {RENDER_SECONDS} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"the renderer was ended by signal {-done.returncode}"
    # The message is the last line that is not indented; what follows it is said while cleaning up.
    said = done.stderr.split("Exception ignored")[0].splitlines()
    messages = [line for line in said if line and not line.startswith(" ")]
    return messages[-1] if messages else f"the renderer ended with code {done.returncode}"


def record(name: str, values: list[float]) -> None:
    """Appends a series by episode; outside a run there is nowhere to append to."""
    if "WORLDFLUX_METRICS" in os.environ:
        lines = [json.dumps({"name": name, "value": v, "step": i}) for i, v in enumerate(values)]
        with open(os.environ["WORLDFLUX_METRICS"], "a", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--controller", choices=sorted(CONTROLLERS), default="gallop")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--render", choices=["auto", "never"], default="auto")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if not 1 <= chosen.episodes <= SPAN or chosen.seed < 0:
        parser.error(f"--episodes must be 1 to {SPAN}, --seed 0 or more")
    return chosen


def main() -> None:
    chosen = options()
    episodes = roll_out(chosen.controller, chosen.episodes, chosen.seed)
    scores = {"controller": chosen.controller, "seed": chosen.seed, "episodes": episodes}
    Path("rollouts.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    record("episode_return", [episode["return"] for episode in episodes])
    record("episode_distance", [episode["distance"] for episode in episodes])
    print(
        f"{chosen.controller}: mean return {fmean(e['return'] for e in episodes):.1f}, "
        f"mean distance {fmean(e['distance'] for e in episodes):.1f} m, "
        f"{sum(e['upright'] for e in episodes)} of {len(episodes)} ended upright, "
        f"{sum(e['success'] for e in episodes)} solved"
    )
    if chosen.render == "never":
        print("not rendered: --render never")
        return
    best = max(episodes, key=lambda episode: episode["return"])
    why = render(chosen.controller, best["world"], "strip.png")
    how = os.environ.get("MUJOCO_GL", "the default")
    print(f"not rendered with MUJOCO_GL={how}: {why}" if why else f"rendered strip.png with MUJOCO_GL={how}")


if __name__ == "__main__":
    main()
