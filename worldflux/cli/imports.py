"""`worldflux import`: a LeRobot policy or dataset into the catalog."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from worldflux.cli.answer import Answer

if TYPE_CHECKING:
    from worldflux.catalog.importer import Imported


def register(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Bring a LeRobot policy or dataset into the catalog, pinned to a commit, every file checked. "
        "Interrupted, the same command goes on where it was. Nothing of it is executed."
    )
    parser.epilog = (
        "Gone again: worldflux curated remove ID. HF_ENDPOINT names another Hub; HF_TOKEN is for private "
        "and gated repos and goes to the Hub only."
    )
    parser.add_argument(
        "what", metavar="WHAT", help="lerobot:OWNER/NAME[@REV], lerobot-dataset:OWNER/NAME[@REV], or a folder"
    )
    parser.add_argument(
        "--meta-only", action="store_true", help="only the metadata: no weights, no recordings"
    )
    parser.add_argument("--episodes", metavar="N:M", help="only these episodes of a dataset, such as 0:10")
    parser.set_defaults(function=bring_in)


def bring_in(args: argparse.Namespace) -> Answer:
    from worldflux.catalog.importer import Wanted, bring
    from worldflux.cli.transfer_bar import transfer_bar

    with transfer_bar(quiet=args.json) as progress:
        found = bring(args.what, Wanted(args.meta_only, args.episodes), progress=progress)
    record = found.record
    data = {
        "id": record["id"],
        "kind": record["kind"],
        "commit": record["commit"],
        "names": record["names"],
        "fresh": found.fresh,
        "complete": record["complete"],
        "selection": record["selection"],
        "files": record["files"],
        "bytes": record["bytes"],
        "sha256": record["sha256"],
        "license": record["license"],
        "folder": str(found.folder),
        "problems": record["problems"],
    }
    return Answer(data, _text(found), warnings=[problem["text"] for problem in record["problems"]])


def _text(found: Imported) -> str:
    from worldflux.cli.curated_text import size_text

    record = found.record
    verb = "imported" if found.fresh else "already here:"
    part = "" if record["complete"] else f" of {record['listed_files']} ({_part(record)})"
    lines = [
        f"{verb} {record['id']} at {record['commit'][:12]}",
        f"  {record['files']} files{part}, {size_text(record['bytes'])}",
        f"  license {record['license'] or 'unknown'} ({record['license_from']})",
        f"  {found.folder}",
        f"next: worldflux curated inspect {record['id']}",
    ]
    return "\n".join(lines)


def _part(record: dict[str, Any]) -> str:
    selection = record["selection"]
    return "metadata only" if selection["meta_only"] else f"episodes {selection['episodes']}"
