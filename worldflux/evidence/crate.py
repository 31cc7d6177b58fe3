"""The RO-Crate of a package: Process Run Crate 0.5 on RO-Crate 1.1, as JSON-LD.

Terms beside the crate's own context stand in it, so a reader needs one context and no network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from worldflux.evidence import layout
from worldflux.evidence.contents import LeftOut

if TYPE_CHECKING:
    from worldflux.manifest.model import Manifest

RO_CRATE = "https://w3id.org/ro/crate/1.1"
CONTEXT = f"{RO_CRATE}/context"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_SITE = "https://worldflux.dev/"
_COMPLETED = "http://schema.org/CompletedActionStatus"
_FAILED = "http://schema.org/FailedActionStatus"

#: The media types that the profile's own pattern takes.
_MEDIA_TYPE = re.compile(r"\w*/\w[\w.-]*(\+\w[\w.-]*)?\Z")
_NOT_STATED = "LicenseRef-not-stated"


@dataclass(frozen=True)
class Packed:
    """A file below `data/` with what was read of it."""

    path: str
    role: str
    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Attribution:
    """What only people can say of a run; empty is not stated.

    Attributes:
        license: SPDX id, or an address.
        author: a person's name.
        author_id: an address that stands for the person, such as an ORCID.
    """

    license: str = ""
    author: str = ""
    author_id: str = ""


def status_of(manifest: Manifest) -> str:
    """How an action that is this run ended, in schema.org's words."""
    return _COMPLETED if manifest.status == "succeeded" else _FAILED


def identifier(path: str) -> str:
    """The @id of a file: its path as a relative reference (RFC 3986)."""
    return quote(path, safe="/!$&'()*+,;=:@-._~")


def crate(
    manifest: Manifest, files: Sequence[Packed], left_out: Sequence[LeftOut], said: Attribution
) -> dict[str, Any]:
    """The document. `files` are all of `data/` but the document itself, ordered by path."""
    action = f"urn:uuid:{manifest.client_run_id}"
    tool = f"{_SITE}releases/{manifest.producer['version']}"
    people = _people(manifest, said)
    licence = _license(said.license)
    variables = _variables(manifest)
    graph: list[dict[str, Any]] = [
        {
            "@id": layout.CRATE,
            "@type": "CreativeWork",
            "about": _ref("./"),
            "conformsTo": _ref(RO_CRATE),
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"WorldFlux run {manifest.run['name']}",
            "description": _description(manifest),
            "datePublished": manifest.run["finished_at"],
            "license": _ref(licence["@id"]),
            "author": _ref(people[0]["@id"]),
            "publisher": _ref("#project"),
            "conformsTo": _ref(PROFILE),
            "hasPart": _refs([identifier(each.path) for each in files]),
            "mentions": _ref(action),
            "mainEntity": _ref(layout.MANIFEST),
        },
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        licence,
        *people,
        {
            "@id": tool,
            "@type": "SoftwareApplication",
            "name": "WorldFlux",
            "url": _SITE,
            "softwareVersion": manifest.producer["version"],
        },
        _action(manifest, action, tool, people[0]["@id"], files, left_out, variables),
        *variables,
        *(_file(each) for each in files),
        *(_outside(each) for each in left_out),
    ]
    terms = {name: f"{_TERMS}{name}" for name in ("sha256", "environment")}
    return {"@context": [CONTEXT, terms], "@graph": graph}


def outside_id(path: str) -> str:
    """The @id of a file that the package vouches for and does not carry."""
    return f"#outside/{identifier(path)}"


def _action(
    manifest: Manifest,
    action: str,
    tool: str,
    agent: str,
    files: Sequence[Packed],
    left_out: Sequence[LeftOut],
    variables: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    run = manifest.run
    given = ("config", "environment", "source")
    objects = [identifier(each.path) for each in files if each.role in given]
    objects += [outside_id(each.path) for each in left_out if each.role in given]
    results = [identifier(each.path) for each in files if each.role not in given]
    results += [outside_id(each.path) for each in left_out if each.role not in given]
    entity: dict[str, Any] = {
        "@id": action,
        "@type": "CreateAction",
        "name": run["name"],
        "description": _description(manifest),
        "endTime": run["finished_at"],
        "instrument": _ref(tool),
        "agent": _ref(agent),
        "result": _refs(results),
        "actionStatus": status_of(manifest),
    }
    if run["started_at"] is not None:
        entity["startTime"] = run["started_at"]
    if objects:
        entity["object"] = _refs(objects)
    if variables:
        entity["environment"] = _refs([each["@id"] for each in variables])
    if run["error"] is not None:
        entity["error"] = run["error"]["message"]
    return entity


def _description(manifest: Manifest) -> str:
    run = manifest.run
    ended = f"exit status {run['exit_code']}" if run["exit_code"] is not None else "no exit status"
    return (
        f"Recipe {manifest.recipe['name']} on runtime {manifest.runtime['name']}, run "
        f"{manifest.client_run_id}, attempt {run['attempt']}: {run['status']}, {ended}"
    )


def _people(manifest: Manifest, said: Attribution) -> list[dict[str, Any]]:
    """The agent first, then the project it belongs to."""
    project = manifest.run["project"]
    remote = (manifest.git.get("remote") if manifest.git is not None else None) or ""
    organization = {
        "@id": "#project",
        "@type": "Organization",
        "name": project,
        "url": remote if remote.startswith("https://") else f"urn:worldflux:project:{quote(project)}",
    }
    if not said.author:
        return [organization]
    person = {
        "@id": said.author_id or "#author",
        "@type": "Person",
        "name": said.author,
        "affiliation": _ref("#project"),
    }
    return [person, organization]


def _license(stated: str) -> dict[str, Any]:
    if not stated:
        return {
            "@id": "#license",
            "@type": "CreativeWork",
            "name": _NOT_STATED,
            "description": "No license was stated for this package.",
        }
    if "://" in stated:
        return {"@id": stated, "@type": "CreativeWork", "name": stated, "description": "License"}
    return {
        "@id": f"https://spdx.org/licenses/{quote(stated)}",
        "@type": "CreativeWork",
        "name": stated,
        "description": f"The license with the SPDX identifier {stated}",
    }


def _variables(manifest: Manifest) -> list[dict[str, Any]]:
    recorded = manifest.environment["variables"] if manifest.environment is not None else {}
    return [
        {"@id": f"#variable/{quote(name)}", "@type": "PropertyValue", "name": name, "value": recorded[name]}
        for name in sorted(recorded)
    ]


def _file(packed: Packed) -> dict[str, Any]:
    return {
        "@id": identifier(packed.path),
        "@type": "File",
        "name": packed.path,
        "encodingFormat": _media_type(packed.media_type),
        "contentSize": str(packed.size),
        "sha256": packed.sha256,
    }


def _outside(each: LeftOut) -> dict[str, Any]:
    entity = {
        "@id": outside_id(each.path),
        "@type": "CreativeWork",
        "name": each.path,
        "description": f"Not in this package: {each.reason}",
        "encodingFormat": _media_type(each.media_type),
        "sha256": each.sha256,
    }
    return entity if each.size is None else {**entity, "contentSize": str(each.size)}


def _media_type(text: str) -> str:
    return text if _MEDIA_TYPE.match(text) else "application/octet-stream"


def _ref(name: str) -> dict[str, str]:
    return {"@id": name}


def _refs(names: Sequence[str]) -> Any:
    """References; a single one stands alone, for the profile takes no list of one."""
    return _ref(names[0]) if len(names) == 1 else [_ref(name) for name in names]
