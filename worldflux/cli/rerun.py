"""`worldflux runs rerun`: a recorded run once more, and whether it gives the same."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from worldflux.cli import render
from worldflux.cli.answer import Answer
from worldflux.errors import UsageError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.config.project import Project
    from worldflux.config.request import RunRequest
    from worldflux.manifest.model import Manifest
    from worldflux.run.engine import RunRecord
    from worldflux.run.store import StoredRun

SHOWN_KEYS = 4


class Difference(NamedTuple):
    """Something that is not as it was when the run was recorded."""

    what: str
    then: str | None
    now: str | None
    text: str


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "Repeat a run with its own configuration and requirements, and say what else is not as it was "
        "(source, commit, versions). The new run names the old one as its parent."
    )
    parser = actions.add_parser("rerun", help="repeat a run from its manifest", description=text)
    parser.add_argument("run", metavar="RUN", help="id, start or end of it, last, last~1")
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare metrics when the recipe claims determinism: exit code 1 when they differ, 2 without claim",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print only how it ended")
    parser.add_argument("--dry-run", action="store_true", help="say what differs and run nothing")
    parser.set_defaults(function=rerun)


def rerun(args: argparse.Namespace) -> Answer:
    from worldflux.cli.live import Console
    from worldflux.cli.run import and_sync
    from worldflux.cli.session import carry_out
    from worldflux.config.project import load_project
    from worldflux.run import store
    from worldflux.run.observer import Silent

    project = load_project()
    stored = store.find(project.runs_dir, args.run)
    original = _original(stored, args.check)
    request = _request(stored, original, project)
    differences = [*_before(stored.folder, original, request, project)]
    if not args.json:
        _tell(original, stored.run_id, differences)
    if args.dry_run:
        return _answer(stored.run_id, None, differences, None, args.json)
    observer = Silent() if args.quiet or args.json else Console(sys.stdout)
    record = carry_out(request, project, observer, parent_id=stored.run_id)
    after = [*_after(original, record.manifest)]
    if not args.json:
        _tell(original, stored.run_id, after)
    check = _check(stored.folder, original, record) if args.check else None
    ended = _answer(stored.run_id, record, differences + after, check, args.json)
    return and_sync(ended, record, request.spec, project)


def _original(stored: StoredRun, check: bool) -> Manifest:
    """The record to repeat.

    Raises:
        UsageError: it is still running, or there is nothing to check against.
    """
    manifest = stored.manifest
    if manifest is None:
        raise WorldFluxError(f"run {stored.run_id}: {stored.problem}", f"ls {stored.folder}", code="manifest")
    if not manifest.final:
        raise UsageError(f"run {stored.run_id} has not ended yet", "wait for it, or stop it")
    if check and not manifest.determinism["claim"]:
        raise UsageError(
            f"recipe {manifest.recipe['name']} did not claim to be deterministic, so equal metrics are not due",
            "write `deterministic: true` into the recipe and run it, or leave --check out",
            code="no_claim",
        )
    if check and manifest.status != "succeeded":
        raise UsageError(
            f"run {stored.run_id} ended as {manifest.status}: there is nothing to compare with",
            f"worldflux runs rerun {stored.run_id}",
            code="no_original",
        )
    return manifest


def _request(stored: StoredRun, original: Manifest, project: Project) -> RunRequest:
    """The run's own configuration, with the requirements that its environment was built from."""
    import hashlib

    from worldflux.config.stored import recompose

    config = original.config
    lock = _recorded_lock(original)
    path = stored.folder / lock["path"] if "path" in lock else None
    if path is not None and not path.is_file():
        path = None
    if path is not None and hashlib.sha256(path.read_bytes()).hexdigest() != lock["sha256"]:
        raise WorldFluxError(
            f"{path.name} of run {stored.run_id} was changed after it was recorded",
            f"remove {path} to use the recipe's requirements of today",
            code="record",
        )
    return recompose(project, stored.folder / config["path"], config["sha256"], config["overrides"], path)


def _before(folder: Path, original: Manifest, request: RunRequest, project: Project) -> Iterator[Difference]:
    """What is known to differ before anything runs."""
    import tempfile

    from worldflux import __version__
    from worldflux.run.provenance import git_state, source_digest

    yield from _configuration(original, project)
    then, now = original.recipe["source"]["sha256"], source_digest(request.source_dir, folder.parent)
    if then is None or now is None:
        yield Difference("source", then, now, "the source can not be compared: it has no digest")
    elif then != now:
        yield Difference(
            "source", then, now, f"the source has other files ({then[:12]} then, {now[:12]} now)"
        )
    with tempfile.TemporaryDirectory(prefix="worldflux-") as scratch:
        state = git_state(project.root, Path(scratch))
    yield from _git(folder, dict(original.git or {}), dict(state))
    yield from _lock(original, request)
    version = original.producer["version"]
    if version != __version__:
        yield Difference("worldflux", version, __version__, f"worldflux {version} then, {__version__} now")


def _configuration(original: Manifest, project: Project) -> Iterator[Difference]:
    from worldflux.config.stored import changed_keys

    keys = changed_keys(project, original.config["overrides"], original.config["resolved"])
    if keys is None:
        text = "its overrides can not be composed any more; the recorded configuration is used"
        yield Difference("config", None, None, text)
    elif keys:
        shown = ", ".join(keys[:SHOWN_KEYS]) + (f" and {len(keys) - SHOWN_KEYS} more" if keys[4:] else "")
        text = f"its overrides would set other values today ({shown}); the recorded configuration is used"
        yield Difference("config", None, shown, text)


