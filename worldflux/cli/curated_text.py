"""Catalog entries for people. Everything here may hold a stranger's text, so it is made safe."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from worldflux.cli import render

#: What the list says about a task on the machine.
_ANSWERS = {
    "fits": "yes",
    "cpu": "cpu",
    "tight": "tight",
    "doubtful": "doubtful",
    "too small": "no",
    "unknown": "?",
}
_COLORS = {"fits": "32", "cpu": "32", "tight": "33", "doubtful": "33", "too small": "31", "unknown": "2"}
_TASKS = ("eval", "rollout", "generate", "train")
_MATURITY = {
    "verified": "ran here end to end",
    "documented": "upstream states a floor and a license",
    "listed": "known; upstream states no floor",
    "imported": "imported",
}


def entries(rows: Sequence[Mapping[str, Any]], machine: Mapping[str, Any], *, fits: bool) -> str:
    """The list: a column a task, each with its floor and whether it fits; stacked where that is too wide."""
    if not rows:
        hint = "without --fits the list shows all" if fits else "fewer filters show more"
        return f"nothing matches on {_machine(machine)}; {hint}"
    rows = sorted(rows, key=lambda row: (row["origin"] != "curated", row["family"], row["id"]))
    tasks = [task for task in _TASKS if any(task in row["tasks"] for row in rows)]
    shown = [[row["id"], *(_cell(row["tasks"].get(task)) for task in tasks), _levels(row)] for row in rows]
    text = render.table(shown, ["adapter", *tasks, f"on {machine['runtime']}"])
    if max(map(len, text.splitlines())) > _columns():
        text = "\n".join(line for row in rows for line in _stacked(row))
    legend = _wrap(
        f"GPU memory a task needs, and whether {_machine(machine)} has it. ?: not stated upstream.", ""
    )
    return "\n".join([text, "", *(line.strip() for line in legend), "next: worldflux curated inspect ID"])


def _stacked(row: Mapping[str, Any]) -> list[str]:
    tasks = ", ".join(f"{task} {_cell(found)}" for task, found in row["tasks"].items())
    return [row["id"], *_wrap(f"{tasks}; {_levels(row)}", "")]


def _columns() -> int:
    """How wide a line may be; as wide as it likes where nobody reads a screen."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000


def _cell(task: Mapping[str, Any] | None) -> str:
    if task is None:
        return ""
    answer = _ANSWERS[task["state"]]
    return f"{task['floor']} {answer}" if task["floor"] else answer


def _levels(row: Mapping[str, Any]) -> str:
    found = dict.fromkeys(row["support"].values())
    return "/".join(level for level in ("production", "experimental", "disabled") if level in found)


def _machine(machine: Mapping[str, Any]) -> str:
    gpus = machine["gpus"]
    if gpus is None:
        return str(machine["name"])
    if not gpus:
        return f"{machine['name']} (no GPU)" if machine["name"] != "no GPU" else "a machine without a GPU"
    if machine["name"].startswith("a card"):
        return str(machine["name"])
    first = gpus[0]
    count = f"{len(gpus)} x " if len(gpus) > 1 else ""
    label = "" if str(machine["name"]).endswith(first["name"]) else f"{first['name']}, "
    return f"{machine['name']} ({label}{count}{first['gb']:g} GB)"


def environments(rows: Sequence[Mapping[str, Any]]) -> str:
    """Simulators as a table."""
    shown = [
        [row["id"], " ".join(row["install"]), _disk(row["disk_mb"]), ", ".join(row["metrics"])[:60]]
        for row in rows
    ]
    text = render.table(shown, ["environment", "install", "disk", "metrics"])
    return f"{text}\n\nnext: worldflux curated inspect ID"


def datasets(rows: Sequence[Mapping[str, Any]]) -> str:
    """Imported datasets as a table."""
    if not rows:
        return "no dataset is imported\nnext: worldflux import lerobot-dataset:OWNER/NAME"
    shown = [
        [
            row["id"], row["revision"][:10], ", ".join(row["names"]), row["episodes"] or "?", _part(row),
            size_text(row["bytes"]), row["license"] or "?",
        ]
        for row in rows
    ]  # fmt: skip
    return render.table(shown, ["dataset", "commit", "revision", "episodes", "here", "size", "license"])


def _part(row: Mapping[str, Any]) -> str:
    if row["complete"]:
        return "all"
    return "metadata" if row["selection"]["meta_only"] else f"episodes {row['selection']['episodes']}"


