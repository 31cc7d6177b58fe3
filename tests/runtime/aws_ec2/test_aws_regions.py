"""Machines in more than one region: launched, followed, found again and ended where they are."""

from __future__ import annotations

import time

from aws_world import World, client_log, until
from fake_aws import ACCOUNT, ELSEWHERE, REGION

TAGS = {"worldflux:run-id": "01890000-0000-7000-8000-000000000000", "worldflux:attempt": "1"}
LATE = {**TAGS, "worldflux:deadline": "2020-01-01T00:00:00+00:00"}


def abandoned(world: World, region: str, **options: object) -> str:
    """A machine in a region whose client is dead, with nothing on it that could switch it off."""
    world.house.flags = {"broken", "no-timer", "no-logind"}
    client = world.start("params.mode=sleep", "timeout=600", region=region, **options)
    machine = world.machine()
    until(lambda: world.journal()["attempts"][0]["instance_id"], "the journal", 30)
    client.process.kill()
    client.wait()
    return machine.id


def test_a_run_in_another_region_is_taken_up_there(world: World) -> None:
    """Launch, bucket and objects are in the region that was chosen; `attach` needs no option to find it."""
    client = world.start("params.mode=short", region=ELSEWHERE)
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    client.process.kill()
    client.wait()
    code, answer = world.cli("runs", "attach", "last")
    assert code == 0 and answer["data"]["metrics"]["answer"] == 42, str(answer)
    assert [call.region for call in world.launches] == [ELSEWHERE]
    assert {call.region for call in world.made("S3:PUT")} == {ELSEWHERE}
    assert world.journal()["bucket"] == f"worldflux-{ACCOUNT}-{ELSEWHERE}"
    assert world.alive == []


def test_leftovers_of_a_region_that_nobody_configured(world: World) -> None:
    """`runs reap` and doctor look where this computer has launched, though only a command line said so."""
    left = abandoned(world, ELSEWHERE)
    code, answer = world.cli("runs", "reap")
    [row] = answer["data"]["machines"]
    assert (row["instance_id"], row["region"], row["ended"]) == (left, ELSEWHERE, False)
    world.set_deadline(left, time.time() - 120)
    code, answer = world.cli("runtime", "doctor", "aws-ec2")
    assert f"{left} in {ELSEWHERE} (past its deadline)" in str(answer)
    code, answer = world.cli("runs", "reap")
    assert code == 0 and [row["instance_id"] for row in answer["data"]["machines"] if row["ended"]] == [left]
    assert world.alive == []


def test_leftovers_of_another_computer(world: World) -> None:
    """In a region that is configured, machines are found that another computer launched; one call each."""
    here, there = (world.launch_foreign(LATE, region=region) for region in (REGION, ELSEWHERE))
    world.configure(reap_regions=f"[{ELSEWHERE}]")
    before = len(world.aws.calls)
    code, answer = world.cli("runs", "reap")
    assert code == 0 and answer["data"]["ended"] == 2, answer
    assert {(row["instance_id"], row["region"]) for row in answer["data"]["machines"]} == {
        (here, REGION),
        (there, ELSEWHERE),
    }
    ended = [(c.action, c.region) for c in world.aws.calls[before:] if c.action == "TerminateInstances"]
    assert sorted(ended) == [("TerminateInstances", ELSEWHERE), ("TerminateInstances", REGION)]
    assert world.alive == []


def test_a_region_that_does_not_answer_hides_no_other(world: World) -> None:
    """What one region holds is ended though the other refuses, and the refusal is told: exit code 3."""
    left = world.launch_foreign(LATE, region=ELSEWHERE)
    world.configure(reap_regions=f"[{ELSEWHERE}]")
    world.aws.fault(
        "DescribeInstances",
        "error",
        times=99,
        code="UnauthorizedOperation",
        when=lambda c: c.region == REGION,
    )
    code, answer = world.cli("runs", "reap")
    assert code == 3 and [row["instance_id"] for row in answer["data"]["machines"] if row["ended"]] == [left]
    [problem] = answer["data"]["problems"]
    assert REGION in problem and world.alive == []


def test_a_run_reaps_in_every_region(world: World) -> None:
    """A paid run ends what is late in the other configured region, too, before it launches."""
    left = world.launch_foreign(LATE, region=ELSEWHERE)
    code, out = world.run(reap_regions=f"[{ELSEWHERE}]")
    assert code == 0, out
    assert left in (world.runs()[0] / "logs" / "aws-ec2.log").read_text()
    assert world.alive == []
