"""Flies a controller in LunarLander-v3 and scores each episode.

Writes episodes.json and, when frames can be rendered, landings.png into the current folder. Series
are appended to the file that WORLDFLUX_METRICS names, when it is set.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Callable
from statistics import fmean, pstdev
from typing import Any

import gymnasium
from gymnasium.envs.box2d.lunar_lander import heuristic

ENVIRONMENT = "LunarLander-v3"
#: Worlds of one seed: seed s flies in the worlds s * SPAN, s * SPAN + 1, ...
SPAN = 100_000
#: Landings on the contact sheet, and steps between two exposures of one.
PICTURES, EXPOSE_EVERY = 6, 15

Policy = Callable[[gymnasium.Env[Any, Any], Any], int]


def make_policy(name: str, world: int) -> Policy:
    """The package's hand-written controller, or one that ignores what it sees."""
    if name == "heuristic":
        return lambda env, observation: int(heuristic(env, observation))
    rng = random.Random(world)
    return lambda env, observation: rng.randrange(env.action_space.n)


def fly(env: gymnasium.Env[Any, Any], policy: Policy, world: int) -> tuple[dict[str, Any], list[Any]]:
    """One episode: its scores and, when `env` renders, its frames."""
    observation, _ = env.reset(seed=world)
    frames, total, length, over = [], 0.0, 0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(policy(env, observation))
        total, length, over = total + float(reward), length + 1, terminated or truncated
        if env.render_mode and (over or length % EXPOSE_EVERY == 1):
            frames.append(env.render())
    # The last reward tells how an episode ended: +100 at rest, -100 crashed or out of sight.
    ending = "time limit" if not terminated else "landed" if reward > 0 else "crashed"
    threshold = env.spec.reward_threshold
    scores = {
        "world": world,
        "return": round(total, 4),
        "length": length,
        "ending": ending,
        "success": total >= threshold,
    }
    return scores, frames


def evaluate(policy: str, episodes: int, seed: int) -> list[dict[str, Any]]:
    """Scores of all episodes; each has a world and a policy of its own, so any can be flown again."""
    worlds = range(seed * SPAN, seed * SPAN + episodes)
    with gymnasium.make(ENVIRONMENT) as env:
        return [fly(env, make_policy(policy, world), world)[0] for world in worlds]


def draw_landings(policy: str, episodes: list[dict[str, Any]], path: str) -> None:
    """Flies some episodes again, from the best to the worst, and draws each as a multiple exposure.

    Raises:
        RuntimeError: an episode went another way than when it was scored.
    """
    import contact_sheet

    ranked = sorted(episodes, key=lambda episode: episode["return"], reverse=True)
    count = min(PICTURES, len(ranked))
    places = [round(n * (len(ranked) - 1) / max(1, count - 1)) for n in range(count)]
    pictures = []
    with gymnasium.make(ENVIRONMENT, render_mode="rgb_array") as env:
        for scored in (ranked[place] for place in places):
            world = scored["world"]
            again, frames = fly(env, make_policy(policy, world), world)
            if again != scored:
                raise RuntimeError(f"world {world} went another way when it was flown again")
            ending = f"{scored['ending']} after {scored['length']} steps"
            caption = f"return {scored['return']:.0f}, {ending} (world {world})"
            pictures.append((caption, contact_sheet.exposure(frames)))
    contact_sheet.save(pictures, path)


def record(name: str, values: list[float]) -> None:
    """Appends a series, one line an episode, to the run's metrics if this is a run."""
    target = os.environ.get("WORLDFLUX_METRICS")
    if not target:
        return
    with open(target, "a", encoding="utf-8") as stream:
        for episode, value in enumerate(values):
            print(json.dumps({"name": name, "value": value, "step": episode}), file=stream)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=["heuristic", "random"], default="heuristic")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--render", choices=["auto", "never"], default="auto")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if not 1 <= chosen.episodes <= SPAN:
        parser.error(f"--episodes must be 1 to {SPAN}")
    if chosen.seed < 0:
        parser.error("--seed must be 0 or more")
    return chosen


def main() -> None:
    chosen = options()
    episodes = evaluate(chosen.policy, chosen.episodes, chosen.seed)
    document = {
        "environment": ENVIRONMENT,
        "policy": chosen.policy,
        "seed": chosen.seed,
        "episodes": episodes,
    }
    with open("episodes.json", "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1)
    returns = [episode["return"] for episode in episodes]
    record("episode_return", returns)
    record("episode_length", [episode["length"] for episode in episodes])
    print(
        f"{chosen.policy} in {ENVIRONMENT}: return {fmean(returns):.1f} ± {pstdev(returns):.1f}, "
        f"{sum(e['success'] for e in episodes)} of {len(episodes)} episodes solved, "
        f"{sum(e['ending'] == 'crashed' for e in episodes)} crashed"
    )
    if chosen.render == "never":
        print("not rendered: --render never")
        return
    try:
        draw_landings(chosen.policy, episodes, "landings.png")
        print("rendered landings.png: episodes from the best to the worst")
    except Exception as error:  # a picture is a bonus: whatever stops it must not cost the scores
        print(f"not rendered: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
