"""The evidence of a run on its page: the verdict layer by layer, the archive, the ledger, also for a share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Visit
from packed_runs import packed
from playwright.sync_api import expect
from sent_runs import SentRun, send
from server_process import Server

from worldflux.evidence import keys


@pytest.fixture
def vouched(site: Server, tmp_path: Path) -> Iterator[tuple[SentRun, bytes]]:
    """A run with signed evidence by a key that the workspace trusts, alone in its ledger, and the archive."""
    keys.create(tmp_path / "keys", "lab")
    key = keys.load(tmp_path / "keys", "lab")
    run = SentRun(project=f"vouched-{uuid.uuid4().hex[:8]}", artifacts={"a.bin": b"x" * 100})
    send(site, *run.frames(), expect=200)
    site.call("PUT", "/api/trusted-keys/lab", json={"pem": key.pem}, expect=200)
    data = packed(run, tmp_path, key).read_bytes()
    headers = {"Content-Type": "application/zip"}
    site.call("PUT", f"/api/runs/{run.run_id}/evidence", data=data, headers=headers, expect=200)
    yield run, data
    site.call("DELETE", "/api/trusted-keys/lab", expect=200)


def test_the_verdict_is_shown_layer_by_layer(visit: Visit, vouched: tuple[SentRun, bytes]) -> None:
    """Five layers, who signed, what that means, the ledger's entry, and the very archive to take away."""
    run, data = vouched
    page = visit.open(f"/runs/{run.run_id}#evidence", "#panel > *")
    table = page.get_by_role("table", name="Layers of the verdict")
    expect(table.locator("tr")).to_have_count(5)
    expect(table.locator("tr", has_text="signature")).to_contain_text("Holds")
    expect(page.locator(".panel")).to_contain_text("Verified")
    expect(page.locator(".panel")).to_contain_text("lab (")
    expect(page.locator(".panel")).to_contain_text("1 of 1")
    expect(page.locator(".panel")).to_contain_text("does not prove")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download").click()
    assert caught.value.path().read_bytes() == data


def test_a_share_carries_the_evidence(stranger: Visit, vouched: tuple[SentRun, bytes]) -> None:
    """Somebody without a key sees the verdict and takes the archive with the share's link alone."""
    run, data = vouched
    made = stranger.site.call("POST", "/api/shares", json={"run": run.run_id}, expect=201).json()
    page = stranger.open(f"/s/{made['token']}", "#panel > *")
    page.get_by_role("tab", name="Evidence").click()
    expect(page.get_by_role("table", name="Layers of the verdict").locator("tr")).to_have_count(5)
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download").click()
    assert caught.value.path().read_bytes() == data
    assert caught.value.suggested_filename == f"{run.run_id}.evidence.zip"


def test_a_run_without_evidence_says_how_to_make_it(visit: Visit) -> None:
    """No verdict is shown, the commands are, and the ledger has the run all the same."""
    run = SentRun(project="plain")
    send(visit.site, *run.frames(), expect=200)
    page = visit.open(f"/runs/{run.run_id}#evidence", "#panel > *")
    expect(page.locator(".panel")).to_contain_text(f"worldflux evidence build {run.run_id}")
    expect(page.locator(".panel")).to_contain_text("1 of 1")
    expect(page.get_by_role("table", name="Layers of the verdict")).to_have_count(0)
