"""`worldflux-run`: the Hydra application.

One run is composed directly. Everything that is Hydra's own (sweeps, `--cfg`, `--info`, shell
completion, other launchers and sweepers) goes through `hydra.main`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from worldflux import interrupts
from worldflux.cli import answer_interrupts, render
from worldflux.cli.answer import Answer
from worldflux.cli.correction import with_next_command
from worldflux.cli.main import unexpected
from worldflux.cli.overrides import normalize, split_flags
from worldflux.errors import Interrupted, WorldFluxError

COMMAND = "worldflux-run"
HELP = """\
usage: worldflux-run +recipe=NAME [KEY=VALUE ...] [--multirun] [Hydra flags]

Run a recipe and leave one manifest. Flags and overrides may stand in any order.

  +recipe=NAME            what to run (recipes: {recipes})
  runtime=NAME            where to run it (runtimes: {runtimes})
  params.KEY=VALUE        a setting of the recipe
  seed=N                  its seed
  timeout=10m             the longest it may run
  cost_guard.max_usd=5    what one run may cost
  project=P name=N tags=[a,b]   how it is filed
  sync=on                 bring it to the server when it has ended (worldflux sync --help)

  -m, --multirun          sweep: every combination of comma-separated values
                          worldflux-run -m +recipe=a,b runtime=local seed=1,2
      --cfg job           print the configuration and run nothing (--resolve fills values in)
      --info [WHAT]       how the configuration came together
  -sc install=bash        shell completion: eval "$(worldflux-run -sc install=bash)"
      --hydra-help        all of Hydra's own flags
      --version           print the version

exit codes: 0 ok, 1 the run failed, 2 wrong usage or configuration, 3 try again later,
4 refused by a guard, 5 not signed in or not allowed, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run what was typed and exit with the documented code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        answer_interrupts()
        code = _dispatch(words)
    except WorldFluxError as error:
        _raise_when_debugging()
        code = render.show_error(error, COMMAND, False)
    except KeyboardInterrupt:
        interrupts.end()
        code = render.show_error(Interrupted("stopped"), COMMAND, False)
    except Exception as error:
        _raise_when_debugging()
        code = render.show_error(unexpected(error), COMMAND, False)
    interrupts.end()
    sys.exit(code)


def _raise_when_debugging() -> None:
    if os.environ.get("WORLDFLUX_DEBUG") or os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise


def _dispatch(words: list[str]) -> int:
    flags, overrides = split_flags(words)
    if "--version" in flags:
        from worldflux import __version__

        return render.show(Answer({}, f"worldflux {__version__}"), COMMAND, False)
    if "--help" in flags or "-h" in flags:
        return render.show(Answer({}, _help()), COMMAND, False)
    overrides = normalize(overrides)
    if all(flag in ("--run", "-r") for flag in flags):
        from worldflux.cli.sweep import check_single

        check_single(overrides)
        return _one(flags, overrides)
    return _through_hydra(flags, overrides)


def _help() -> str:
    from worldflux.config.project import load_project
    from worldflux.config.recipes import all_recipes, group_options

    project = load_project()
    return HELP.format(
        recipes=", ".join(all_recipes(project)), runtimes=", ".join(group_options(project, "runtime"))
    )


def _one(flags: list[str], overrides: list[str]) -> int:
    from worldflux.config.cache import compose_cached
    from worldflux.config.project import load_project

    with with_next_command(overrides, _typed(flags)):
        request = compose_cached(load_project(), overrides)
    return _report(request)


def _typed(flags: list[str]) -> Callable[[list[str]], str]:
    def typed(overrides: list[str]) -> str:
        import shlex

        return shlex.join([COMMAND, *flags, *overrides])

    return typed


def _report(request: Any) -> int:
    from worldflux.cli.live import Console
    from worldflux.cli.run import and_sync, answer
    from worldflux.cli.session import carry_out
    from worldflux.config.project import load_project

    project = load_project()
    record = carry_out(request, project, Console(sys.stdout))
    return render.show(and_sync(answer(record), record, request.spec, project), COMMAND, False)


def task(config: Any) -> Any:
    """One job that Hydra composed, carried out here; the launchers of other packages call it, too.

    Returns:
        The objective of a sweep's job; 0 without one.

    Raises:
        JobFailed: a sweep's job did not succeed. A single run ends the process with its code.
    """
    from worldflux.config.hydra_main import chosen_sweeper, composed_by_hydra

    if chosen_sweeper() is not None:
        from worldflux.cli.worker import hydra_job

        return hydra_job(config)
    code = _report(composed_by_hydra(config))
    if code:
        raise SystemExit(code)
    return code


def _is_ours(flags: list[str], overrides: list[str]) -> bool:
    """Whether this is a sweep with our own sweeper and launcher, for which Hydra need not be set up.

    That takes as long as a dozen short jobs: it imports every plugin that is installed, and composes twice.
    """
    from worldflux.config.project import load_project
    from worldflux.config.recipes import mentions

    typed = any(text.lstrip("+~").startswith("hydra") for text in overrides)
    return set(flags) <= {"-m", "--multirun"} and not typed and not mentions(load_project(), b"hydra")


def _through_hydra(flags: list[str], overrides: list[str]) -> int:
    if _is_ours(flags, overrides):
        from worldflux.cli.sweep import sweep

        with with_next_command(overrides, _typed(flags)):
            sweep(overrides, {}, None)
    from worldflux.config.hydra_main import run_hydra

    run_hydra(flags, overrides, task)
    return 0


if __name__ == "__main__":
    main()
