"""`worldflux curated`: what is known of a model before it is paid for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from worldflux.cli.answer import Answer
from worldflux.errors import UsageError

if TYPE_CHECKING:
    from worldflux.catalog.showing import Machine


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="models, environments and imports",
        description="Models of the catalog with their GPU memory floors, and what was imported.",
        epilog="worldflux curated list --task eval --fits    what this machine can evaluate",
    )
    listing.add_argument("--family", metavar="F", help="only this family, such as vla or latent-world-model")
    listing.add_argument("--task", metavar="T", help="only models for generate, rollout, eval or train")
    listing.add_argument("--level", metavar="L", help="only production, experimental or disabled there")
    listing.add_argument("--fits", action="store_true", help="only what is known to fit the machine")
    listing.add_argument("--environments", action="store_true", help="simulators instead of models")
    listing.add_argument("--datasets", action="store_true", help="imported datasets instead of models")
    _add_machine(listing)
    listing.set_defaults(function=list_entries)
    showing = actions.add_parser(
        "inspect",
        help="one entry in full",
        description="One entry in full: memory floors against the machine, licenses, known issues, support.",
    )
    showing.add_argument("id", metavar="ID", help="of a model, an environment or an import")
    _add_machine(showing)
    showing.set_defaults(function=inspect)
    removing = actions.add_parser(
        "remove",
        help="take an import away again",
        description="Remove what `worldflux import` brought of a repo, finished or not, from this machine: every "
        "commit, or the one after @. Records of runs that used it keep its commit and digests.",
    )
    removing.add_argument(
        "id", metavar="ID", help="lerobot:OWNER/NAME[@REV] or lerobot-dataset:OWNER/NAME[@REV]"
    )
    removing.set_defaults(function=remove)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the machine to measure against (default: this one)")
    group.add_argument("--runtime", metavar="R", help="a runtime; its configured machine type is taken")
    group.add_argument(
        "--machine", metavar="M", help="a machine type of the runtime, such as L4 or g5.xlarge"
    )
    group.add_argument("--vram", type=float, metavar="GB", help="a card with so much memory")


def remove(args: argparse.Namespace) -> Answer:
    from worldflux.catalog.reference import parse
    from worldflux.catalog.shelf import Shelf
    from worldflux.cli.curated_text import size_text

    reference = parse(args.id)
    gone = Shelf.at().remove(reference)
    if not gone:
        kind = "--datasets" if reference.kind == "dataset" else ""
        raise UsageError(
            f"{reference} was not imported", f"worldflux curated list {kind}".rstrip(), code="not_imported"
        )
    rows = [{"commit": each.commit, "finished": each.finished, "bytes": each.bytes} for each in gone]
    lines = [
        f"removed {reference.id} at {each.commit[:12]}, {size_text(each.bytes)}"
        + ("" if each.finished else " (it was not finished)")
        for each in gone
    ]
    return Answer({"id": reference.id, "kind": reference.kind, "removed": rows}, "\n".join(lines))


def list_entries(args: argparse.Namespace) -> Answer:
    from worldflux.catalog import builtin, showing
    from worldflux.catalog.finding import all_entries, pick
    from worldflux.catalog.shelf import Shelf
    from worldflux.cli import curated_text

    if args.environments:
        found = [showing.environment(raw) for raw in builtin.environments().values()]
        return Answer(_listed(environments=found), curated_text.environments(found))
    if args.datasets:
        datasets = [showing.dataset(record) for record in Shelf.at().entries("dataset")]
        return Answer(_listed(datasets=datasets), curated_text.datasets(datasets))
    machine = machine_of(args)
    entries = pick(
        all_entries().values(),
        family=args.family,
        task=args.task,
        runtime=args.runtime or ("local" if args.level else None),
        level=args.level,
        cards=machine.sizes,
        fits=args.fits,
    )
    tasks = [args.task] if args.task else None
    rows = [showing.summary(entry, machine, tasks) for entry in entries]
    data = {**_listed(entries=rows), "machine": showing.machine_json(machine)}
    return Answer(data, curated_text.entries(rows, data["machine"], fits=args.fits))


def _listed(**found: Any) -> dict[str, Any]:
    return {"entries": [], "environments": [], "datasets": [], "machine": None, **found}


def inspect(args: argparse.Namespace) -> Answer:
    from worldflux.catalog import builtin, showing
    from worldflux.catalog.finding import get
    from worldflux.cli import curated_text

    environment = builtin.environments().get(args.id)
    if environment is not None:
        shown = showing.environment(environment)
        return Answer(_inspected(environment=shown), curated_text.environment(shown))
    if args.id.startswith("lerobot-dataset:"):
        return _inspect_dataset(args.id)
    machine = machine_of(args)
    details = showing.details(get(args.id), machine)
    place = showing.machine_json(machine)
    return Answer(_inspected(entry=details, machine=place), curated_text.details(details, place))


def _inspected(**found: Any) -> dict[str, Any]:
    return {"entry": None, "environment": None, "dataset": None, "machine": None, **found}


def _inspect_dataset(name: str) -> Answer:
    from worldflux.catalog.reference import parse
    from worldflux.catalog.shelf import Shelf
    from worldflux.cli import curated_text
    from worldflux.errors import UsageError

    berth = Shelf.at().find(parse(name))
    record = berth.entry() if berth is not None else None
    if berth is None or record is None:
        raise UsageError(f"{name} is not imported", f"worldflux import {name}", code="unknown_dataset")
    shown = {**record, "folder": str(berth.files)}
    return Answer(_inspected(dataset=shown), curated_text.dataset(shown))


def machine_of(args: argparse.Namespace) -> Machine:
    """The machine that --runtime, --machine and --vram speak of; this one without them.

    Raises:
        UsageError: no such machine type, or options that do not go together.
    """
    from worldflux.catalog.machines import cards_of
    from worldflux.catalog.showing import Machine
    from worldflux.errors import UsageError

    runtime = args.runtime or "local"
    if args.vram is not None:
        if not 0 <= args.vram < 100_000:
            raise UsageError(
                "--vram is the memory of one card in GB", "--vram 24; 0 is a machine without a GPU"
            )
        cards = ((f"{args.vram:g} GB", round(args.vram * 10**9)),) if args.vram else ()
        return Machine(f"a card of {args.vram:g} GB" if args.vram else "no GPU", runtime, cards)
    if args.machine:
        if not args.runtime:
            raise UsageError("--machine needs the runtime it belongs to", "--runtime modal --machine L4")
        sizes = cards_of(runtime, args.machine)
        return Machine(f"{runtime} {args.machine}", runtime, tuple((args.machine, size) for size in sizes))
    if runtime != "local":
        return _configured(runtime)
    return Machine("this machine", "local", tuple(own_cards()))


def own_cards() -> list[tuple[str, int]]:
    """Name and bytes of each GPU of this machine."""
    from worldflux.run.machine import hardware

    found = hardware()["accelerators"]
    return [(each["model"], each["memory_bytes"]) for each in found if each["memory_bytes"]]


def _configured(runtime: str) -> Machine:
    """A runtime's machine as its configuration file names it."""
    from worldflux.catalog.machines import known_cards, machines_of
    from worldflux.catalog.showing import Machine
    from worldflux.config.project import builtin_dir, load_project
    from worldflux.config.yaml_file import read_yaml

    for folder in (load_project().root / "conf", builtin_dir("conf")):
        path = folder / "runtime" / f"{runtime}.yaml"
        if path.is_file():
            content = read_yaml(path, path.name)[0]
            options = content if isinstance(content, dict) else {}
            sizes = known_cards(runtime, options)
            if sizes is not None:
                machine = next(iter(machines_of(runtime, options)), "")
                return Machine(
                    f"{runtime} {machine}".rstrip(), runtime, tuple((machine, each) for each in sizes)
                )
    return Machine(f"{runtime}, machine type not known", runtime, None)
