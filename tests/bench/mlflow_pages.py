"""Pages of 100 of 10,000 runs from `mlflow server`, filled as `bench_pages.py` fills ours."""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import time
from pathlib import Path

RUNS = 10_000
TIMES = 15

#: Name of a page, as in `bench_pages.py` -> what is asked of MLflow for the same.
PAGES: dict[str, dict[str, object]] = {
    "page of 100": {},
    "ordered by a metric": {"order_by": ["metrics.metric_0 ASC"]},
    "filtered by a metric, few": {"filter": "metrics.metric_0 < 0.01"},
    "filtered by a metric, most": {"filter": "metrics.metric_0 < 0.9"},
}

_SERIES = f"WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i<{RUNS})"
_RUN = "printf('%032x', i)"


def fill(database: Path, experiment: str) -> None:
    """Put runs into the tables of an MLflow server that has made them."""
    link = sqlite3.connect(database, timeout=60)
    statements = [
        f"INSERT INTO runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage,"
        f" artifact_uri, experiment_id) {_SERIES} SELECT {_RUN}, 'run ' || i, 'LOCAL', 'bench', 'FINISHED',"
        f" 1760000000000 + i * 7000, 1760000600000 + i * 7000, 'active', 'mlflow-artifacts:/' || {_RUN},"
        f" {int(experiment)} FROM s",
        f"INSERT INTO tags (key, value, run_uuid) {_SERIES} SELECT 'mlflow.runName', 'run ' || i, {_RUN} FROM s",
    ]
    for n in range(5):
        statements.append(
            f"INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) {_SERIES}"
            f" SELECT 'metric_{n}', abs(random() % 1000000) / 1000000.0, 1760000000000, 1000, 0, {_RUN} FROM s"
        )
    statements.append(
        "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)"
        " SELECT key, value, timestamp, step, is_nan, run_uuid FROM latest_metrics WHERE key GLOB 'metric_[0-4]'"
    )
    for n in range(10):
        statements.append(
            f"INSERT INTO params (key, value, run_uuid) {_SERIES}"
            f" SELECT 'param_{n}', CAST(i % {3**n + 1} AS TEXT), {_RUN} FROM s"
        )
    with link:
        for statement in statements:
            link.execute(statement)
    link.execute("ANALYZE")
    link.close()


def ask(port: str, path: str, document: dict[str, object]) -> dict[str, object]:
    """One answer of the server's API."""
    link = http.client.HTTPConnection("127.0.0.1", int(port), timeout=120)
    link.request(
        "POST", f"/api/2.0/mlflow/{path}", json.dumps(document), {"Content-Type": "application/json"}
    )
    answer = link.getresponse()
    body = answer.read()
    link.close()
    assert answer.status == 200, body[:500]
    found: dict[str, object] = json.loads(body)
    return found


def measure(port: str, folder: Path) -> dict[str, float]:
    """Median milliseconds of each page of `PAGES`."""
    experiment = str(ask(port, "experiments/create", {"name": "pages"})["experiment_id"])
    fill(folder / "m.db", experiment)
    medians: dict[str, float] = {}
    for name, wanted in PAGES.items():
        took = []
        for _ in range(TIMES + 2):
            begun = time.perf_counter()
            runs = ask(port, "runs/search", {"experiment_ids": [experiment], "max_results": 100, **wanted})[
                "runs"
            ]
            took.append((time.perf_counter() - begun) * 1000)
            assert 50 < len(runs) <= 100, (name, len(runs))  # type: ignore[arg-type]
        medians[name] = statistics.median(took[2:])
    return medians
