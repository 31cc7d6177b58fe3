"""How long a page of runs takes over HTTP: `python tests/bench/bench_pages.py [--database postgresql] [--runs N]`.

Fills a fresh database with made-up runs (by SQL, so that a million take a minute or two), starts a real
server on it and asks one kept-alive connection for the same pages again and again. Prints the median, the
least and the 95th percentile in milliseconds, the processor time of server and database, which a busy
machine changes less, and the bytes of each answer; ends with 1 when a median is over its bar.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from server_process import Server, running_postgres, start
from sqlalchemy import text

from worldflux.server import db as databases
from worldflux.server import migrations

# A server that tests fork from a warm process would show that one's memory.
os.environ["WORLDFLUX_TEST_COLD"] = "1"

#: PostgreSQL's own defaults where the tests' have less; a server with its data in memory, as a million runs are.
SETTINGS = ("shared_buffers=128MB",)

ADDED = """
INSERT INTO runs (pk, workspace_id, project_id, client_run_id, name, recipe, task, adapter, support, runtime, seed,
  attempt, created_at, started_at, finished_at, received_at, updated_at, duration_seconds, cost_usd, git_commit,
  git_branch, git_dirty, status, claimed_status, who, final, manifest)
SELECT i, 1, 1 + i % {projects}, {id}, 'pusht_eval seed=' || (i % 50), 'pusht_eval', 'eval', 'diffusion_policy',
  'production', 'modal', CAST(i % 50 AS TEXT), 1, {when}, {when}, {when}, {when}, {when}, 600.123, 0.42,
  '4f1c0a7be2b0a4c1c3ccf6d1d2b9a7b2f1f0e9d8', 'main', {true}, {status}, {status}, 'laptop', {true}, {manifest}
