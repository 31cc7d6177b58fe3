"""The table of runs, in a browser, against a server that was filled by sync."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from browsing import PHONE, Visit
from fill import VariedRun, send_all, sweep
from playwright.sync_api import Browser, Route, expect
from sent_runs import SentRun, send
from server_process import Server

#: A browser and a server start with a module.
pytestmark = pytest.mark.timeout(180)

COUNT = 640


@pytest.fixture(scope="module", autouse=True)
def filled(site: Server) -> list[VariedRun]:
    """Two projects of runs."""
    runs = list(sweep(COUNT))
    send_all(site, runs)
    send_all(site, sweep(12, project="other", seed=2))
    return runs


def test_shows_what_a_row_promises(visit: Visit, filled: list[VariedRun]) -> None:
    """Status, runtime, metrics with intervals, cost and commit stand in the row; the count is true."""
    page = visit.open_runs("/p/pusht")
    assert visit.total() == str(COUNT)
    newest = filled[-1]
    assert visit.names()[0] == newest.name
    paid = next(run for run in reversed(filled[-12:]) if run.status == "succeeded" and run.runtime == "modal")
    assert visit.cell(paid.name, "status") == "Succeeded"
    assert visit.cell(paid.name, "runtime") == "modal"
    assert re.fullmatch(r"\d+(\.\d)?\s%\s*\d+(\.\d)?–\d+(\.\d)?", visit.cell(paid.name, "metrics.success"))
    assert visit.cell(paid.name, "cost").startswith("$")
    assert visit.cell(paid.name, "commit")[:7] == paid.edit["git"]["commit"][:7]
    assert "points" in visit.cell(paid.name, "metrics.reward")
    expect(page.locator(".grid")).to_have_attribute("aria-rowcount", str(COUNT + 1))


def test_every_row_is_reached_by_scrolling(visit: Visit, filled: list[VariedRun]) -> None:
    """The end of the scroll bar is the oldest run, though only the rows in sight are in the page."""
    page = visit.open_runs("/p/pusht")
    page.evaluate(
        "() => { const grid = document.querySelector('.grid'); grid.scrollTop = grid.scrollHeight; }"
    )
    expect(page.locator(f".grid-row[data-place='{COUNT - 1}'] .open")).to_have_text(filled[0].name)
    assert page.locator(".grid-body .grid-row").count() < 60


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("metrics.loss", lambda run: run.metrics["loss"]["value"] if run.metrics else None),
        ("duration", lambda run: run.seconds),
        ("name", lambda run: run.name),
    ],
)
def test_sorts_by_anything(visit: Visit, filled: list[VariedRun], column: str, value: object) -> None:
    """A click on a head sorts all runs on the server, the largest first; a second one turns the order."""
    assert callable(value)
    page = visit.open_runs("/p/pusht")
    head = page.locator(f".grid-head [data-column='{column}'] button")
    for reverse in (True, False):
        head.click()
        expect(page.locator(f"[data-column='{column}']")).to_have_attribute(
            "aria-sort", "descending" if reverse else "ascending"
        )
        expect(page.locator(".grid:not([aria-busy])")).to_be_visible()
        known = sorted((run for run in filled if value(run) is not None), key=value, reverse=reverse)
        expect(page.locator(".grid-row[data-place='0'] .open")).to_have_text(known[0].name)
        assert visit.names()[:5] == [run.name for run in known[:5]]


def test_columns_are_chosen_ordered_and_remembered(visit: Visit) -> None:
    """A setting becomes a column, moves to the front, and is there again after coming back."""
    page = visit.open_runs("/p/pusht")
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Find a column").fill("horizon")
    page.locator("[data-id='params.horizon'] input").check()
    for _ in range(30):
        if visit.heads()[1] == "params.horizon":
            break
        page.get_by_label("Move up horizon").click()
    page.get_by_label("Find a column").fill("Recipe")
    page.locator("[data-id='recipe'] input").click()
    page.keyboard.press("Escape")
    expect(page.locator(".grid-head [data-column='recipe']")).to_have_count(0)
    assert visit.heads()[:2] == ["name", "params.horizon"] and "recipe" not in visit.heads()
    expect(page.locator(".grid-row[data-place='0'] > div").nth(2)).to_have_text(re.compile("^(8|16)$"))
    visit.open_runs("/")
    assert "params.horizon" not in visit.heads()
    visit.open_runs("/p/pusht")
    assert visit.heads()[:2] == ["name", "params.horizon"]


def test_names_that_come_late_are_offered(visit: Visit) -> None:
    """Who opens the columns or the groups before the server has told all names finds them there when it has."""
    held: list[Route] = []
    visit.page.route("**/api/runs/columns*", lambda route: held.append(route))
    page = visit.open_runs("/p/pusht")
    for button, box, found in (
        ("Columns", "Find a column", "[data-id='params.horizon']"),
        ("Group", "Group by", "button.item:has-text('horizon')"),
    ):
        page.get_by_role("button", name=button).first.click()
        page.get_by_role("searchbox", name=box).fill("horizon")
        assert held and page.locator(found).count() == 0
        held.pop().continue_()
        page.locator(found).first.wait_for()
        visit.open_runs("/p/pusht")


def test_names_that_come_late_are_offered_in_the_filter(visit: Visit) -> None:
    """Who types faster than the server tells the names is offered them when it has, without another key; who has
    finished typing is not."""
    held: list[Route] = []
    visit.page.route("**/api/runs/columns*", lambda route: held.append(route))
    for last, offered in ((None, True), ("Enter", False)):
        page = visit.open_runs("/p/pusht")
        box, option = page.get_by_label("Filter runs"), page.locator("#filter-offers [role=option]")
        box.press_sequentially("params.hor")
        page.wait_for_timeout(200)  # longer than it waits for another key
        assert held and option.count() == 0
        if last:
            box.fill("seed > 0")
            box.press(last)
            expect(page.locator(".grid:not([aria-busy])")).to_be_visible()
        held.pop(0).continue_()
        if offered:
            option.filter(has_text="params.horizon").wait_for()
            page.wait_for_timeout(200)  # longer than offers stay when the box is left
            expect(box).to_be_focused()
            assert option.first.is_visible()
        else:
            page.get_by_role("button", name="Columns").first.click()
            page.get_by_role("searchbox", name="Find a column").fill("horizon")
            page.locator("[data-id='params.horizon']").wait_for()
            expect(page.locator("#filter-offers")).to_be_hidden()


def test_columns_are_ordered_by_dragging(visit: Visit) -> None:
    """A head that is dropped on another takes its place."""
    page = visit.open_runs("/p/pusht")
    page.locator("[data-column='duration']").drag_to(page.locator("[data-column='status']"))
    page.wait_for_function(
        "() => document.querySelectorAll('.grid-head [data-column]')[1].dataset.column === 'duration'"
    )


def test_only_what_differs(visit: Visit) -> None:
    """Columns in which all runs agree go away, and settings that vary come."""
    page = visit.open_runs("/p/pusht")
    assert "recipe" in visit.heads()
    page.get_by_role("button", name="Only what differs").click()
    page.wait_for_selector("[data-column='params.lr']")
    heads = visit.heads()
    assert {"params.lr", "params.horizon", "params.policy"} <= set(heads)
    assert "recipe" not in heads and "params.episodes" not in heads
    assert "differs=1" in page.url


def test_filters_by_the_language(visit: Visit, filled: list[VariedRun]) -> None:
    """The filter narrows table and count, stands in the address, and says where it is wrong."""
    page = visit.open_runs("/p/pusht")
    box = page.get_by_label("Filter runs")
    box.fill("status = succeeded and metrics.loss < 0.1 and params.policy = act")
    box.press("Enter")
    fits = [
        run
        for run in filled
        if run.metrics and run.metrics["loss"]["value"] < 0.1 and run.name.startswith("act")
    ]
    expect(page.locator("#total strong")).to_have_text(str(len(fits)))
    assert "filter=status" in page.url
    page.reload()
    expect(page.locator("#total strong")).to_have_text(str(len(fits)))
    visit.expected.append("422")
    box.fill("statsu = failed")
    box.press("Enter")
    error = page.locator(".filter-error")
    expect(error).to_contain_text("status")
    assert error.locator("pre").inner_text().split("\n")[1] == "^"
    page.get_by_label("Clear the filter").click()
    expect(page.locator("#total strong")).to_have_text(str(COUNT))


def test_filter_offers_names(visit: Visit) -> None:
    """While typing, the names of fields, metrics and settings are offered; Tab takes one."""
    page = visit.open_runs("/p/pusht")
    box = page.get_by_label("Filter runs")
    box.press_sequentially("metrics.su")
    page.get_by_role("option", name=re.compile("metrics.success")).wait_for()
    box.press("ArrowDown")
    box.press("Tab")
    expect(box).to_have_value("metrics.success ")


def test_groups_by_a_setting(visit: Visit, filled: list[VariedRun]) -> None:
    """Groups carry the number of runs and each metric's mean with its interval; a click shows a group's runs."""
    page = visit.open_runs("/p/pusht")
    page.get_by_role("button", name="Group").click()
    page.get_by_role("searchbox", name="Group by").fill("policy")
    page.get_by_role("button", name="params.policy").click()
    table = page.get_by_role("table", name="Runs by params.policy")
    act = [run for run in filled if run.name.startswith("act")]
    row = table.locator("tr", has_text="act")
    expect(row.locator("td").nth(1)).to_have_text(str(len(act)))
    expect(row).to_contain_text(re.compile(r"%\s*\d"))
    expect(row.locator(".interval").first).to_have_text(re.compile("–"))
    assert "group=params.policy" in page.url
    table.get_by_role("button", name="success").click()
    expect(table.locator("tbody tr").first).to_contain_text("diffusion")
    table.get_by_role("button", name="success").click()
    expect(table.locator("tbody tr").first).to_contain_text("act")
    row.get_by_role("button").click()
    expect(page.locator("#total strong")).to_have_text(str(len(act)))


def test_a_view_is_an_address(visit: Visit, browser: Browser) -> None:
    """The copied address of a view shows the same columns, filter and order in another browser."""
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.open_runs(
        "/p/pusht?filter=params.lr%20%3D%200.1&sort=metrics.loss&cols=params.lr&cols=metrics.loss"
    )
    names = visit.names()
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="Copy the address").click()
    address = page.evaluate("() => navigator.clipboard.readText()")
    with Visit.begin(browser, visit.site) as other:
        other.sign_in()
        other.open_runs(address.removeprefix(visit.site.url))
        assert other.names() == names
        assert other.heads() == ["name", "params.lr", "metrics.loss"]


def test_a_view_is_saved_by_name(visit: Visit) -> None:
    """A saved view is offered again, and can be forgotten."""
    page = visit.open_runs("/p/pusht?filter=status%20%3D%20failed")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="Save this view").click()
    page.get_by_role("textbox", name="Name").fill("Failures")
    page.get_by_role("button", name="Save", exact=True).click()
    visit.open_runs("/p/pusht")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("link", name="Failures").click()
    expect(page.get_by_label("Filter runs")).to_have_value("status = failed")


def test_bulk_changes_can_be_undone(visit: Visit) -> None:
    """Runs that are archived, deleted or tagged together come back with one click."""
    page = visit.open_runs("/p/pusht?filter=status%20%3D%20timeout")
    before = int(visit.total())
    names = visit.names()
    for label, words in (("Archive", "archived"), ("Delete", "moved to the trash")):
        for place in (0, 1):
            page.locator(f".grid-row[data-place='{place}'] input").check()
        expect(page.locator(".status-line")).to_contain_text("2 runs chosen")
        page.locator(".status-line").get_by_role("button", name=label).click()
        expect(page.locator("#total strong")).to_have_text(str(before - 2))
        toast = page.locator(".toast", has_text=words)
        toast.get_by_role("button", name="Undo").click()
        expect(page.locator("#total strong")).to_have_text(str(before))
        assert visit.names() == names
    page.locator(".grid-row[data-place='0'] input").check()
    page.locator(".status-line").get_by_role("button", name="Tag").click()
    page.get_by_label("Tag", exact=True).fill("look-again")
    page.get_by_role("dialog").get_by_role("button", name="Tag").click()
    expect(page.locator(".grid-row[data-place='0']")).to_contain_text("look-again")
    page.locator(".toast", has_text="tagged").get_by_role("button", name="Undo").click()
    expect(page.locator(".grid-row[data-place='0']")).not_to_contain_text("look-again")


def test_a_range_is_chosen_and_compared(visit: Visit) -> None:
    """Shift chooses all between; comparing opens them side by side."""
    page = visit.open_runs("/p/pusht?filter=status%20%3D%20succeeded")
    page.locator(".grid-row[data-place='0'] input").check()
    page.locator(".grid-row[data-place='3'] input").click(modifiers=["Shift"])
    expect(page.locator(".status-line")).to_contain_text("4 runs chosen")
    page.get_by_role("link", name="Compare", exact=True).last.click()
    expect(page.locator(".legend .chip")).to_have_count(4)


def test_all_runs_of_a_view_are_chosen(visit: Visit) -> None:
    """ "Choose all" chooses those that were never scrolled to, too."""
    page = visit.open_runs("/p/pusht")
    page.locator(".grid-row[data-place='0'] input").check()
    page.get_by_role("button", name="Choose all").click()
    expect(page.locator(".status-line")).to_contain_text(f"{COUNT} runs chosen")


def test_the_baseline_stays_on_top(visit: Visit, filled: list[VariedRun]) -> None:
    """A project's baseline is pinned above the table whatever is filtered."""
    run = filled[5]
    visit.site.call("PATCH", f"/api/runs/{run.run_id}", json={"baseline": True}, expect=200)
    page = visit.open_runs("/p/pusht?filter=status%20%3D%20failed")
    pinned = page.locator(".grid-row.baseline")
    expect(pinned.locator(".open")).to_have_text(run.name)
    page.evaluate("() => { document.querySelector('.grid').scrollTop = 400; }")
    expect(pinned).to_be_in_viewport()
    visit.site.call("PATCH", f"/api/runs/{run.run_id}", json={"baseline": False}, expect=200)


