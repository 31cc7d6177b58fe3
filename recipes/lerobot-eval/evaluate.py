"""Run LeRobot's evaluator on the policy that the run names as its input.

The policy is where WORLDFLUX_INPUT_POLICY says. Where the run is on another machine only its name
and commit are known there; then it is fetched at that commit, never at a branch that may move.
Options after those below go to lerobot-eval as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys

#: Newest first; LeRobot moved its evaluator.
MODULES = ("lerobot.scripts.lerobot_eval", "lerobot.scripts.eval")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", required=True)
    parser.add_argument("--env", required=True)
    parser.add_argument("--episodes", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--seed", type=int, required=True)
    options, more = parser.parse_known_args()
    refuse_known_faults(options, more)
    words = [
        f"--policy.path={folder_of(options.policy)}",
        f"--policy.device={options.device}",
        f"--env.type={options.env}",
        f"--eval.n_episodes={options.episodes}",
        f"--eval.batch_size={options.batch_size}",
        "--eval.use_async_envs=false",
        f"--seed={options.seed}",
        "--output_dir=.",
        *more,
    ]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", evaluator(), *words])


def refuse_known_faults(options: argparse.Namespace, more: list[str]) -> None:
    """Stop before minutes are spent on what LeRobot 0.6.1 is known to die of."""
    recording = "--eval.recording=true" in [word.lower() for word in more]
    if recording and options.episodes > options.batch_size:
        sys.exit(
            "error: with --eval.recording=true it stops at the second batch (huggingface/lerobot#4530)\n"
            f"  set params.batch_size={options.episodes}, or leave recording out"
        )
    if any(word.startswith("--trust_remote_code") for word in more):
        sys.exit("error: --trust_remote_code would run code of the Hub that no lock pins\n  leave it out")


def evaluator() -> str:
    """The module of the installed LeRobot."""
    for name in MODULES:
        try:
            if importlib.util.find_spec(name) is not None:
                return name
        except ModuleNotFoundError:
            continue
    sys.exit("error: this environment has no LeRobot\n  keep env.requirements of the recipe")


def folder_of(policy: str) -> str:
    """The folder of the policy: where the run says it is, else fetched at the commit the run says."""
    here = os.environ.get("WORLDFLUX_INPUT_POLICY")
    if here:
        return here
    commit = os.environ.get("WORLDFLUX_INPUT_POLICY_REVISION")
    if not commit or policy.startswith("lerobot:local/"):
        sys.exit(
            "error: the policy is not on this machine\n  import it from the Hub, or run on the local runtime"
        )
    from huggingface_hub import snapshot_download

    return str(snapshot_download(policy.removeprefix("lerobot:").split("@")[0], revision=commit))


if __name__ == "__main__":
    main()
