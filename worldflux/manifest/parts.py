"""The parts of a manifest, as typed dictionaries: exactly the objects that stand in the file.

They are the Python view of `schema/run-manifest.v1.json`, which rules where they differ; a test
holds them together. Creating one costs nothing and needs no conversion in either direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from typing_extensions import NotRequired

Status = Literal["queued", "running", "succeeded", "failed", "timeout", "cancelled", "refused", "interrupted"]
StageStatus = Literal["running", "succeeded", "failed", "timeout", "cancelled", "refused", "interrupted"]
Support = Literal["production", "experimental", "disabled"]
Task = Literal["generate", "rollout", "eval", "train"]


class Error(TypedDict):
    code: str
    message: str
    hint: str


class Stage(TypedDict):
    name: str
    started_at: str
    finished_at: str | None
    status: StageStatus


class Owner(TypedDict):
    """The writing process; `worldflux.run.provenance.owner_alive` tells whether it lives."""

    host: str
    boot_id: str | None
    pid: int
    pid_started: int | None
    pid_namespace: NotRequired[int | None]


class Run(TypedDict):
    project: str
    name: str
    tags: list[str]
    parent_id: NotRequired[str]
    sweep_id: NotRequired[str]
    attempt: int
    status: Status
    exit_code: int | None
    signal: str | None
    stages: list[Stage]
    created_at: str
    started_at: str | None
    finished_at: str | None
    duration_seconds: float | None
    owner: Owner | None
    argv: list[str]
    error: Error | None


class Producer(TypedDict):
    name: str
    version: str


class Source(TypedDict):
    path: str | None
    sha256: str | None


class Recipe(TypedDict):
    name: str
    description: NotRequired[str]
    task: Task
    source: Source


class Adapter(TypedDict):
    id: str
    revision: NotRequired[str]
    support: NotRequired[Support]
    facts: NotRequired[dict[str, Any]]


class Config(TypedDict):
    path: str
    sha256: str
    overrides: list[str]
    resolved: dict[str, Any]


class Interval(TypedDict):
    method: Literal["wilson"]
    level: float
    low: float
    high: float


class Metric(TypedDict):
    value: int | float | str
    unit: NotRequired[str]
    kind: NotRequired[Literal["value", "success"]]
    k: NotRequired[int]
    n: NotRequired[int]
    interval: NotRequired[Interval]
    step: NotRequired[int]


class Series(TypedDict):
    path: str
    bytes: int
    sha256: str
    rows: int


class Log(TypedDict):
    name: str
    path: str
    bytes: int
    sha256: str
    truncated: bool


class Artifact(TypedDict):
    path: str
    bytes: int
    sha256: str
    media_type: str
    commit: bool


class Input(TypedDict):
    """`ref` or `uri` must be there."""

    role: str
    name: NotRequired[str]
    ref: NotRequired[str]
    uri: NotRequired[str]
    revision: NotRequired[str]
    version: NotRequired[str]
    sha256: NotRequired[str]
    bytes: NotRequired[int]
    files: NotRequired[int]
    license: NotRequired[str]


class Diff(TypedDict):
    path: str
    bytes: int
    sha256: str
    truncated: bool


class Untracked(TypedDict):
    path: str
    bytes: int
    sha256: str | None


class Submodule(TypedDict):
    path: str
    commit: str | None
    dirty: bool


class Git(TypedDict):
    """Without `present`, only `problem` may stand beside it."""

    present: bool
    problem: NotRequired[str]
    commit: NotRequired[str | None]
    branch: NotRequired[str | None]
    remote: NotRequired[str | None]
    dirty: NotRequired[bool]
    diff: NotRequired[Diff | None]
    untracked: NotRequired[list[Untracked]]
    untracked_omitted: NotRequired[int]
    submodules: NotRequired[list[Submodule]]


class Python(TypedDict):
    implementation: str
    version: str


class Lock(TypedDict):
    path: NotRequired[str]
    sha256: str


class Environment(TypedDict):
    os: str
    platform: str
    python: Python
    lock: Lock | None
    packages: dict[str, str]
    variables: dict[str, str]
    forwarded: list[str]


class Cpu(TypedDict):
    model: str | None
    logical: int | None
    physical: int | None


class Accelerator(TypedDict):
    vendor: str
    model: str
    memory_bytes: int | None
    compute_capability: NotRequired[str]
    mig: NotRequired[bool]


class Hardware(TypedDict):
    cpu: Cpu
    memory_bytes: int | None
    accelerators: list[Accelerator]
    driver: str | None
    cuda: str | None


class CostPart(TypedDict):
    name: str
    amount_usd: float
    quantity: NotRequired[float]
    unit: NotRequired[str]
    unit_price_usd: NotRequired[float]


class Cost(TypedDict):
    currency: Literal["USD"]
    estimate_usd: float | None
    known: bool
    price_per_hour: float | None
    price_source: str | None
    price_date: str | None
    excludes: list[str]
    budget_usd: float | None
    parts: list[CostPart]


class Determinism(TypedDict):
    seed: int | str | None
    claim: bool
    flags: dict[str, Any]


class Secret(TypedDict):
    name: str
