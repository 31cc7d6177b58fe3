"""The page of one run, in a browser."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from browsing import Visit
from fill import VariedRun, curve
from films import film
from playwright.sync_api import Browser, Response, expect
from richrun import rich_run
from sent_runs import frame, send
from server_process import Server

from worldflux.manifest.model import new_run_id

#: A browser and a server start with a module.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def rich(site: Server, browser: Browser) -> VariedRun:
    """A run with everything."""
    run = rich_run(film(browser))
    send(site, *run.frames(), expect=200)
    return run


def opened(visit: Visit, run: VariedRun, tab: str = "") -> None:
    visit.open(f"/runs/{run.run_id}#{tab}", "#panel > *")


def test_overview_says_what_happened(visit: Visit, rich: VariedRun) -> None:
    """Results with intervals, stages, cost with its parts and the adapter's known issues are on the first tab."""
    opened(visit, rich)
    page = visit.page
    expect(page.locator("h1")).to_contain_text("rich run")
    expect(page.locator("h1 .pill")).to_have_text("Succeeded")
    results = page.get_by_role("table", name="Metrics")
    expect(results.locator("tr", has_text="success")).to_contain_text(
        re.compile(r"82\s%.*69.2–90.2.*41 of 50", re.S)
    )
    expect(results.locator("tr", has_text="odd")).to_contain_text("NaN")
    assert page.locator(".timeline .line").count() == 4
    expect(page.locator(".card", has_text="Cost")).to_contain_text("$1.25")
    expect(page.locator(".card", has_text="Cost")).to_contain_text("gpu:H100")
    expect(page.locator(".card", has_text="Adapter").last).to_contain_text("crashes above horizon 64")
    expect(page.locator(".card", has_text="Adapter").last).to_contain_text("experimental")


def test_the_command_can_be_copied(visit: Visit, rich: VariedRun) -> None:
    """The copied command has the run's overrides, quoted for a shell."""
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(visit, rich)
    visit.page.get_by_label("Copy the command that runs it again").click()
    said = visit.page.evaluate("() => navigator.clipboard.readText()")
    assert said == """worldflux-run +recipe=push-eval params.lr=0.1 'params.note='"'"'two words'"'"''"""


def test_config_shows_settings_and_changes(visit: Visit, rich: VariedRun) -> None:
    """The resolved configuration is a tree; the diff is shown in colour when it was committed as an artifact."""
    opened(visit, rich, "config")
    page = visit.page
    expect(page.locator(".tree").first).to_contain_text("lr: 0.1")
    expect(page.locator(".diff .add")).to_have_text("+steps = 200")
    expect(page.locator(".diff .cut")).to_have_text("-steps = 100")
    expect(page.locator("code.tag").nth(1)).to_have_text("params.lr=0.1")


def test_environment_and_hardware(visit: Visit, rich: VariedRun) -> None:
    """Machine, packages and variables are listed; packages can be searched; a forwarded name has no value."""
    opened(visit, rich, "environment")
    page = visit.page
    expect(page.locator(".panel")).to_contain_text("NVIDIA H100")
    page.get_by_label("Find a package").fill("tor")
    assert page.get_by_role("table", name="Packages").locator("tr").all_inner_texts() == ["torch\t2.9.0"]
    expect(page.get_by_role("table", name="Variables").locator("tr", has_text="HF_TOKEN")).to_contain_text(
        "by name"
    )


def test_curves_are_drawn_zoomed_and_smoothed(visit: Visit, rich: VariedRun) -> None:
    """Each metric with steps has a curve; log scale, smoothing and zoom change what is drawn; CSV has all points."""
    opened(visit, rich, "metrics")
    page = visit.page
    chart = page.locator(".chart[data-name='loss']")
    chart.locator(".scatterlayer .trace").first.wait_for()
    assert page.locator(".chart").count() == 2
    page.get_by_label("Log scale").check()
    state = """() => {
        const plot = document.querySelector(".chart[data-name='loss'] .canvas");
        return [plot.layout.yaxis.type, plot.data.length, plot.layout.xaxis.range];
    }"""
    page.wait_for_function(f"() => ({state})()[0] === 'log'")
    page.get_by_label("Smoothing").fill("0.8")
    page.wait_for_function(f"() => ({state})()[1] === 2")
    box = chart.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, middle, steps=8)
    page.mouse.up()
    page.wait_for_function(f"() => ({state})()[2][0] > 90 && ({state})()[2][1] < 250")
    with page.expect_download() as caught:
        chart.get_by_role("button", name="CSV").click()
    assert len(caught.value.path().read_text().splitlines()) == 301