def details(entry: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """One model in full."""
    out = [_bold(f"{entry['id']}  {entry['title']}"), *_head(entry)]
    out += ["", _bold(f"GPU memory, against {_machine(machine)}")]
    for task in entry["tasks"]:
        out += _task(task)
    out += _section("Also needs", _needs(entry["needs"]))
    out += _section("Support", [line for support in entry["support"] for line in _support(support)])
    out += _section(
        "Known issues", [line for issue in entry["known_issues"] for line in _issue(issue)], "none known"
    )
    out += _section("Measured", [line for fact in entry["measured"] for line in _wrap(_fact(fact), "- ")])
    if entry["imported"]:
        out += _section("Import", _import(entry["imported"], entry["base"]))
    out += _section("How to run it", [f"  {step}" for step in entry["run"]])
    out += _section("Where the figures were read", _sources(entry))
    return "\n".join(render.safe_line(part, color=True) for line in out for part in line.splitlines() or [""])


def _head(entry: Mapping[str, Any]) -> list[str]:
    upstream, licenses = entry["upstream"], entry["license"]
    params = f", {entry['params']} parameters" if entry["params"] else ""
    sizes = f" (sizes {entry['sizes']})" if entry["sizes"] else ""
    rows = [
        ("family", f"{entry['family']}{params}{sizes}"),
        ("known as", _MATURITY[entry["maturity"]]),
        ("code", f"github.com/{upstream['repo']}, {_license(licenses['code'])}"),
        ("weights", ", ".join(filter(None, [upstream.get("weights"), _license(licenses["weights"])]))),
    ]
    if upstream.get("pypi"):
        rows.append(("package", upstream["pypi"]))
    if entry["revision"]:
        rows.append(("commit", entry["revision"]))
    return [line for label, text in rows for line in _wrap(text, f"{label:<10}")]


def _license(license_: Mapping[str, Any]) -> str:
    name = license_["name"] or "license unknown"
    return f"{name} ({license_['note']})" if license_["note"] else name


def _task(task: Mapping[str, Any]) -> list[str]:
    need = f"needs {task['floor']['text']}" if task["floor"] else task["why"]
    if task["state"] == "cpu" and task["floor"]:
        need = f"runs without a GPU; on one it {need}"
    if task["state"] == "doubtful":
        need = task["why"]
    label = f"{task['task']:<9} {task['state']:<10} "
    lines = _wrap(need, label)
    lines[0] = lines[0].replace(task["state"], _paint(task["state"], _COLORS[task["state"]]), 1)
    for claim in task["claims"]:
        lines += _wrap(_claim(claim), " " * 21 + "- ")
    return lines


def _conditions(claim: Mapping[str, Any]) -> list[str]:
    named = [
        claim.get("variant"),
        claim.get("precision") if claim.get("precision") != claim.get("variant") else None,
    ]
    batch = f"batch {claim['batch']}" if "batch" in claim else None
    return [text for text in (*named, batch, claim.get("note")) if text]


def _claim(claim: Mapping[str, Any]) -> str:
    conditions = _conditions(claim)
    under = f" ({', '.join(conditions)})" if conditions else ""
    return f"{claim['text']} {claim['kind'].replace('-', ' ')}{under}: {claim['source']['name']}"


def _needs(needs: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, label in (("ram", "main memory"), ("disk", "disk")):
        amount = needs[key]
        if amount is not None:
            what = f" ({amount['what']})" if amount["what"] else ""
            lines += _wrap(f"{amount['gb']:g} GB {label}{what}: {amount['source']['name']}", "- ")
    for repo in needs["repos"]:
        gated = ", gated: accept its conditions and set HF_TOKEN" if repo["gated"] else ""
        lines += _wrap(f"{repo['repo']}, fetched when it is loaded{gated}", "- ")
    return lines


def _support(support: Mapping[str, Any]) -> list[str]:
    by_level: dict[str, list[str]] = {}
    for task, level in support["tasks"].items():
        by_level.setdefault(level, []).append(task)
    if len(by_level) == 1:
        text = next(iter(by_level))
    else:
        text = ", ".join(f"{level} ({', '.join(tasks)})" for level, tasks in by_level.items())
    why = [reason for reason in support["reasons"] if not reason.startswith("no run of it")]
    lines = _wrap("; ".join([text, *why]), f"{support['runtime']:<10}")
    for text in support["evidence"]:
        lines += _wrap(text, " " * 10 + "- ")
    return lines


def _issue(issue: Mapping[str, Any]) -> list[str]:
    state = {True: "open", False: "closed", None: None}[issue["open"]]
    marks = [state, issue["affects"], "seen here too" if issue["reproduced"] else None]
    if issue["stops"]:
        marks.append(f"stops {', '.join(issue['stops'])}")
    shown = ", ".join(mark for mark in marks if mark)
    lines = _wrap(issue["text"] + (f" [{shown}]" if shown else ""), "- ")
    for source in issue["sources"]:
        if source["url"] or not issue["reproduced"]:
            lines.append(f"    {source['url'] or source['name']}")
    return lines


def _sources(entry: Mapping[str, Any]) -> list[str]:
    """Addresses of the named sources; a thread of GitHub is its own address."""
    claims = [claim["source"] for task in entry["tasks"] for claim in task["claims"]]
    needs = [entry["needs"][key]["source"] for key in ("ram", "disk") if entry["needs"][key]]
    found = {source["name"]: source["url"] for source in (*claims, *needs) if source["url"]}
    return [f"  {name}\n    {url}" for name, url in found.items()]


def _fact(fact: Mapping[str, Any]) -> str:
    source = fact["source"]["name"]
    return str(fact["text"]) if source.startswith("measured for") else f"{fact['text']} ({source})"


def _import(imported: Mapping[str, Any], base: str | None) -> list[str]:
    facts = imported["facts"]
    training = {key: value for key, value in facts["training"].items() if value is not None}
    origin = imported["origin"].get("endpoint") or imported["origin"].get("folder")
    rows = [
        ("from", f"{origin}, {', '.join(imported['names']) or 'by content'}, {imported['imported_at'][:10]}"),
        (
            "files",
            f"{imported['files']}, {size_text(imported['bytes'])}"
            + ("" if imported["complete"] else ", not all"),
        ),
        ("type", f"{facts['type']}, {facts['generation']}" + (f", figures of {base}" if base else "")),
        ("inputs", _features(facts["inputs"])),
        ("outputs", _features(facts["outputs"])),
        (
            "trained",
            ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in training.items()) or "not stated",
        ),
        ("sha256", imported["sha256"]),
    ]
    return [line for label, text in rows for line in _wrap(text, f"{label:<10}")]


def _features(features: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{name} {'x'.join(map(str, f['shape']))}" for name, f in features.items()) or "not stated"
    )


def environment(entry: Mapping[str, Any]) -> str:
    """One simulator in full."""
    speed = entry["steps_per_second"] or {}
    same = {True: "yes, under one seed", False: "no", None: "not tried"}[entry["deterministic"]]
    rows = [
        ("install", " ".join(entry["install"])),
        ("disk", _disk(entry["disk_mb"])),
        ("steps/s", ", ".join(f"{value} ({kind})" for kind, value in speed.items()) or "not measured"),
        ("metrics", ", ".join(entry["metrics"])),
        ("headless", entry["headless"] or "not stated"),
        ("expert", entry["expert"] or "none known"),
        ("repeats", same),
    ]
    out = [_bold(f"{entry['id']}  {entry['title']}")]
    out += [line for label, text in rows for line in _wrap(text, f"{label:<10}")]
    out += _section(
        "Known issues", [line for issue in entry["known_issues"] for line in _issue(issue)], "none known"
    )
    return "\n".join(out)


def dataset(record: Mapping[str, Any]) -> str:
    """One imported dataset in full."""
    facts = record["facts"]
    origin = record["origin"].get("endpoint") or record["origin"].get("folder")
    rows = [
        ("commit", f"{record['commit']} ({', '.join(record['names']) or 'by content'})"),
        ("from", f"{origin}, {record['imported_at'][:10]}"),
        ("here", f"{_part(record)}: {record['files']} of {record['listed_files']} files"),
        ("size", size_text(record["bytes"])),
        ("folder", record["folder"]),
        ("license", f"{record['license'] or 'unknown'} ({record['license_from']})"),
        ("format", facts["codebase_version"] or "not stated"),
        ("robot", f"{facts['robot_type'] or 'not stated'}, {facts['fps'] or '?'} frames a second"),
        ("holds", f"{facts['episodes']} episodes, {facts['frames']} frames, {facts['tasks']} tasks"),
        ("features", ", ".join(_column(name, feature) for name, feature in facts["features"].items())),
        ("sha256", record["sha256"]),
    ]  # fmt: skip
    out = [_bold(record["id"]), *(line for label, text in rows for line in _wrap(text, f"{label:<10}"))]
    out += _section("Known issues", [line for p in record["problems"] for line in _wrap(p["text"], "- ")])
    reference = record["id"] + (f"@{record['names'][0]}" if record["names"] else "")
    out += _section(
        "How to use it", [f'  inputs: [{{role: dataset, ref: "{reference}"}}]    # in recipe.yaml']
    )
    return "\n".join(render.safe_line(part, color=True) for line in out for part in line.splitlines() or [""])


def _column(name: str, feature: Mapping[str, Any]) -> str:
    return f"{name} {feature['dtype']} {'x'.join(map(str, feature['shape']))}"


def _section(title: str, lines: Sequence[str], otherwise: str = "") -> list[str]:
    if not lines and not otherwise:
        return []
    return ["", _bold(title), *(lines or [f"  {otherwise}"])]


def _wrap(text: Any, label: str) -> list[str]:
    """Text beside a label, indented below it."""
    width = max(60, min(_columns(), 100))
    first = f"  {label}"
    wrapped = textwrap.wrap(
        str(text),
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    )
    return wrapped or [first.rstrip()]


def _bold(text: str) -> str:
    return render.paint(text, "1", sys.stdout)


def _paint(text: str, code: str) -> str:
    return render.paint(text, code, sys.stdout)


def _disk(disk: Mapping[str, int] | None) -> str:
    if not disk:
        return "not measured"
    return f"{disk['venv']} MB" if "venv" in disk else f"+{disk['added']} MB"


def size_text(count: int) -> str:
    """Bytes for people."""
    for size, sign in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {sign}"
    return f"{count} bytes"
