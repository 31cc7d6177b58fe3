"""Money and time before anything is started: pure functions, checked by hand and by property."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldflux.errors import RefusedError
from worldflux.runtime.aws_ec2 import bundle, cost, prices, user_data
from worldflux.runtime.aws_ec2.cloud import machine_of, ours, run_tags
from worldflux.runtime.aws_ec2.host import results
from worldflux.runtime.aws_ec2.plan import Machine, Variant, check_machine, make_plan, variants
from worldflux.runtime.aws_ec2.prices import PriceCache, Quote, quote
from worldflux.runtime.aws_ec2_plugin import AwsEc2Plugin

NOW = 1_800_000_000.0
RUN = "01890000-0000-7000-8000-000000000000"


def settings(max_usd: float | None = 1.0, **options: Any) -> Any:
    return AwsEc2Plugin(cost_guard={"max_usd": max_usd}, **options).settings


def rate(bound: float) -> Quote:
    return Quote("on-demand", bound, bound, None, "test", "2026-01-01")


@given(
    usd=st.floats(0.01, 1000),
    hourly=st.floats(0.005, 100),
    spent=st.floats(0, 500),
    timeout=st.none() | st.floats(1, 1e6),
)
def test_a_plan_never_costs_more_than_what_is_left(
    usd: float, hourly: float, spent: float, timeout: float | None
) -> None:
    """Whatever the price: living to the deadline, margin included, stays within the budget's rest."""
    try:
        plan = make_plan(
            Variant("x", "on-demand"), rate(hourly), settings(usd), now=NOW, timeout=timeout, spent_usd=spent
        )
    except RefusedError:
        return
    lived = plan.deadline - NOW + 120
    assert plan.rate * lived / 3600 <= usd - spent + 1e-5
    assert NOW < plan.command_until < plan.deadline
    assert plan.worst_usd <= usd - spent + 1e-9


def test_the_minimum_bill_is_counted() -> None:
    """EC2 bills a minute at least: a budget below that is refused though its seconds would do."""
    options = settings(0.01, margin_seconds=0, upload_seconds=0, minimum_seconds=1)
    with pytest.raises(RefusedError) as refused:
        make_plan(Variant("x", "on-demand"), rate(1.0), options, now=NOW, timeout=10)
    assert refused.value.code == "budget_too_small" and "cost_guard.max_usd=" in refused.value.hint


def test_no_budget_is_refused() -> None:
    """A paid machine without a limit is not planned."""
    with pytest.raises(RefusedError) as refused:
        make_plan(Variant("x", "spot"), rate(1.0), settings(None), now=NOW, timeout=None)
    assert refused.value.code == "no_budget"


@pytest.mark.parametrize(
    ("life", "until", "code"), [("8d", None, "urls_expire"), ("2h", 3600, "credentials_expire")]
)
def test_urls_must_outlive_the_machine(life: str, until: float | None, code: str) -> None:
    """Presigned URLs that would die first are refused; a role of the machine's own has no such end."""
    later = None if until is None else NOW + until
    with pytest.raises(RefusedError) as refused:
        make_plan(
            Variant("x", "spot"), rate(0.1), settings(100.0, lifetime=life),
            now=NOW, timeout=None, credentials_until=later,
        )  # fmt: skip
    assert refused.value.code == code
    with_role = settings(100.0, lifetime=life, instance_profile="role")
    assert make_plan(
        Variant("x", "spot"), rate(0.1), with_role, now=NOW, timeout=None, credentials_until=later
    )


def test_variants_only_as_allowed() -> None:
    """Without `fallback` there is one way; with it zones come first, then types, on-demand last."""
    types = ["a1.x", "b1.x"]
    assert [str(v) for v in variants(settings(instance_types=types), ("z1", "z2"))] == ["spot a1.x"]
    every = settings(instance_types=types, zones=["z1", "z2"], fallback=["zone", "type", "on-demand"])
    assert [str(v) for v in variants(every, ())] == [
        "spot a1.x in z1", "spot a1.x in z2", "spot b1.x in z1", "spot b1.x in z2",
        "on-demand a1.x in z1", "on-demand a1.x in z2", "on-demand b1.x in z1", "on-demand b1.x in z2",
    ]  # fmt: skip


