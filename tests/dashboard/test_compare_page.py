"""Runs side by side, in a browser."""

from __future__ import annotations

import itertools
import re

import pytest
from browsing import Visit
from fill import VariedRun, curve, send_all
from films import png
from playwright.sync_api import expect
from server_process import Server

from worldflux.manifest.model import success_metric

RATES = {"act": [20, 22, 19, 25, 21, 18], "diffusion": [33, 36, 31, 40, 35, 30]}


@pytest.fixture(scope="module")
def runs(site: Server) -> list[VariedRun]:
    """Two policies with the same six seeds, each with curves and a picture."""
    made = [
        VariedRun(
            project="pairs",
            name="pairs",
            metrics={
                "success": success_metric(k, 50),
                "loss": {"value": 0.1 * seed + (policy == "act"), "step": 39, "kind": "value"},
            },
            params={"recipe": "push-eval", "seed": seed, "params": {"policy": policy, "lr": 0.1}},
            series=curve(seed, 0.1, 40),
            artifacts={"view.png": png(24, 40 * seed, 90, 200 if policy == "act" else 60)},
            media_types={"view.png": "image/png"},
        )
        for policy, rates in RATES.items()
        for seed, k in enumerate(rates)
    ]
    send_all(site, made)
    return made


def opened(visit: Visit, runs: list[VariedRun]) -> None:
    ids = ",".join(run.run_id for run in runs)
    visit.open(f"/compare?runs={ids}", ".scatterlayer .trace")


def test_groups_have_rates_and_a_paired_test(visit: Visit, runs: list[VariedRun]) -> None:
    """Rates are pooled with their Wilson interval; where seeds match the difference is tested exactly."""
    opened(visit, runs)
    page = visit.page
    expect(page.get_by_label("Group by")).to_have_value("policy")
    row = page.get_by_role("table", name="Results by group").locator("tr", has_text="success")
    expect(row.locator("td").nth(0)).to_contain_text("125 of 300")
    expect(row.locator("td").nth(0)).to_contain_text(re.compile(r"41.7\s%.*36.2–47.3", re.S))
    expect(row.locator("td").nth(1)).to_contain_text("205 of 300")
    # Six differences of one sign: 2 of the 64 ways to turn signs are as far out.
    expect(row.locator("td").nth(2)).to_contain_text(re.compile(r"\+26.7 pp.*p = 0.031.*6 pairs", re.S))


def test_only_matching_seeds_are_paired(visit: Visit, runs: list[VariedRun]) -> None:
    """Seeds that only one group has are no pairs; with a single one in common there is no test."""
    opened(visit, [*runs[:4], *runs[8:]])
    row = visit.page.get_by_role("table", name="Results by group").locator("tr", has_text="success")
    expect(row.locator("td").nth(2)).to_contain_text("2 pairs")
    opened(visit, [*runs[:3], *runs[8:]])
    expect(row.locator("td").nth(2)).to_contain_text("needs two or more seeds")


def test_each_run_alone(visit: Visit, runs: list[VariedRun]) -> None:
    """Without a group each run has its own column and its own interval."""
    opened(visit, runs[:3])
    page = visit.page
    page.get_by_label("Group by").select_option("")
    row = page.get_by_role("table", name="Results by group").locator("tr", has_text="success")
    expect(row.locator("td")).to_have_count(3)
    expect(row.locator("td").first).to_contain_text("20 of 50")


def test_curves_lie_over_one_another(visit: Visit, runs: list[VariedRun]) -> None:
    """One curve for each run; the mean of each group with its range; another metric by choice."""
    opened(visit, runs)
    page = visit.page
    drawn = "() => document.querySelector('#curves .canvas').data.length"
    assert page.evaluate(drawn) == len(runs)
    page.get_by_label("Mean of each group").check()
    page.wait_for_function(f"() => ({drawn})() === 6")
    page.get_by_label("Metric", exact=True).select_option("reward")
    page.wait_for_function(
        "() => document.querySelector('#curves .canvas').layout.yaxis.title.text === 'reward'"
    )