FROM {series}
"""
METRIC = """
INSERT INTO run_metrics (run_pk, workspace_id, name, value, kind, measure, step)
SELECT i, 1, 'metric_{n}', {random}, 'finite', 'value', 1000 FROM {series}
"""
PARAM = """
INSERT INTO run_params (run_pk, workspace_id, name, text, number)
SELECT i, 1, 'param_{n}', CAST(i % {values} AS TEXT), i % {values} FROM {series}
"""
TAG = "INSERT INTO run_tags (run_pk, workspace_id, tag) SELECT i, 1, 'nightly' FROM {series} WHERE i % 3 = 0"


def fill(db: databases.Database, runs: int, metrics: int, params: int, projects: int) -> None:
    """Put runs into an empty server."""
    if db.is_sqlite:
        words = {
            "series": f"(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i<{runs}) SELECT i FROM s)",
            "id": "printf('%08x-0000-7000-8000-%012x', i, i)", "random": "abs(random() % 1000000) / 1000000.0",
            "when": "strftime('%Y-%m-%dT%H:%M:%S', 1760000000 + i * 7, 'unixepoch') || '.000+00:00'", "true": "1",
        }  # fmt: skip
    else:
        words = {
            "series": f"generate_series(1, {runs}) AS i",
            "id": "lpad(to_hex(i), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(i), 12, '0')", "random": "random()",
            "when": "to_char(to_timestamp(1760000000 + i * 7::bigint), 'YYYY-MM-DD\"T\"HH24:MI:SS') || '.000+00:00'",
            "true": "true",
        }  # fmt: skip
    # A manifest is some kilobytes when packed; PostgreSQL keeps that out of the row, so a million do without.
    words["manifest"] = "randomblob(3000)" if db.is_sqlite else "NULL"
    words["status"] = (
        "CASE WHEN i % 20 = 0 THEN 'failed' WHEN i % 997 = 0 THEN 'running' ELSE 'succeeded' END"
    )
    with db.write() as connection:
        if not db.is_sqlite:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        for number in range(projects):
            connection.execute(
                text("INSERT INTO projects (pk, workspace_id, slug, created_at) VALUES (:pk, 1, :slug, :at)"),
                {"pk": number + 1, "slug": f"project-{number}", "at": "2026-01-01T00:00:00.000+00:00"},
            )
        statements = [ADDED.format(**words, projects=projects), TAG.format(**words)]
        statements += [METRIC.format(**words, n=n) for n in range(metrics)]
        statements += [PARAM.format(**words, n=n, values=3**n + 1) for n in range(params)]
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%") if not db.is_sqlite else statement)
    if not db.is_sqlite:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM (ANALYZE, FREEZE)")
    else:
        db.optimize()


def pages(runs: int) -> dict[str, tuple[str, float]]:
    """Name of a page -> its path and its bar in milliseconds."""
    plain, sorted_ = (10.0, 15.0) if runs <= 10_000 else (30.0, 30.0)
    columns = "columns=metrics.metric_0,metrics.metric_1,params.param_1"

    def page(more: str = "", filter: str = "") -> str:
        return f"/api/runs?limit=100&{more}&filter={quote(filter)}"

    return {
        "page of 100": (page(), plain),
        "page of 100, three columns": (page(columns), plain),
        "page of 100 of a project": (page("project=project-0"), plain),
        "failed runs": (page(columns, "status = failed"), plain),
        "a project, ordered by a metric": (
            page(f"project=project-0&sort=metrics.metric_0&{columns}"),
            sorted_,
        ),
        "ordered by a metric": (page(f"sort=metrics.metric_0&{columns}"), sorted_),
        "ordered by a metric, largest first": (page(f"sort=-metrics.metric_0&{columns}"), sorted_),
        "filtered by a metric, few": (page(columns, "metrics.metric_0 < 0.01"), sorted_),
        "filtered by a metric, most": (page(columns, "metrics.metric_0 < 0.9"), sorted_),
        "filtered and ordered by metrics": (
            page(f"sort=metrics.metric_1&{columns}", "metrics.metric_0 < 0.1 and params.param_1 = 2"),
            sorted_,
        ),
        "filtered by a tag and a parameter": (
            page(columns, "tags has nightly and params.param_2 = 3"),
            sorted_,
        ),
        "ordered by a parameter": (page(f"sort=-params.param_3&{columns}"), sorted_),
    }


def cpu_ms(server: Server) -> float:
    """Milliseconds of processor that a server and its database have used by now."""
    ticks, parents = 0, {-1}
    if server.database is not None:
        folder = Path(server.database.partition("host=")[2])
        parents = {int((folder / "data" / "postmaster.pid").read_text().split()[0])}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(") ")[2].split()
            if int(fields[2]) == server.process.pid or int(fields[1]) in parents:
                ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def measure(server: Server, path: str, times: int) -> tuple[list[float], int, int, dict[str, object]]:
    """Milliseconds of each answer, the bytes on the wire, the bytes of its JSON, and one answer."""
    address = urlsplit(server.url)
    link = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {"Authorization": f"Bearer {server.key}", "Accept-Encoding": "gzip"}
    took = []
    for number in range(times + 3):
        began = time.perf_counter()
        link.request("GET", path, headers=headers)
        answer = link.getresponse()
        body = answer.read()
        if answer.status == 429:
            time.sleep(1)
            continue
        assert answer.status == 200, body[:500]
        if number >= 3:
            took.append((time.perf_counter() - began) * 1000)
    link.close()
    plain = gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body
    return took, len(body), len(plain), json.loads(plain)


@contextlib.contextmanager
def filled_server(options: argparse.Namespace) -> Iterator[Server]:
    """A server over a database full of runs."""
    with contextlib.ExitStack() as stack:
        home = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="worldflux-bench-"))
        )
        home.mkdir(exist_ok=True)
        kept, url = home / "filled.json", None
        facts = json.loads(kept.read_text()) if kept.exists() else {}
        if options.database == "postgresql":
            postgres = stack.enter_context(running_postgres(options.keep and home / "pg", *SETTINGS))
            url = facts.get("url") or postgres.new_database()
        server = start(home / "data", url, *options.server)
        stack.callback(server.stop)
        asked = {"runs": options.runs, "database": options.database}
        if facts:
            server.key = facts["key"]
            if {name: facts[name] for name in asked} != asked:
                raise SystemExit(f"{home} holds {facts['runs']} runs on {facts['database']}")
        else:
            began = time.perf_counter()
            db = databases.connect(home / "data", url)
            migrations.upgrade(db)
            fill(db, options.runs, options.metrics, options.params, options.projects)
            db.close()
            kept.write_text(json.dumps({**asked, "url": url, "key": server.key}))
            print(f"filled in {time.perf_counter() - began:.0f} s")
        print(f"{options.runs} runs on {options.database}, load average {os.getloadavg()[0]:.1f}")
        yield server


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=5, help="of each run (default: 5)")
    parser.add_argument("--params", type=int, default=10, help="of each run (default: 10)")
    parser.add_argument("--projects", type=int, default=2)
    parser.add_argument("--times", type=int, default=40, help="requests for each page (default: 40)")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep what was filled there, and use it the next time"
    )
    parser.add_argument(
        "--server", nargs=argparse.REMAINDER, default=[], help="more words for `server start`"
    )
    options = parser.parse_args()
    failed = 0
    with filled_server(options) as server:
        for name, (path, bar) in pages(options.runs).items():
            before = cpu_ms(server)
            took, wire, plain, answer = measure(server, path, options.times)
            work = (cpu_ms(server) - before) / (options.times + 3)
            median, worst = statistics.median(took), sorted(took)[int(len(took) * 0.95)]
            over = median > bar or wire > 60_000
            failed += over
            rows = len(answer["runs"])  # type: ignore[arg-type]
            print(
                f"{name:36} {median:6.1f} ms  least {min(took):6.1f}  p95 {worst:6.1f}  cpu {work:5.1f}  bar {bar:3.0f}"
                f"  {wire:6} bytes ({plain} unpacked)"
                f"  {rows} of {answer['total']}{'' if answer['total_is_exact'] else '+'}{'  OVER' if over else ''}"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
