"""`worldflux run`: one recipe, here and now."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from worldflux.cli.answer import Answer
from worldflux.errors import UsageError

if TYPE_CHECKING:
    from worldflux.config.project import Project
    from worldflux.config.spec import RunSpec
    from worldflux.run.engine import RunRecord

FLAGS_OF_HYDRA = ("-m", "--multirun", "--cfg", "--info", "-sc", "--shell-completion")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="RECIPE|KEY=VALUE", help="a recipe, then what to change in it"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print only how it ended")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, show what would run, run nothing"
    )
    for flag in FLAGS_OF_HYDRA:
        parser.add_argument(flag, dest="hydra", action="store_const", const=flag, help=argparse.SUPPRESS)
    parser.epilog = (
        "Without RECIPE the project's default recipe runs. Examples: worldflux run cpu-smoke seed=3; "
        "worldflux run tiny-jepa-eval params.episodes=5. Sweeps: worldflux-run --multirun."
    )
    parser.set_defaults(function=run)


def overrides_of(words: list[str], project: Project) -> list[str]:
    """Hydra overrides from what was typed: an optional recipe's name, then KEY=VALUE.

    Raises:
        UsageError: no recipe is named and the project has no default, or two are named.
    """
    from worldflux.cli.overrides import normalize

    names = [word for word in words if "=" not in word and not word.startswith("~")]
    changes = [word for word in words if word not in names]
    if len(names) > 1:
        raise UsageError(
            f"one recipe at a time: {', '.join(names)}", f"worldflux-run -m +recipe={','.join(names)}"
        )
    chosen = any(change.lstrip("+").startswith("recipe=") for change in changes)
    if not names and not chosen:
        if project.recipe is None:
            from worldflux.config.recipes import all_recipes

            known = ", ".join(all_recipes(project))
            raise UsageError(
                "no recipe is named, and the project has no default", f"worldflux run NAME; recipes: {known}"
            )
        names = [project.recipe]
    return normalize([f"recipe={name}" for name in names] + changes)


def run(args: argparse.Namespace) -> Answer:
    from worldflux.cli.correction import with_next_command
    from worldflux.cli.live import Console
    from worldflux.cli.session import carry_out, make_plugin
    from worldflux.config.cache import compose_cached
    from worldflux.config.project import load_project
    from worldflux.run.observer import Silent

    if args.hydra:
        raise UsageError(f"`{args.hydra}` is a flag of worldflux-run", "worldflux-run --help")
    project = load_project()
    overrides = overrides_of(args.words, project)
    with with_next_command(overrides, lambda right: _typed(args, right)):
        request = compose_cached(project, overrides)
    if args.dry_run:
        from worldflux.run.preflight import look_up

        plugin = make_plugin(request, project)
        found = look_up(request)
        if found.refused is not None:
            raise found.refused
        plan = _plan(request, plugin)
        plan.warnings += found.warnings
        return plan
    observer = Silent() if args.quiet or args.json else Console(sys.stdout)
    record = carry_out(request, project, observer)
    return and_sync(answer(record), record, request.spec, project)


def _typed(args: argparse.Namespace, overrides: list[str]) -> str:
    """The command as it was typed, with these overrides; the recipe is the first of them."""
    import shlex

    flags = [f"--{name.replace('_', '-')}" for name in ("quiet", "dry_run", "json") if getattr(args, name)]
    return shlex.join(["worldflux", "run", *(text.removeprefix("+recipe=") for text in overrides), *flags])


def and_sync(ended: Answer, record: RunRecord, spec: RunSpec, project: Project) -> Answer:
    """With `sync=on`, bring the run to the server and say so; the exit code stays the run's own."""
    if not spec.sync:
        return ended
    from worldflux.cli.sync_after import add_to

    return add_to(ended, project, record.folder.parent, record.run_id)


def answer(record: RunRecord) -> Answer:
    """The end of a run as an answer."""
    from worldflux.cli.live import summary

    return Answer(
        data=describe(record),
        text=summary(record),
        exit_code=record.exit_code,
        error=_error(record),
        warnings=[],
    )


def describe(record: RunRecord) -> dict[str, Any]:
    """A finished run as data."""
    manifest = record.manifest
    return {
        "run_id": record.run_id,
        "status": manifest.status,
        "recipe": manifest.recipe["name"],
        "runtime": manifest.runtime["name"],
        "exit_code": manifest.run["exit_code"],
        "duration_seconds": manifest.run["duration_seconds"],
        "metrics": {name: metric["value"] for name, metric in manifest.metrics.items()},
        "manifest": str(record.folder / "manifest.json"),
        "warnings": record.warnings,
    }


def _error(record: RunRecord) -> dict[str, Any] | None:
    error = record.manifest.run["error"]
    return None if error is None else {**error, "details": {"run_id": record.run_id}}


def _plan(request: Any, plugin: Any) -> Answer:
    """What would run; a runtime that can plan adds where, until when, and for how much."""
    from worldflux.cli.render import duration

    spec = request.spec
    data = {
        "recipe": spec.recipe,
        "runtime": spec.runtime.name,
        "command": [str(word) for word in request.parameters["command"]],
        "source_dir": str(request.source_dir),
        "seed": spec.seed,
        "timeout": spec.timeout,
        "environment": bool(request.lock),
        "forwards": [name.removesuffix("?") for name in (*spec.env.pass_, *spec.runtime.env.pass_)],
        "budget_usd": spec.cost_guard.max_usd,
    }
    lines = [
        f"recipe    {spec.recipe}",
        f"runtime   {spec.runtime.name}",
        f"command   {' '.join(data['command'])}",
        f"source    {request.source_dir}",
        f"seed      {spec.seed}",
        f"timeout   {duration(spec.timeout) or 'none'}",
        f"forwards  {', '.join(data['forwards']) or 'no variable'}",
    ]
    plan = getattr(plugin, "plan", None)
    if plan is not None:
        facts = {"source_dir": request.source_dir, "timeout": spec.timeout, "variables": data["forwards"]}
        data["plan"] = plan(facts)
        lines += data["plan"]
    return Answer(data, "\n".join([*lines, "nothing was run"]))
