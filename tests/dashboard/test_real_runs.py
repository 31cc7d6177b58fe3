"""Runs of the real command line, brought by the real sync, seen in the browser."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm_python
from browsing import Visit
from playwright.sync_api import expect
from server_process import Server

BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def ids(site: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Three seeds of the built-in recipe, one of them packed as evidence, all of them synced."""
    place, home = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("home")
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "WORLDFLUX_HOME": str(home / ".worldflux"),
        "WORLDFLUX_API_KEY": site.key, "WORLDFLUX_SERVER": site.url, "LANG": "C.UTF-8",
    }  # fmt: skip

    def call(*words: str) -> str:
        ended = warm_python.run(
            [BIN / words[0], *words[1:]],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    call("worldflux", "init", ".")
    call("worldflux-run", "-m", "+recipe=cpu-smoke", "seed=1,2,3")
    call("worldflux", "evidence", "build", "last", "--zip")
    call("worldflux", "sync")
    listed = json.loads(call("worldflux", "--json", "runs", "list"))["data"]["runs"]
    yield [row["run_id"] for row in listed]


def test_synced_runs_are_seen(visit: Visit, ids: list[str]) -> None:
    """The table has the runs with their results, and the run page what the command printed and made."""
    page = visit.open_runs("/")
    assert visit.total() == "3" and visit.names() == ["cpu-smoke"] * 3
    expect(page.locator(".grid-row[data-place='0']")).to_contain_text("%")
    visit.open(f"/runs/{ids[0]}#log", ".log .lines > div")
    assert page.locator(".log .lines > div").count() > 3
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("button", name="artifacts/report.json", exact=True).click()
    expect(page.locator(".preview .tree")).to_be_visible()
    page.get_by_role("tab", name="Metrics").click()
    page.locator(".scatterlayer .trace").first.wait_for()
    page.get_by_role("tab", name="Config").click()
    expect(page.locator(".panel")).to_contain_text("+recipe=cpu-smoke")


def test_real_runs_are_compared(visit: Visit, ids: list[str]) -> None:
    """Three seeds side by side: pooled rates, one curve each."""
    page = visit.open(f"/compare?runs={','.join(ids)}", ".scatterlayer .trace")
    row = page.get_by_role("table", name="Results by group").locator("tr", has_text="reached_goal")
    expect(row.locator("td")).to_have_count(3)
    page.get_by_label("Metric", exact=True).select_option("train_return")


def test_evidence_of_a_real_run(visit: Visit, ids: list[str]) -> None:
    """The verdict on the package that sync brought is shown, layer by layer, and the package can be taken."""
    site = visit.site
    packed = [each for each in ids if site.call("GET", f"/api/runs/{each}").json()["evidence"] != "none"]
    assert len(packed) == 1
    page = visit.open(f"/runs/{packed[0]}#evidence", "[aria-label='Layers of the verdict']")
    expect(page.locator(".panel")).to_contain_text("Holds")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download").click()
    assert caught.value.path().read_bytes()[:2] == b"PK"
