"""A log of any size is a window on the page: nothing but what is in sight is held."""

from __future__ import annotations

import pytest
from browsing import Visit
from fill import VariedRun
from playwright.sync_api import expect
from sent_runs import frame, send

LOG_BYTES = 100_000_000


@pytest.mark.slow
def test_a_hundred_megabytes_of_log(visit: Visit) -> None:
    """Its end, its start and any place are shown at once, and only a window of it is in memory."""
    run = VariedRun(project="logs", name="talks", status="running", series=None, logs={})
    send(visit.site, *run.frames(), expect=200)
    line = b"step %08d: the loss is falling, and the log is growing with it: all of it is kept\n"
    block = 4_000_000
    sent, number = 0, 0
    while sent < LOG_BYTES:
        count = block // len(line % 0)
        body = b"".join(line % (number + each) for each in range(count))
        head = {"part": "stream", "stream": "log:output", "offset": sent, "project": "logs"}
        send(visit.site, frame(run.run_id, body, **head), zipped=True, expect=200)
        sent, number = sent + len(body), number + count
    page = visit.open(f"/runs/{run.run_id}#log", ".log .lines > div")
    expect(page.locator(".log .lines > div").last).to_contain_text(f"step {number - 1:08d}")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".log .lines > div").first).to_contain_text("step 00000000", timeout=10_000)
    page.get_by_label("Place in the log").fill("500")
    page.get_by_label("Place in the log").dispatch_event("change")
    expect(page.locator(".log .foot")).to_contain_text("52.")
    for _ in range(30):
        page.locator(".log .text").evaluate("text => { text.scrollTop = text.scrollHeight; }")
        page.wait_for_timeout(50)
    assert page.locator(".log .lines > div").count() < 150
    heap = page.evaluate("() => performance.memory.usedJSHeapSize")
    print("heap, MB:", round(heap / 1e6))
    assert heap < 80_000_000