def test_the_log_is_searched_and_safe(visit: Visit, rich: VariedRun) -> None:
    """The end is shown first; colours are classes; markup is text; a find shows its lines and goes there."""
    opened(visit, rich, "log")
    page = visit.page
    last = page.locator(".log .lines > div").last
    expect(last).to_have_text("red alert <b>bold</b>")
    expect(last.locator(".ansi-1")).to_have_text("red alert")
    assert page.locator(".log .lines > div").count() < 120
    page.get_by_label("Find in the whole log").fill("line 17 of")
    page.locator(".log .found button").first.click()
    expect(page.locator(".log .lines > div.hit").first).to_have_text("line 17 of the log")
    expect(page.locator(".log .lines > div.hit").first).to_be_in_viewport()
    page.get_by_role("button", name="sim").click()
    expect(page.locator(".log .lines > div").first).to_have_text("second log")


def test_artifacts_are_looked_into(visit: Visit, rich: VariedRun) -> None:
    """Pictures, films, tables and JSON are shown; the rest is offered with its digest; downloads are attachments."""
    opened(visit, rich, "artifacts")
    page = visit.page
    page.locator(".thumbs img").wait_for()
    page.get_by_role("button", name="artifacts/view.png", exact=True).click()
    page.wait_for_function("() => document.querySelector('.preview img')?.naturalWidth === 48")
    page.get_by_role("button", name="artifacts/film.webm", exact=True).click()
    page.wait_for_function("() => document.querySelector('.preview video')?.videoWidth === 64")
    page.get_by_role("button", name="artifacts/table.csv", exact=True).click()
    expect(page.locator(".preview table td").first).to_have_text("a, b")
    page.get_by_role("button", name="artifacts/report.json", exact=True).click()
    expect(page.locator(".preview .tree")).to_contain_text("mean")
    expect(page.locator(".file-line", has_text="weights.bin")).to_contain_text(
        hashlib.sha256(bytes(range(256))).hexdigest()[:12]
    )
    with page.expect_download() as caught:
        page.get_by_label("Download artifacts/weights.bin").click()
    assert caught.value.path().read_bytes() == bytes(range(256))
    assert caught.value.suggested_filename == "weights.bin"


def test_evidence_is_told(visit: Visit, rich: VariedRun) -> None:
    """The state of the evidence, the manifest's digest and the commands to check it elsewhere are shown."""
    opened(visit, rich, "evidence")
    digest = hashlib.sha256(rich.manifest()).hexdigest()
    expect(visit.page.locator(".panel")).to_contain_text(digest)
    expect(visit.page.locator(".panel")).to_contain_text("worldflux evidence")


def test_what_people_add_is_kept(visit: Visit, rich: VariedRun) -> None:
    """Name, tags, notes and baseline are changed in place and are there after a reload."""
    own = replace(rich, run_id=new_run_id())
    send(visit.site, *own.frames(), expect=200)
    opened(visit, own)
    page = visit.page
    page.locator("#run-name").dblclick()
    page.get_by_label("Name of the run").fill("renamed <run>")
    page.keyboard.press("Enter")
    expect(page.locator("#run-name")).to_have_text("renamed <run>")
    page.get_by_role("button", name="Add tag").click()
    page.get_by_label("Tag", exact=True).fill("reviewed")
    page.get_by_role("dialog").get_by_role("button", name="Tag").click()
    expect(page.locator(".run-head .tag", has_text="reviewed")).to_be_visible()
    page.get_by_label("Remove tag nightly").click()
    expect(page.locator(".run-head .tag", has_text="nightly")).to_have_count(0)
    page.get_by_label("Notes").fill("first line\nsecond")
    page.get_by_role("button", name="Save notes").click()
    expect(page.locator(".toast", has_text="Notes saved")).to_be_visible()
    page.get_by_role("button", name="Actions").click()
    page.get_by_role("button", name="Make it the project's baseline").click()
    expect(page.locator("h1 .badge", has_text="baseline")).to_be_visible()
    page.reload()
    expect(page.locator("#run-name")).to_have_text("renamed <run>")
    expect(page.get_by_label("Notes")).to_have_value("first line\nsecond")
    expect(page.locator("h1 .badge", has_text="baseline")).to_be_visible()