def test_a_spot_ceiling_is_the_bound() -> None:
    """The ceiling that AWS is told is the price the budget is divided by, and never above on-demand."""
    found = quote("spot", "x", given=None, listed=rate(1.0), spot=0.4, today="2026-01-01")
    assert found.bound == found.ceiling == pytest.approx(0.5) and found.expected == 0.4
    assert quote("spot", "x", given=None, listed=rate(0.45), spot=0.4, today="d").ceiling == pytest.approx(
        0.45
    )
    assert quote("spot", "x", given=0.3, listed=None, spot=0.2, today="d").bound == 0.3
    for market in ("spot", "on-demand"):
        with pytest.raises(RefusedError, match="not known"):
            quote(market, "x", given=None, listed=None, spot=None, today="d")


def test_the_dearest_listed_price_counts() -> None:
    """An answer with several offers is read as the most expensive one; free ones are no price."""

    def item(usd: str) -> str:
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}}
        return json.dumps({"terms": {"OnDemand": {"a": {"priceDimensions": {"b": dimension}}}}})

    assert prices.listed_price([item("0.0000000000"), item("0.17"), item("0.085")]) == 0.17
    assert prices.listed_price([]) is None


def test_a_remembered_price_has_a_date(tmp_path: Path) -> None:
    """The cache gives what was looked up lately, and nothing old, damaged or for another machine."""
    cache = PriceCache(tmp_path / "deep" / "prices.json")
    day = datetime.date(2026, 5, 1)
    cache.put("x", "r", Quote("on-demand", 0.5, 0.5, None, prices.LISTED, day.isoformat()))
    assert cache.get("x", "r", day + datetime.timedelta(30)).bound == 0.5  # type: ignore[union-attr]
    assert cache.get("x", "r", day + datetime.timedelta(31)) is None
    assert cache.get("y", "r", day) is None
    cache.path.write_text("{")
    assert cache.get("x", "r", day) is None


def test_gpu_memory_of_one_gpu_counts() -> None:
    """Four small GPUs are not one large GPU, and 24 GB as vendors count it is 24."""
    entry = {
        "InstanceType": "g5.12xlarge",
        "GpuInfo": {"Gpus": [{"Count": 4, "MemoryInfo": {"SizeInMiB": 22888}}], "TotalGpuMemoryInMiB": 91552},
    }
    machine = machine_of(entry, ())
    check_machine(machine, settings_with_vram(24))
    with pytest.raises(RefusedError, match="24 GB"):
        check_machine(machine, settings_with_vram(40))
    with pytest.raises(RefusedError, match="no GPU"):
        check_machine(Machine("c5.large", "x86_64", 2, 4, None, ()), settings_with_vram(1))


def settings_with_vram(floor: float) -> Any:
    return AwsEc2Plugin(cost_guard={"max_usd": 1}, requires={"vram_gb": floor}).settings


def test_the_cost_in_parts() -> None:
    """A minute at least is billed; the end is what EC2 says; the parts add up."""
    plan = {"machine_usd_h": 0.4, "bound_usd_h": 0.5, "disk_usd_h": 0.01, "address_usd_h": 0.005}
    short = cost.attempt_cost(plan, NOW, NOW + 5)
    assert short["seconds"] == 60 and short["usd"] == pytest.approx(0.415 / 60, abs=1e-6)
    assert short["bound_usd"] > short["usd"]
    assert cost.ended_at("User initiated (2026-11-21 10:00:00 GMT)") == 1795255200.0
    assert cost.ended_at("") is None and cost.ended_at(None) is None
    both = cost.total([{"cost": short, "plan": plan}, {"cost": short, "plan": plan}])
    assert both["estimate_usd"] == pytest.approx(2 * short["usd"], abs=1e-5) and len(both["parts"]) == 6