def test_settings_that_differ(visit: Visit, runs: list[VariedRun]) -> None:
    """Only settings that are not the same everywhere are listed, the others on demand."""
    opened(visit, [runs[0], runs[6]])
    page = visit.page
    table = page.get_by_role("table", name="Settings")
    assert table.locator("th[scope=row]").all_inner_texts() == ["policy"]
    expect(table.locator("td.off")).to_have_text("diffusion")
    page.get_by_label("Show all").check()
    assert "lr" in table.locator("th[scope=row]").all_inner_texts()


def test_parallel_coordinates_keep_a_range(visit: Visit, runs: list[VariedRun]) -> None:
    """A range that is drawn on an axis leaves only the runs within it."""
    opened(visit, runs)
    page = visit.page
    plot = page.locator(".parallel")
    plot.scroll_into_view_if_needed()
    assert plot.locator("path").count() == len(runs)
    axis = plot.locator("g.axis", has_text="success").locator("line").bounding_box()
    assert axis is not None
    page.mouse.move(axis["x"], axis["y"] - 3)
    page.mouse.down()
    page.mouse.move(axis["x"], axis["y"] + axis["height"] * 0.5, steps=6)
    page.mouse.up()
    high = sum(k >= 30 for rates in RATES.values() for k in rates)
    expect(page.locator("#parallel header")).to_contain_text(f"{high} of 12 runs kept")


def test_pictures_stand_side_by_side(visit: Visit, runs: list[VariedRun]) -> None:
    """The same picture of each run is in one row."""
    opened(visit, runs[:4])
    page = visit.page
    page.locator("#media img").nth(3).wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('#media img')].every(each => each.naturalWidth === 24)"
    )


def test_a_run_is_left_out(visit: Visit, runs: list[VariedRun]) -> None:
    """A run leaves the comparison by its chip; what is gone is told."""
    opened(visit, runs[:3])
    visit.page.get_by_label(re.compile("^Leave out")).first.click()
    expect(visit.page.locator(".legend .chip")).to_have_count(2)
    visit.expected.append("404")
    visit.open(f"/compare?runs={runs[0].run_id},0198c7a0-0000-7000-8000-000000000000", ".note.warn")
    expect(visit.page.locator(".note.warn")).to_contain_text("1 run can not be shown")


def test_an_empty_page_teaches(visit: Visit) -> None:
    """Without runs the page says how to choose some."""
    visit.open("/compare", ".empty")
    expect(visit.page.locator(".empty")).to_contain_text("press c")


def test_the_statistics_are_right(visit: Visit) -> None:
    """Wilson, Student and the sign-flip test agree with SciPy."""
    from scipy import stats

    page = visit.open("/compare", ".empty")
    assert page
    for k, n in ((0, 5), (3, 7), (50, 50), (410, 1000)):
        low, high = visit.module("stats.js", "(stats, [k, n]) => stats.wilson(k, n)", [k, n])
        wanted = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    for freedom in (1, 2, 5, 30, 200):
        found = visit.module("stats.js", "(stats, freedom) => stats.studentT95(freedom)", freedom)
        assert found == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)
    for differences in ([1.0, 2.0, -0.5, 3.0], [0.1, 0.1, 0.1], [0.0, 0.0], [5.0, -5.0, 1.0]):
        found = visit.module("stats.js", "(stats, all) => stats.paired(all)", differences)
        signs = itertools.product((1, -1), repeat=len(differences))
        sums = [abs(sum(sign * each for sign, each in zip(row, differences, strict=True))) for row in signs]
        wanted_p = sum(each >= abs(sum(differences)) - 1e-9 for each in sums) / len(sums)
        assert found["p"] == pytest.approx(wanted_p)
    many = [0.1 * ((-1) ** each) + 0.05 * (each % 3) for each in range(30)]
    found = visit.module("stats.js", "(stats, all) => stats.paired(all)", many)
    assert found["p"] == pytest.approx(stats.ttest_1samp(many, 0).pvalue, rel=1e-6)
