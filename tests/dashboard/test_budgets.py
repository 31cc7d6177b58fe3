"""What a page may cost, measured in the browser: time to the first table, time to answer, bytes, requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import Visit
from fill import send_all, sweep
from playwright.sync_api import Browser, expect
from server_process import Server, start

pytestmark = [pytest.mark.slow, pytest.mark.serial, pytest.mark.timeout(420)]

RUNS = 10_000
FIRST_TABLE_MS = 1000
ANSWER_MS = 100
PAGE_BYTES = 300_000
#: So often is measured what took too long: the machine may have had other work for a while, never for good.
ROUNDS = 5

#: The time from the event to the frame after the one that shows its effect.
_TO_NEXT_FRAME = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with ten thousand runs."""
    running = start(tmp_path_factory.mktemp("large") / "data")
    assert send_all(running, sweep(RUNS, project="large")) == RUNS
    yield running
    running.stop()


def lower_quartile(times: list[float]) -> float:
    """What the page needs: other work on the machine only ever adds to it."""
    return sorted(times)[len(times) // 4]


def first_table(browser: Browser, site: Server) -> tuple[float, int]:
    """Milliseconds from the start of the navigation to the first row with an empty cache, and bytes received."""
    with Visit.begin(browser, site) as visit:
        visit.sign_in()
        meter = visit.context.new_cdp_session(visit.page)
        meter.send("Network.enable")
        received = [0]
        meter.on("Network.loadingFinished", lambda told: received.append(int(told["encodedDataLength"])))
        visit.page.add_init_script(
            """new MutationObserver((_, watch) => {
                if (document.querySelector('.grid-body .grid-row .open')) {
                    watch.disconnect();
                    requestAnimationFrame(() => { window.firstTable = performance.now(); });
                }
            }).observe(document, {childList: true, subtree: true});"""
        )
        visit.open_runs("/p/large")
        visit.page.wait_for_function("() => window.firstTable")
        visit.page.wait_for_load_state("networkidle")
        assert visit.total() == str(RUNS).replace("10000", "10\u202f000")
        assert not any("plotly" in url for url in visit.addresses)
        return visit.page.evaluate("() => window.firstTable"), sum(received)


def test_the_first_table_is_there_within_a_second(browser: Browser, site: Server) -> None:
    """With 10,000 runs and nothing cached the first rows stand after a second, for less than 300 kB."""
    first_table(browser, site)  # the server warms up
    seen = [first_table(browser, site) for _ in range(7)]
    print("first table, ms:", [round(time) for time, _ in seen], "bytes:", seen[0][1])
    assert lower_quartile([time for time, _ in seen]) <= FIRST_TABLE_MS, seen
    assert max(size for _, size in seen) <= PAGE_BYTES, seen


def test_the_page_answers_within_a_tenth_of_a_second(visit: Visit) -> None:
    """Choosing, moving by keys, opening the columns and scrolling show their effect within 100 ms."""
    page = visit.open_runs("/p/large")
    page.wait_for_load_state("networkidle")

    def timed(action: str, after: int) -> float:
        times: list[float] = page.evaluate(
            f"""async () => {{
                const found = [];
                for (let turn = {9 * after}; turn < {9 * after + 9}; turn += 1) {{
                    const begun = performance.now();
                    ({action})(turn);
                    await {_TO_NEXT_FRAME};
                    found.push(performance.now() - begun);
                    await new Promise(done => setTimeout(done, 60));
                }}
                return found;
            }}"""
        )
        return lower_quartile(times)

    key = "document.querySelector('.grid').dispatchEvent(new KeyboardEvent('keydown', {key: 'KEY', bubbles: true}))"
    actions = {
        "choose": "turn => document.querySelector(`.grid-row[data-place='${turn % 9}'] input`).click()",
        "move": f"() => {key.replace('KEY', 'PageDown')}",
        "scroll": "turn => { document.querySelector('.grid').scrollTop = 900 * turn; }",
        "columns": "() => document.querySelector('.toolbar .button').click()",
    }
    seen: dict[str, list[float]] = {name: [] for name in actions}
    for after in range(ROUNDS):
        slow = [name for name, times in seen.items() if not times or min(times) > ANSWER_MS]
        for name in slow:
            page.evaluate("() => { document.querySelector('.grid').scrollTop = 0; }")
            page.locator(".grid-row[data-place='0'] input").wait_for()
            seen[name].append(round(timed(actions[name], after), 1))
    print("answers, ms:", seen)
    assert all(min(times) <= ANSWER_MS for times in seen.values()), seen


def test_the_last_of_ten_thousand_is_reached(visit: Visit) -> None:
    """The scroll bar's end shows the oldest run; the page never holds more than the rows in sight."""
    page = visit.open_runs("/p/large")
    page.evaluate(
        "() => { const grid = document.querySelector('.grid'); grid.scrollTop = grid.scrollHeight; }"
    )
    expect(page.locator(f".grid-row[data-place='{RUNS - 1}'] .open")).to_contain_text(
        "-00000", timeout=20_000
    )
    assert page.locator(".grid-row").count() < 60
