"""`worldflux-run`: the Hydra application.

One run is composed directly. Everything that is Hydra's own (sweeps, `--cfg`, `--info`, shell
completion, other launchers and sweepers) goes through `hydra.main`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from worldflux.cli import render
from worldflux.cli.answer import Answer
from worldflux.cli.main import unexpected
from worldflux.cli.overrides import normalize, split_flags
from worldflux.errors import Interrupted, WorldFluxError

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMAND = "worldflux-run"
HYDRA_DEFAULTS = {
    "hydra/sweeper": "worldflux",
    "hydra/launcher": "worldflux",
    "hydra/job_logging": "none",
    "hydra/hydra_logging": "none",
}
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
        code = _dispatch(words)
    except WorldFluxError as error:
        _raise_when_debugging()
        code = render.show_error(error, COMMAND, False)
    except KeyboardInterrupt:
        code = render.show_error(Interrupted("stopped"), COMMAND, False)
    except Exception as error:
        _raise_when_debugging()
        code = render.show_error(_hydra_error(error), COMMAND, False)
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
        return _one(overrides)
    return _through_hydra(flags, overrides)


def _help() -> str:
    from worldflux.config.project import load_project
    from worldflux.config.recipes import all_recipes, group_options

    project = load_project()
    return HELP.format(
        recipes=", ".join(all_recipes(project)), runtimes=", ".join(group_options(project, "runtime"))
    )


def _one(overrides: list[str]) -> int:
    from worldflux.config.compose import Composer
    from worldflux.config.project import load_project

    project = load_project()
    return _report(Composer(project).compose(overrides))


def _report(request: Any) -> int:
    from worldflux.cli.live import Console
    from worldflux.cli.run import answer
    from worldflux.cli.session import carry_out
    from worldflux.config.project import load_project

    record = carry_out(request, load_project(), Console(sys.stdout))
    return render.show(answer(record), COMMAND, False)


def task(config: DictConfig) -> int:
    """One job that Hydra composed: carried out here, its code returned; other launchers call it."""
    from hydra.core.hydra_config import HydraConfig

    from worldflux.config.compose import Composer
    from worldflux.config.project import load_project

    overrides = list(HydraConfig.get().overrides.task)
    code = _report(Composer(load_project()).finish(config, overrides))
    if code:
        raise SystemExit(code)
    return code


def _through_hydra(flags: list[str], overrides: list[str]) -> int:
    import hydra

    from worldflux.config.project import builtin_dir
    from worldflux.config.sources import register

    typed = {text.partition("=")[0].lstrip("+~") for text in overrides}
    chosen = [f"{key}={value}" for key, value in HYDRA_DEFAULTS.items() if key not in typed]
    querying = any(flag in ("-sc", "--shell-completion") for flag in flags)
    sys.argv[1:] = [*flags, *overrides, *([] if querying else chosen)]
    register()
    # Without it Hydra prints errors of its own making and ends the process with code 1.
    quiet = os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    version = {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}
    try:
        hydra.main(config_path=str(builtin_dir("conf")), config_name="worldflux", **version)(task)()
    finally:
        if quiet == "1":
            os.environ.pop("HYDRA_FULL_ERROR", None)
    return 0


def _hydra_error(error: Exception) -> WorldFluxError:
    """Hydra's and OmegaConf's own errors as one block of ours; anything else as unexpected."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(error, HydraException | OmegaConfBaseException | ValueError):
        return unexpected(error)
    from worldflux.errors import UsageError

    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    cause = str(error.__cause__ or "").splitlines()
    return UsageError("\n".join([*lines[:8], *cause[:1]]) or type(error).__name__, "worldflux-run --help")


if __name__ == "__main__":
    main()
