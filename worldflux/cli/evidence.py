"""`worldflux evidence`: packages that others can verify, and the keys that sign them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.cli import render
from worldflux.cli.answer import Answer
from worldflux.errors import UsageError

if TYPE_CHECKING:
    from worldflux.evidence.build import Built
    from worldflux.evidence.trust import Trust
    from worldflux.evidence.verify import Report

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _register_build(actions)
    _register_verify(actions)
    from worldflux.cli import evidence_keys, evidence_ledger

    evidence_ledger.register(actions)
    evidence_keys.register(actions)


def _register_build(actions: Any) -> None:
    building = actions.add_parser(
        "build",
        help="pack a run",
        description="Pack a run that has ended: a BagIt bag with an RO-Crate and signed in-toto statements.",
    )
    building.add_argument(
        "run", nargs="?", default="last", metavar="RUN", help="id, start or end of it, last, last~1"
    )
    building.add_argument(
        "--out",
        "-o",
        metavar="OUT",
        help="where to write (default: evidence or evidence.zip in the run's folder)",
    )
    building.add_argument("--zip", action="store_true", help="one archive instead of a folder")
    building.add_argument("--force", action="store_true", help="replace what is there")
    signing = building.add_mutually_exclusive_group()
    signing.add_argument(
        "--sign",
        metavar="KEY",
        help="name of a key or a PEM file (default: the key `default`, or the only one)",
    )
    signing.add_argument("--unsigned", action="store_true", help="do not sign, though there is a key")
    signing.add_argument(
        "--keyless", action="store_true", help="sign as who you are signed in as, by Sigstore"
    )
    building.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave files outside by digest, such as 'logs/*'; may be repeated",
    )
    building.add_argument(
        "--limit",
        metavar="SIZE",
        help="artifacts above this stay outside by digest, such as 500M (default 2G)",
    )
    building.add_argument(
        "--license", default="", metavar="SPDX", help="license of the package, such as CC-BY-4.0"
    )
    building.add_argument("--author", default="", metavar="NAME", help="who carried out the run")
    building.add_argument("--author-id", default="", metavar="URI", help="such as an ORCID")
    building.set_defaults(function=build)


def _register_verify(actions: Any) -> None:
    verifying = actions.add_parser(
        "verify",
        help="judge a package, offline",
        description="Judge a package layer by layer, without the network. Exit code 1 when a layer fails.",
    )
    verifying.add_argument(
        "what", nargs="?", default="last", metavar="DIR|ZIP|RUN", help="a package, or a run of this project"
    )
    verifying.add_argument(
        "--signer", metavar="KEY", help="only this key counts: a trusted key's name or id, or a PEM file"
    )
    verifying.add_argument(
        "--require",
        action="append",
        default=[],
        choices=["signature", "ledger"],
        help="fail when this layer has nothing to show; may be repeated",
    )
    verifying.add_argument("--identity", metavar="WHO", help="a keyless signature counts when it is by WHO")
    verifying.add_argument("--issuer", metavar="URL", help="and this sign-in vouches for WHO")
    verifying.set_defaults(function=verify)


def build(args: argparse.Namespace) -> Answer:
    from worldflux.cli.evidence_packing import pack, proof_of, signer_of
    from worldflux.config.project import load_project
    from worldflux.evidence.build import Options
    from worldflux.evidence.contents import DEFAULT_LIMIT
    from worldflux.evidence.crate import Attribution
    from worldflux.run import store

    project = load_project()
    stored = store.find(project.runs_dir, args.run)
    options = Options(
        key=signer_of(project, named=args.sign, unsigned=args.unsigned, keyless=args.keyless),
        limit=_bytes(args.limit) if args.limit else DEFAULT_LIMIT,
        exclude=args.exclude,
        said=Attribution(args.license, args.author, args.author_id),
        proof=proof_of(project, stored.folder),
    )
    out = Path(args.out) if args.out else stored.folder / ("evidence.zip" if args.zip else "evidence")
    built = pack(project, stored.folder, out, options, archive=args.zip, replace=args.force, quiet=args.json)
    return Answer(described(built), _built_text(built), warnings=_warnings(built, args))


def described(built: Built) -> dict[str, Any]:
    """A finished package as data."""
    return {
        "run_id": built.run_id,
        "path": str(built.path),
        "signed_by": built.signer,
        "files": built.files,
        "bytes": built.size,
        "sha256": built.sha256,
        "left_out": [
            {"path": each.path, "sha256": each.sha256, "bytes": each.size, "reason": each.reason}
            for each in built.left_out
        ],
    }


def _warnings(built: Built, args: argparse.Namespace) -> list[str]:
    said = []
    if built.signer is None and not args.unsigned:
        from worldflux.cli.evidence_keys import keys_dir
        from worldflux.evidence import keys

        if keys.names(keys_dir()):
            said.append("unsigned, for no key is called `default`: --sign NAME (worldflux evidence key list)")
        else:
            said.append("unsigned, for there is no key: worldflux evidence key create")
    return said


def _built_text(built: Built) -> str:
    lines = [
        f"{built.path}",
        f"  {built.files} files, {render.size(built.size)}, "
        + (f"signed by {built.signer}" if built.signer else "unsigned"),
    ]
    lines += [f"  outside by digest: {each.path} ({each.reason})" for each in built.left_out]
    return "\n".join([*lines, f"next: worldflux evidence verify {built.path}"])


def verify(args: argparse.Namespace) -> Answer:
    from worldflux.cli.evidence_packing import reading_bar
    from worldflux.evidence.verify import verify_path

    if bool(args.identity) != bool(args.issuer):
        raise UsageError("--identity and --issuer belong together", "--identity you@example.org --issuer URL")
    trust = _trust(args)
    with reading_bar("verify", quiet=args.json) as progress:
        report = verify_path(_place(args.what), trust, progress)
    lacking = [name for name in args.require if report.layer(name).status != "pass"]
    failed = report.state in ("invalid", "signed") or bool(lacking)
    data = {**report.to_json(), "required": args.require, "ok": not failed}
    error = None
    if failed:
        error = {
            "code": "evidence",
            "message": _why(report, lacking),
            "hint": _what_now(report),
            "details": {"layers": {layer.name: layer.status for layer in report.layers}},
        }
    warnings = (
        []
        if failed or report.layer("signature").status == "pass"
        else ["unsigned: anybody could have made it"]
    )
    return Answer(data, _report_text(report, lacking), int(failed), warnings, error)


def _why(report: Report, lacking: list[str]) -> str:
    failing = [layer.name for layer in report.layers if layer.status == "fail"]
    if failing:
        return f"the package does not hold: {', '.join(failing)}"
    if lacking:
        return f"the package has no {' and no '.join(lacking)} that counts"
    return report.layer("signature").summary


def _what_now(report: Report) -> str:
    if report.state == "signed":
        return "if you know whose key it is: worldflux evidence key trust NAME FILE"
    return "ask whoever gave it to you for the original"


def _report_text(report: Report, lacking: list[str]) -> str:
    words = {"pass": "ok", "fail": "FAILED", "unknown": "unknown", "none": "-"}
    rows = [[layer.name, words[layer.status], layer.summary] for layer in report.layers]
    lines = [f"{report.kind} {report.where}", f"run {report.run_id or '-'}", ""]
    lines.append(render.table(rows, ["layer", "result", ""]))
    for layer in report.layers:
        lines += [
            f"  {layer.name}: {render.safe_line(each.where)}: {render.safe_line(each.problem)}"
            for each in layer.faults
        ]
    lines += ["", f"{report.state.upper()}" + (f" (required: {', '.join(lacking)})" if lacking else "")]
    return "\n".join([*lines, *report.means()])


def _place(what: str) -> Path:
    """The package or folder that is meant: a path, or a run of this project and its newest package."""
    path = Path(what)
    if path.exists():
        return path
    if "/" in what or what.endswith(".zip"):
        raise UsageError(f"there is no {what}", "worldflux evidence build RUN makes a package")
    from worldflux.config.project import load_project
    from worldflux.run import store

    folder = store.find(load_project().runs_dir, what).folder
    found = [folder / name for name in ("evidence.zip", "evidence") if (folder / name).exists()]
    return max(found, key=lambda each: each.lstat().st_mtime) if found else folder


def _trust(args: argparse.Namespace) -> Trust:
    from worldflux.cli.evidence_keys import keys_dir
    from worldflux.evidence.keys import read_public
    from worldflux.evidence.trust import trust_of

    trust = trust_of(keys_dir())
    if args.identity:
        trust.identities.append((args.identity, args.issuer))
    if args.signer:
        if Path(args.signer).is_file():
            trust.signers = [read_public(Path(args.signer), Path(args.signer).name)]
        else:
            known = trust.signers
            trust.signers = [key for key in known if args.signer in (key.name, key.key_id)]
            if not trust.signers:
                names = ", ".join(key.name for key in known) or "none"
                raise UsageError(f"no key `{args.signer}` is known", f"known: {names}")
        args.require = list(dict.fromkeys([*args.require, "signature"]))
    return trust


def _bytes(text: str) -> int:
    """A size such as 500M: bytes, or k, M, G, T for powers of 1000."""
    number, unit = text.strip().rstrip("bB"), ""
    if number and number[-1].isalpha():
        number, unit = number[:-1], number[-1].lower()
    try:
        return int(float(number) * _UNITS[unit])
    except (KeyError, ValueError, OverflowError):
        raise UsageError(f"--limit {text}: not a size", "--limit 500M, --limit 2G") from None