def test_a_star_is_kept(visit: Visit) -> None:
    """A star set in the table is there after a reload, and the filter knows it."""
    page = visit.open_runs("/p/other")
    name = visit.names()[0]
    page.locator(".grid-row[data-place='0'] .star").click()
    expect(page.locator(".grid-row[data-place='0'] .star")).to_have_attribute("aria-pressed", "true")
    visit.open_runs("/p/other?filter=starred")
    assert visit.names() == [name]


def test_keys_move_choose_and_open(visit: Visit) -> None:
    """The table is used without a mouse: arrows, Space, Shift, s, / and Enter."""
    page = visit.open_runs("/p/other")
    expect(page.locator(".grid")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator(".grid-row[data-place='1']")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".status-line")).to_contain_text("2 runs chosen")
    page.keyboard.press("Escape")
    expect(page.locator(".status-line")).not_to_contain_text("chosen")
    page.keyboard.press("End")
    expect(page.locator(".grid")).to_have_attribute("aria-activedescendant", "row-11")
    page.keyboard.press("/")
    expect(page.get_by_label("Filter runs")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator(".grid").focus()
    page.keyboard.press("Home")
    name = visit.names()[0]
    page.keyboard.press("Enter")
    expect(page.locator("#run-name")).to_have_text(name)


@pytest.mark.slow
def test_new_runs_and_new_states_come_by_themselves(visit: Visit) -> None:
    """A run that is sent while the page is open appears, and its status follows the server's."""
    page = visit.open_runs("/p/live")
    run = VariedRun(
        project="live",
        name="goes on",
        status="running",
        created=datetime.now(timezone.utc),
        logs={},
        series=None,
    )
    visit.expected.append("404")  # there is no such project yet
    send(visit.site, *run.frames(), expect=200)
    page = visit.open_runs("/p/live")
    expect(page.locator(".grid-row[data-place='0']")).to_contain_text("Running")
    done = replace(run, status="failed")
    send(visit.site, *done.frames(), expect=200)
    expect(page.locator(".grid-row[data-place='0']")).to_contain_text("Failed", timeout=30_000)
    send(visit.site, *SentRun(project="live", name="comes later").frames(), expect=200)
    expect(page.locator("#total strong")).to_have_text("2", timeout=30_000)


def test_says_when_the_server_is_away(visit: Visit) -> None:
    """While answers do not arrive a banner says that what is seen may be old; it goes with the next answer."""
    page = visit.open_runs("/p/other")
    visit.expected.append("ERR_INTERNET_DISCONNECTED")
    visit.context.set_offline(True)
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#away")).to_contain_text("can not be reached")
    visit.context.set_offline(False)
    time.sleep(2.2)
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#away")).to_be_hidden()


def test_fits_a_phone(browser: Browser, site: Server) -> None:
    """At the width of a phone nothing sticks out, the name stays in sight, and the tools have names."""
    with Visit.begin(browser, site, viewport=PHONE, has_touch=True) as visit:
        visit.sign_in()
        page = visit.open_runs("/p/pusht")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
        expect(page.locator(".grid-row[data-place='0'] .open")).to_be_in_viewport()
        for name in ("Columns", "Only what differs", "Group", "Views"):
            expect(page.get_by_role("button", name=name)).to_be_visible()
