"""Layer 2: what the documents say of the run agrees, and fits the standard's profile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.evidence import crate, episodes, layout
from worldflux.evidence.reading import Layer, Reading
from worldflux.manifest.model import Manifest
from worldflux.manifest.numbers import wilson

_CRATE = layout.DATA + layout.CRATE
_PEOPLE = ("Person", "Organization")
#: Wide enough for the last digit of another machine's arithmetic.
_TOLERANCE = 1e-9


def check_meaning(reading: Reading) -> Layer:
    """The crate against its profile, the manifest and the files; the counts against the single outcomes."""
    layer = Layer("meaning")
    manifest = reading.manifest
    if reading.has(_CRATE):
        try:
            document = reading.json(_CRATE)
        except WorldFluxError:
            document = None  # the layer of shape says so
        if document is not None:
            for problem in _crate_problems(document, reading, manifest):
                layer.fault(_CRATE, problem)
    if manifest is not None:
        check_numbers(manifest, layer)
        _episodes(reading, manifest, layer)
    layer.summary = "crate, manifest and files tell the same" if not layer.faults else "they contradict"
    return layer


def check_numbers(manifest: Manifest, layer: Layer) -> None:
    """Success rates follow from their counts, and times from one another."""
    where = layout.DATA + layout.MANIFEST
    for name, metric in manifest.metrics.items():
        try:
            problem = _metric_problem(metric)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            problem = "its fields do not fit together"
        if problem:
            layer.fault(f"{where}/metrics/{name}", problem)
    run = manifest.run
    times = [run.get("created_at"), run.get("started_at"), run.get("finished_at")]
    known = [time for time in times if isinstance(time, str)]
    if known != sorted(known):
        layer.fault(f"{where}/run", "it ended before it began")
    if not manifest.final:
        layer.fault(f"{where}/run", "the run has not ended")


def _metric_problem(metric: Mapping[str, Any]) -> str:
    if metric.get("kind") != "success":
        return ""
    k, n, value = metric["k"], metric["n"], metric["value"]
    if not math.isclose(value, k / n, abs_tol=_TOLERANCE):
        return f"the value is not {k} of {n}"
    interval = metric.get("interval")
    if interval is None:
        return ""
    low, high = wilson(k, n, interval["level"])
    for stated, right in ((interval["low"], low), (interval["high"], high)):
        if not math.isclose(stated, right, abs_tol=_TOLERANCE):
            return "its interval is not the Wilson interval of its counts"
    return ""


def _episodes(reading: Reading, manifest: Manifest, layer: Layer) -> None:
    path = layout.DATA + layout.EPISODES
    if not reading.has(path):
        return
    try:
        counted = episodes.counts(reading.bytes_of(path))
    except (ValueError, RecursionError, WorldFluxError) as error:
        layer.fault(path, str(error).splitlines()[0])
        return
    for name, (k, n) in counted.items():
        metric: Mapping[str, Any] = manifest.metrics.get(name, {})  # type: ignore[assignment,unused-ignore]
        if (metric.get("k"), metric.get("n")) != (k, n):
            layer.fault(path, f"its rows give {name} as {k} of {n}, the manifest does not")


def _crate_problems(
    document: Mapping[str, Any], reading: Reading, manifest: Manifest | None
) -> Iterator[str]:
    context, graph = document.get("@context"), document.get("@graph")
    if not isinstance(context, list) or crate.CONTEXT not in context:
        yield "its context is not RO-Crate 1.1"
    if not isinstance(graph, list) or not all(isinstance(each, dict) for each in graph):
        yield "it has no graph of entities"
        return
    entities: dict[str, Mapping[str, Any]] = {}
    for entity in graph:
        name = entity.get("@id")
        if not isinstance(name, str) or "@type" not in entity or name in entities:
            yield "an entity has no @id or @type of its own"
            return
        entities[name] = entity
    yield from _descriptor(entities)
    yield from _root(entities)
    yield from _files(entities, reading)
    yield from _action(entities, manifest)


def _descriptor(entities: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    descriptor = entities.get(layout.CRATE, {})
    if _names(descriptor, "about") != ["./"] or _names(descriptor, "conformsTo") != [crate.RO_CRATE]:
        yield "its descriptor does not describe the root by RO-Crate 1.1"


def _root(entities: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    root = entities.get("./", {})
    if root.get("@type") != "Dataset":
        yield "it has no root dataset"
        return
    for key in ("name", "description", "datePublished"):
        if not isinstance(root.get(key), str):
            yield f"its root has no {key}"
    if crate.PROFILE not in _names(root, "conformsTo") or crate.PROFILE not in entities:
        yield "its root does not claim the profile Process Run Crate"
    for key in ("license", "author", "publisher"):
        if not all(name in entities for name in _names(root, key)) or not _names(root, key):
            yield f"its root has no {key} that is described"


def _files(entities: Mapping[str, Mapping[str, Any]], reading: Reading) -> Iterator[str]:
    payload = {path: each for path, each in reading.payload.items() if path != layout.CRATE}
    parts = _names(entities.get("./", {}), "hasPart")
    if sorted(parts) != sorted(crate.identifier(path) for path in payload):
        yield "its root does not list exactly the files of data/"
    described = {name for name, entity in entities.items() if entity["@type"] == "File"}
    if described != {crate.identifier(path) for path in payload}:
        yield "the files it describes are not the files of data/"
    for path, each in payload.items():
        entity = entities.get(crate.identifier(path), {})
        if entity.get("sha256") != each.sha256 or entity.get("contentSize") != str(each.size):
            yield f"it describes {path} with another digest or size"


def _action(entities: Mapping[str, Mapping[str, Any]], manifest: Manifest | None) -> Iterator[str]:
    actions = [each for each in entities.values() if each["@type"] == "CreateAction"]
    if len(actions) != 1:
        yield "it does not describe exactly one run"
        return
    action = actions[0]
    if _names(entities.get("./", {}), "mentions") != [action["@id"]]:
        yield "its root does not mention the run"
    tools = [entities.get(name, {}) for name in _names(action, "instrument")]
    if not tools or any(tool.get("@type") != "SoftwareApplication" for tool in tools):
        yield "the run has no instrument that is software"
    agents = [entities.get(name, {}) for name in _names(action, "agent")]
    if not agents or any(agent.get("@type") not in _PEOPLE for agent in agents):
        yield "the run has no agent that is a person or an organization"
    named = [*_names(action, "object"), *_names(action, "result")]
    if not all(name in entities for name in named):
        yield "the run refers to files that are not described"
    if manifest is not None:
        yield from _same_run(action, manifest)


def _same_run(action: Mapping[str, Any], manifest: Manifest) -> Iterator[str]:
    run = manifest.run
    error = run.get("error")
    expected = {
        "@id": f"urn:uuid:{manifest.client_run_id}",
        "startTime": run.get("started_at"),
        "endTime": run.get("finished_at"),
        "actionStatus": crate.status_of(manifest),
        "error": error.get("message") if isinstance(error, dict) else None,
    }
    for key, value in expected.items():
        if action.get(key) != value:
            yield f"the run's {key} is not the manifest's"


def _names(entity: Mapping[str, Any], key: str) -> list[str]:
    """The @ids a property refers to."""
    value = entity.get(key)
    several: Sequence[Any] = value if isinstance(value, list) else [value]
    return [each["@id"] for each in several if isinstance(each, dict) and isinstance(each.get("@id"), str)]