def test_only_our_own_tags_are_ours() -> None:
    """Every tag that a launch puts on a machine is needed to take it for ours."""
    labels = run_tags(RUN, 1, NOW, 5.0)
    assert ours({"Tags": labels})
    for missing in ("worldflux:run-id", "worldflux:deadline", "worldflux:attempt"):
        assert not ours({"Tags": [each for each in labels if each["Key"] != missing]})
    spoilt = [{**each, "Value": "soon"} if each["Key"] == "worldflux:deadline" else each for each in labels]
    assert not ours({"Tags": spoilt}) and not ours({})


def script(deadline: float = NOW + 3600, url: str = "https://bucket.example/x?a=1&b='2'") -> str:
    return user_data.render(run_id=RUN, attempt=1, deadline=deadline, now=NOW, url=url, sha256="0" * 64)


def test_user_data_is_small_and_sound(tmp_path: Path) -> None:
    """Stage one fits even with the longest URL, is valid bash, and lights every fuse before the network."""
    text = script(url="https://bucket.example/" + "x" * 3000)
    assert len(text.encode()) < user_data.LIMIT_BYTES
    path = tmp_path / "user-data"
    path.write_text(script())
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
    lines = script().splitlines()
    first = next(index for index, line in enumerate(lines) if "curl" in line)
    fuses = "\n".join(lines[:first])
    for fuse in (
        "OnCalendar=",
        "worldflux-fuse.timer ||",
        f"D={int(NOW + 3600)}",
        "systemctl poweroff --force --force",
    ):
        assert fuse in fuses
    assert "OnCalendar=2027-01-15 09:00:00 UTC" in fuses, "absolute, so that a reboot changes nothing"
    assert "halt" not in script(), "a halted machine is still billed"
    assert script().rstrip().splitlines()[-1].startswith("shutdown -P now")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_units_are_valid(tmp_path: Path) -> None:
    """systemd itself finds nothing wrong with the fuse's units, and understands the time."""
    for name, text in user_data.units(NOW + 60, NOW).items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "worldflux-fuse.timer")],
        capture_output=True, text=True,
    )  # fmt: skip
    complaints = [
        line for line in done.stderr.splitlines() if "worldflux-fuse" in line and "KillMode" not in line
    ]
    assert done.returncode == 0 and not complaints, done.stderr
    asked = subprocess.run(
        ["systemd-analyze", "calendar", "2027-01-15 09:00:00 UTC"], capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr


def test_what_travels(tmp_path: Path) -> None:
    """Code travels; keys, environments, repositories and links do not; the archive has one form."""
    wanted = {"main.py": "x", "lib/a.py": "y"}
    unwanted = {
        ".git/config": "",
        ".env": "K=1",
        "key.pem": "",
        "runs/1/x": "",
        "__pycache__/m.pyc": "",
        "big.bin": "",
    }
    for name, text in {**wanted, **unwanted}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "link").symlink_to("/etc/passwd")
    source = bundle.find_source(tmp_path, ["*.bin"])
    assert [name for name, _ in source.files] == sorted(wanted)
    assert bundle.pack_source(source) == bundle.pack_source(bundle.find_source(tmp_path, ["*.bin"]))


def test_declared_artifacts_come_first() -> None:
    """When not everything fits, what the recipe commits goes before what it mentions, and that before the rest."""
    files = [("a.bin", 5000), ("b.bin", 5000), ("c.bin", 5000)]
    taken, left_out = results.choose(files, ["c.bin", "b.*"], 15000)
    assert [name for name, _ in taken] == ["b.bin", "c.bin"] and left_out == ["a.bin"]
    assert results.slices(10, 4) == [(0, 4), (4, 4), (8, 2)]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("market", "cheap"), ("fallback", ["region"]), ("retries", -1), ("boot_seconds", "soon"),
        ("ami", "latest"), ("disk_gb", 1), ("instance_types", [1]), ("lifetime", True),
        ("cost_guard", {"max_usd": -1}), ("cost_guard", {"max_usd": True}),
    ],
)  # fmt: skip
def test_options_that_can_not_be_meant(option: str, value: object) -> None:
    """A wrong option is refused by name before anything happens."""
    with pytest.raises(ValueError, match=option):
        AwsEc2Plugin(**{option: value})  # type: ignore[arg-type]