def test_an_error_and_its_way_out_are_shown(visit: Visit, site: Server) -> None:
    """A run that failed shows what went wrong and what to do."""
    error = {
        "code": "exit",
        "message": "the command ended with 3",
        "hint": "read the log: worldflux runs log last",
    }
    run = VariedRun(name="broken", status="failed", edit={"run/error": error})
    send(site, *run.frames(), expect=200)
    opened(visit, run)
    expect(visit.page.locator(".fault")).to_contain_text("the command ended with 3")
    expect(visit.page.locator(".fault")).to_contain_text("worldflux runs log last")


def test_a_run_goes_on_while_it_is_watched(visit: Visit, site: Server) -> None:
    """New lines of the log, new points and the end of the run come by themselves."""
    run = VariedRun(
        name="live",
        status="running",
        created=datetime.now(timezone.utc),
        series=curve(1, 0.1, 5),
        logs={"output": b"begins\n"},
    )
    send(site, *run.frames(), expect=200)
    opened(visit, run, "log")
    page = visit.page
    expect(page.locator(".log .lines > div").first).to_have_text("begins")
    head = {"part": "stream", "stream": "log:output", "offset": 7, "project": run.project}
    send(site, frame(run.run_id, b"goes on\n", **head), expect=200)
    expect(page.locator(".log .lines > div").nth(1)).to_have_text("goes on", timeout=30_000)
    done = replace(run, status="succeeded", logs={"output": b"begins\ngoes on\n"})
    send(site, *done.frames(), expect=200)
    expect(page.locator("h1 .pill")).to_have_text("Succeeded", timeout=30_000)


def test_a_curve_grows_by_what_is_new(visit: Visit, site: Server) -> None:
    """A tab opened before the first point gets its curve; later looks fetch the points that came since, not all.

    A metric that comes late gets a curve of its own.
    """
    run = VariedRun(name="growing", status="running", created=datetime.now(timezone.utc), series=b"")
    send(site, *run.frames(), expect=200)
    answers: list[Response] = []
    page = visit.page
    page.on("response", lambda answer: answers.append(answer) if "names=loss" in answer.url else None)
    opened(visit, run, "metrics")
    expect(page.locator("#panel")).to_contain_text("No curves")
    sent = 0

    def log(steps: range, name: str = "loss") -> None:
        nonlocal sent
        rows = [{"name": name, "value": 1 / (step + 1), "step": step} for step in steps]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        head = {"part": "stream", "stream": "metrics", "offset": sent, "project": run.project}
        send(site, frame(run.run_id, data, **head), expect=200)
        sent += len(data)

    def drawn(places: int, last: int) -> tuple[list[int], list[int]]:
        page.wait_for_function(
            """([places, last]) => {
                const data = document.querySelector(".chart[data-name='loss'] .canvas")?.data;
                return data && data[0].x.length === places && data[0].x.at(-1) === last;
            }""",
            arg=[places, last],
            timeout=60_000,
        )
        sizes = [(len(each.body()), "after=" in each.url) for each in answers]
        answers.clear()
        return [size for size, since in sizes if not since], [size for size, since in sizes if since]

    log(range(1000))
    whole, since = drawn(1000, 999)
    assert len(whole) == 1 and whole[0] > 10_000 and all(size < 1000 for size in since)
    log(range(1000, 1003))
    whole, since = drawn(1003, 1002)
    assert whole == [] and since and max(since) < 1000
    log(range(1003, 4000))  # too many to add: the server thins them out, four to a place
    whole, since = drawn(1000, 3996)
    assert len(whole) == 1
    log(range(4000, 4010))
    whole, since = drawn(1003, 4008)
    assert whole == [] and since and max(since) < 1000
    log(range(5), "eval/success")
    expect(page.locator(".chart[data-name='eval/success'] .canvas.js-plotly-plot")).to_be_visible(
        timeout=60_000
    )


def test_tabs_by_keys(visit: Visit, rich: VariedRun) -> None:
    """The tabs follow the arrow keys, and the address names the tab."""
    opened(visit, rich)
    page = visit.page
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Metrics")).to_have_attribute("aria-selected", "true")
    assert page.url.endswith("#metrics")


def test_a_run_that_is_not_there(visit: Visit) -> None:
    """An unknown id says so and leads back."""
    visit.expected.append("404")
    visit.open("/runs/0198c7a0-0000-7000-8000-000000000000", ".empty")
    expect(visit.page.locator(".empty")).to_contain_text("There is no such run")
