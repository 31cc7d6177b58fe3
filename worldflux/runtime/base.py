"""The contract between the engine and a place where commands run.

A runtime plugin is a class with a `name` and four methods. The engine calls them in this
order, from one thread: `doctor` and `build_env` before anything is started, `run` once,
`teardown` always, even when `build_env` or `run` raised. `cancel` is optional and is the
only method that may be called from another thread; asked again, it ends the run at once.

A place that goes on without this computer may offer more, all of it optional:

    plan(facts) -> list[str]        what a run would do and cost, for `--dry-run`; starts nothing.
                                    `facts`: source_dir, timeout, variables (names)
    attach(ctx) -> RuntimeResult    take up a run whose client died, and stay to its end
    reap(runs=(), *, end=True)      what is alive over there: (rows, problems); ends what is past its
                                    deadline, and the named runs

A plugin may have attributes that the engine sets to functions, before it calls `build_env`:

    on_progress(text)               told, in short lines, what takes time in `build_env`
    on_started()                    told when the command runs: provenance is gathered beside it
    on_ended()                      told when a run uses nothing any more but its record is still to be
                                    written, so that a sweep may start the next one

A plugin is proven by inheriting `worldflux.testing.RuntimeSuite` in its test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

#: Values of `RuntimeResult.metadata["outcome"]` that the engine understands.
OUTCOMES = ("exited", "signalled", "timeout", "cancelled", "refused", "interrupted")

#: What a plugin finds in a run's folder when it is called with a context: made by who calls it, not by the plugin.
FOLDERS = ("artifacts", "logs")

#: Keys of `manifest.runtime` that the engine writes itself; metadata must not use them.
RESERVED_METADATA = frozenset({"name", "plugin", "plugin_version", "support", "options"})


@dataclass(frozen=True)
class Adapter:
    """What a runtime must materialise before the command can run.

    Attributes:
        id: catalog id such as `lerobot/act`, or the recipe's name when it names none.
        python: PEP 440 specifier for the interpreter (`>=3.10`); empty accepts any.
        lock: text of a requirements file with hashes; empty when the command needs no
            environment of its own.
        allow_unpinned: `lock` may hold requirements without hashes; the runtime resolves and
            locks them first.
    """

    id: str
    python: str = ""
    lock: str = ""
    allow_unpinned: bool = False


def furnish(output_dir: Path) -> None:
    """Make the `FOLDERS` of a run's folder, as far as they are not there."""
    for name in FOLDERS:
        (output_dir / name).mkdir(exist_ok=True)


@dataclass(frozen=True)
class RuntimeContext:
    """Everything a plugin may know about one run.

    Attributes:
        adapter_id: id of the adapter `build_env` was called with.
        task: generate, rollout, eval or train.
        output_dir: the run's folder, with the `FOLDERS` in it. The command's working directory is
            `output_dir / "artifacts"`, the log is `output_dir / "logs" / f"{run_id}.log"`.
        install_dir: folder for environments and caches that outlive the run.
        source_dir: folder with the files of the recipe; the plugin must not write there.
        venv_python: what `build_env` returned: the interpreter to use for `python`;
            None means the runtime's own.
        timeout: seconds of running time after which the command must be ended; None is no limit.
        env_vars: variables for the command, beyond the runtime's own base set. May hold
            secret values: a plugin hands them to the command and to nothing else.
        extra_args: appended to the command as they are.
        run_id: unique, time-ordered id of the run; also the key for tags of remote resources.
    """

    adapter_id: str
    task: str
    output_dir: Path
    install_dir: Path
    source_dir: Path
    venv_python: Path | None
    timeout: float | None
    env_vars: Mapping[str, str]
    extra_args: Sequence[str]
    run_id: str


@dataclass(frozen=True)
class RuntimeResult:
    """What happened.

    Attributes:
        exit_code: the command's own code; minus the signal number when a signal ended it,
            and also when the runtime ended it (timeout, cancel).
        duration_seconds: seconds the command ran, on a monotonic clock.
        log_path: file with stdout and stderr, byte exact, below `output_dir`.
        artifacts: files that the runtime brought to `output_dir / "artifacts"`; a runtime that
            shares the file system may leave it empty.
        cost_estimate_usd: estimated cost in US dollars; None when it is not known or free.
        metadata: JSON-serialisable facts; each becomes a leaf under `manifest.runtime`. The key
            `outcome` is one of `OUTCOMES` and defaults to what `exit_code` says; the key
            `variables` holds variables of the command that are safe to record, and goes to
            `manifest.environment.variables` instead. A runtime on another machine reports that
            machine under `environment` and `hardware`, and its price under `cost`; these are the
            manifest's own parts of those names, and None where the machine told nothing.
    """

    exit_code: int
    duration_seconds: float
    log_path: Path
    artifacts: Sequence[Path] = ()
    cost_estimate_usd: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class RuntimePlugin(Protocol):
    """A place where commands run.

    Class attribute `name` is what users write as `runtime=NAME`: lower case letters, digits
    and dashes. A runtime whose runs cost money has a class attribute `paid = True`.
    """

    name: str

    def doctor(self) -> list[str]:
        """One line per check, for people. A line that starts with `error:` blocks runs.

        Must not raise, must not change anything and must not cost money.
        """

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        """Materialise the adapter's environment and return its Python interpreter.

        Called again with the same adapter it returns an equal result and does no work twice.
        Returns None when the command runs on the runtime's own interpreter.

        Raises:
            WorldFluxError: the environment can not be built; nothing half-built is left
                that a later call would take for whole.
        """

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        """Run the command to its end and return what happened.

        An exit code other than 0 is a result, not an exception. When it returns or raises, no
        process of the command is left alive.

        Raises:
            WorldFluxError: the command could not be started at all.
        """

    def teardown(self, ctx: RuntimeContext) -> None:
        """Release what `run` holds. Silent when there is nothing to release, also twice."""