def _git(folder: Path, then: dict[str, Any], now: dict[str, Any]) -> Iterator[Difference]:
    before, after = then.get("commit"), now.get("commit")
    if before and before != after:
        text = f"the commit is another one ({before[:12]} then, {(after or 'none')[:12]} now)"
        yield Difference("commit", before, after, f"{text}; git checkout {before[:12]} brings it back")
    diff = then.get("diff")
    if then.get("dirty"):
        text = "the run was recorded with uncommitted changes"
        if diff:
            text += f", kept in {folder / diff['path']}"
        yield Difference("dirty", "yes", "yes" if now.get("dirty") else "no", text)
    elif now.get("dirty") and then.get("present"):
        yield Difference("dirty", "no", "yes", "there are uncommitted changes now")


def _lock(original: Manifest, request: RunRequest) -> Iterator[Difference]:
    import hashlib

    then = _recorded_lock(original).get("sha256")
    now = hashlib.sha256(request.lock.encode()).hexdigest() if request.lock else None
    if then != now and original.environment is not None:
        text = "the requirements are not those of the run, whose own were not kept"
        yield Difference("lock", then, now, text)


def _recorded_lock(manifest: Manifest) -> dict[str, Any]:
    """The manifest's entry for the run's requirements; empty when it had none."""
    environment = manifest.environment
    return dict(environment["lock"] or {}) if environment is not None else {}


def _after(original: Manifest, repeated: Manifest) -> Iterator[Difference]:
    """What is only known once it has run: the interpreter and the installed packages."""
    then, now = original.environment, repeated.environment
    if then is None or now is None:
        return
    before, after = then["python"]["version"], now["python"]["version"]
    if before != after:
        yield Difference("python", before, after, f"Python {before} then, {after} now")
    old, new = then["packages"], now["packages"]
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if names:
        listed = [f"{name} {old.get(name, 'absent')} then, {new.get(name, 'absent')} now" for name in names]
        shown = "; ".join(listed[:SHOWN_KEYS]) + (f" and {len(names) - SHOWN_KEYS} more" if names[4:] else "")
        yield Difference("packages", None, shown, f"other packages: {shown}")


def _tell(original: Manifest, run_id: str, differences: list[Difference]) -> None:
    for difference in differences:
        line = render.safe_line(f"{run_id[:8]}: {difference.text}")
        print(f"{render.paint('differs:', '33', sys.stderr)} {line}", file=sys.stderr, flush=True)


def _check(folder: Path, original: Manifest, record: RunRecord) -> dict[str, Any] | None:
    """Every metric of both runs, then and now; None when the repetition did not succeed.

    Values are compared exactly; a metric that was logged over time, point by point.
    """
    from worldflux.run.series import digests

    if record.manifest.status != "succeeded":
        return None
    old: dict[str, Any] = dict(original.metrics)
    new: dict[str, Any] = dict(record.manifest.metrics)
    curves, now = digests(folder), digests(record.folder)
    rows = []
    for name in sorted(old.keys() | new.keys()):
        then_value, now_value = old.get(name, {}).get("value"), new.get(name, {}).get("value")
        counts = [(each.get(name, {}).get("k"), each.get(name, {}).get("n")) for each in (old, new)]
        last = then_value == now_value and counts[0] == counts[1]
        curve = curves.get(name) == now.get(name)
        row = {"name": name, "then": then_value, "now": now_value, "equal": last and curve}
        rows.append({**row, "series_equal": curve})
    return {"equal": all(row["equal"] for row in rows), "metrics": rows}


def _answer(
    run_id: str,
    record: RunRecord | None,
    differences: list[Difference],
    check: dict[str, Any] | None,
    as_json: bool,
) -> Answer:
    from worldflux.cli.run import answer, describe

    data: dict[str, Any] = {
        "original": run_id,
        "run": None if record is None else describe(record),
        "differences": [each._asdict() for each in differences],
        "check": check,
    }
    warnings = [each.text for each in differences] if as_json else []
    if record is None:
        count = len(differences)
        return Answer(data, f"{count or 'no'} difference{'' if count == 1 else 's'}; nothing was run")
    ended = answer(record)
    text, code, error = ended.text, ended.exit_code, ended.error
    if check is not None:
        text += "\n" + _check_text(check, run_id)
        if not check["equal"]:
            code, error = 1, _not_equal(check, run_id, record)
    return Answer(data, text, code, warnings, error)


def _not_equal(check: dict[str, Any], run_id: str, record: RunRecord) -> dict[str, Any]:
    names = [row["name"] for row in check["metrics"] if not row["equal"]]
    return {
        "code": "not_reproduced",
        "message": f"{len(names)} of {len(check['metrics'])} metrics differ from run {run_id}",
        "hint": "the recipe claims determinism: look at what else differs, then at the recipe",
        "details": {"run_id": record.run_id, "metrics": names},
    }


def _check_text(check: dict[str, Any], run_id: str) -> str:
    rows = check["metrics"]
    if not rows:
        return f"check: neither run has a metric; nothing to compare with {run_id}"
    if check["equal"]:
        told = render.paint("reproduced", "32;1", sys.stdout)
        return f"check: {told}: {len(rows)} metrics equal those of {run_id}"
    lines = [f"check: {render.paint('not reproduced', '31;1', sys.stdout)}: other metrics than {run_id}"]
    for row in rows:
        if row["equal"]:
            continue
        if row["then"] == row["now"]:
            lines.append(f"  {row['name']}  the same at the end ({row['now']}), another curve")
        else:
            lines.append(f"  {row['name']}  {_shown(row['then'])} then, {_shown(row['now'])} now")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """A value in full: two that differ in the last digit must look different."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "absent" if value is None else str(value)
