"""Pages for people without a key: one run or one project, read-only, until a day."""

from __future__ import annotations

import pytest
from browsing import Visit
from fill import VariedRun, send_all, sweep
from films import film
from playwright.sync_api import Browser, expect
from richrun import rich_run
from sent_runs import send
from server_process import Server


@pytest.fixture(scope="module")
def rich(site: Server, browser: Browser) -> VariedRun:
    """A run with everything, and a project of others."""
    run = rich_run(film(browser), project="shared")
    send(site, *run.frames(), expect=200)
    send_all(site, sweep(30, project="open"))
    return run


def share(site: Server, **what: str) -> dict[str, str]:
    made: dict[str, str] = site.call("POST", "/api/shares", json=what, expect=201).json()
    return made


def test_a_shared_run_is_shown_without_a_key(stranger: Visit, rich: VariedRun) -> None:
    """All tabs work with the token alone, pictures and downloads too; nothing can be changed."""
    token = share(stranger.site, run=rich.run_id)["token"]
    page = stranger.open(f"/s/{token}", "#panel > *")
    expect(page.locator("#run-name")).to_have_text("rich run")
    expect(page.get_by_role("button", name="Actions")).to_have_count(0)
    expect(page.get_by_role("button", name="Add tag")).to_have_count(0)
    page.get_by_role("tab", name="Metrics").click()
    page.locator(".scatterlayer .trace").first.wait_for()
    page.get_by_role("tab", name="Log").click()
    expect(page.locator(".log .lines > div").last).to_contain_text("red alert")
    page.get_by_role("tab", name="Artifacts").click()
    page.wait_for_function("() => document.querySelector('.thumbs img')?.naturalWidth === 48")
    with page.expect_download() as caught:
        page.get_by_label("Download artifacts/weights.bin").click()
    assert caught.value.path().read_bytes() == bytes(range(256))
    assert stranger.context.cookies() == []


def test_a_shared_project_is_a_table(stranger: Visit, rich: VariedRun) -> None:
    """The runs of the project are listed, filtered and opened; other projects are not there."""
    token = share(stranger.site, project="open")["token"]
    page = stranger.open(f"/s/{token}")
    page.wait_for_selector("#total")
    assert stranger.total() == "30"
    page.get_by_label("Filter runs").fill("params.policy = act")
    page.keyboard.press("Enter")
    expect(page.locator("#total")).not_to_contain_text("30")
    name = stranger.names()[0]
    page.locator(".grid-row[data-place='0'] .open").click()
    expect(page.locator("#run-name")).to_have_text(name)
    stranger.expected.append("404")
    stranger.open(f"/s/{token}?run={rich.run_id}", ".empty")
    expect(page.locator(".empty")).to_contain_text("no such run")


def test_an_ended_share_shows_nothing(stranger: Visit, rich: VariedRun) -> None:
    """After its end the address says so, and gives away no name."""
    made = share(stranger.site, run=rich.run_id)
    stranger.site.call("DELETE", f"/api/shares/{made['id']}", expect=200)
    stranger.expected.append("401")
    page = stranger.open(f"/s/{made['token']}", ".empty")
    expect(page.locator(".empty")).to_contain_text("This share is over")
    assert "rich run" not in page.content()


def test_a_share_is_made_and_ended_on_the_page(visit: Visit, rich: VariedRun) -> None:
    """From a run's menu to an address, and to its end."""
    page = visit.open(f"/runs/{rich.run_id}", "#panel > *")
    page.get_by_role("button", name="Actions").click()
    page.get_by_role("link", name="Share…").click()
    page.get_by_label("For whom or what").fill("reviewer 2")
    page.get_by_role("button", name="Make it").click()
    dialog = page.get_by_role("dialog", name="Copy the address now")
    address = dialog.locator("code").inner_text()
    assert address.startswith(f"{visit.site.url}/s/wfs_")
    dialog.get_by_role("button", name="I have it").click()
    row = page.locator("tr", has_text="reviewer 2")
    row.get_by_role("button", name="End").click()
    page.get_by_role("dialog").get_by_role("button", name="End it").click()
    expect(row).to_have_count(0)
    answer = visit.site.call("GET", "/api/runs", key=address.rpartition("/")[2])
    assert answer.status_code == 401
