"""`worldflux runtime`: the places where commands run."""

from __future__ import annotations

import argparse

from worldflux.cli.answer import Answer


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list", help="registered runtimes", description="Names of all registered runtimes."
    )
    listing.set_defaults(function=list_names)
    checking = actions.add_parser(
        "doctor", help="check runtimes", description="Run every runtime's own checks."
    )
    checking.add_argument("name", nargs="?", metavar="NAME", help="only this runtime")
    checking.set_defaults(function=doctor)


def list_names(args: argparse.Namespace) -> Answer:
    from worldflux.runtime.dispatcher import list_runtimes

    names = list_runtimes()
    return Answer({"runtimes": names}, "\n".join(names))


def doctor(args: argparse.Namespace) -> Answer:
    from worldflux.runtime.dispatcher import doctor_all, get_runtime

    report = {args.name: get_runtime(args.name).doctor()} if args.name else doctor_all()
    return report_answer(report)


def report_answer(report: dict[str, list[str]]) -> Answer:
    """Checks by section: exit code 1 when a line starts with `error:`."""
    lines = []
    for section, checks in report.items():
        lines.append(section)
        lines += [f"  {line}" for line in checks]
    errors = [
        f"{section}: {line}"
        for section, checks in report.items()
        for line in checks
        if line.startswith("error:")
    ]
    error = None
    if errors:
        error = {
            "code": "doctor",
            "message": "; ".join(errors),
            "hint": "mend these; runs are blocked",
            "details": {},
        }
    return Answer(
        {"checks": report, "errors": len(errors)}, "\n".join(lines), exit_code=1 if errors else 0, error=error
    )
