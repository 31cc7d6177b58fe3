"""How a prediction ends, what it costs, what is fetched from it, and who sees the token."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from replicate_bench import SLEEP, Bench

from worldflux.errors import AccessError, RefusedError, TemporaryError, UsageError
from worldflux.runtime.base import RuntimeResult
from worldflux.runtime.remote import client
from worldflux.runtime.replicate import journal
from worldflux.runtime.replicate.outputs import allowed
from worldflux.runtime.replicate_plugin import OUTPUT_HOSTS
from worldflux.testing.replicate_server import TOKEN, ReplicateServer, Throttle


class TestEnds(Bench):
    """Every way a prediction can end is told apart."""

    def test_aborted_before_the_start_is_a_timeout_and_free(self, place: Path) -> None:
        """A cold start longer than the deadline ends as `aborted`, which costs nothing."""
        model = self.hello("me/cold", boot=60.0)
        plugin = self.make_plugin(model, start_seconds=4.0, hardware="cpu")
        result = self.predict(place, plugin, "prompt=x", timeout=1.0)
        assert result.metadata["prediction_status"] == "aborted"
        assert result.metadata["outcome"] == "timeout" and result.cost_estimate_usd == 0

    def test_a_slow_start_is_not_running_time(self, place: Path) -> None:
        """The timeout begins when the model does."""
        model = self.hello("me/slowstart", boot=7.0)
        result = self.predict(place, self.make_plugin(model), "prompt=x", timeout=5.0)
        assert result.exit_code == 0

    def test_timeout_is_by_our_own_clock(self, place: Path) -> None:
        """At the limit the prediction is cancelled, long before the deadline that was sent."""
        plugin = self.make_plugin(self.hello("me/sleep", SLEEP), start_seconds=600)
        result = self.predict(place, plugin, "prompt=x", timeout=0.5)
        assert result.metadata["outcome"] == "timeout" and result.metadata["prediction_status"] == "canceled"
        assert result.log_path.read_text() == "sleeping\n"

    def test_the_deadline_there_holds_without_us(self, place: Path) -> None:
        """`Cancel-After` is sent with every create: timeout plus start, and never past the budget."""
        plugin = self.make_plugin(self.hello(), start_seconds=60)
        self.predict(place, plugin, "prompt=x", timeout=30.0)
        rich = self.make_plugin(self.hello(), hardware="cpu", cost_guard={"max_usd": 0.002}, start_seconds=60)
        self.predict(place, rich, "prompt=x", timeout=30.0)
        creates = [r for r in self.world.log if (r.method, r.path) == ("POST", "/v1/predictions")]
        assert [r.headers["cancel-after"] for r in creates] == ["90s", "20s"]

    def test_a_spent_budget_ends_the_run(self, place: Path) -> None:
        """The money decides before the timeout does, and the estimate stays within it."""
        guard = {"max_usd": 0.0006}
        plugin = self.make_plugin(self.hello("me/sleep", SLEEP), hardware="cpu", cost_guard=guard)
        result = self.predict(place, plugin, "prompt=x", timeout=300.0)
        assert result.metadata["outcome"] == "refused" and "budget" in result.metadata["reason"]
        assert result.cost_estimate_usd is not None and result.cost_estimate_usd <= 0.0006

    @pytest.mark.parametrize(
        ("options", "what"),
        [
            ({"cost_guard": {"max_usd": 1.0}}, "price is not known"),
            ({"cost_guard": {"max_usd": 0.0001}, "hardware": "gpu-h100"}, "pays for 0 seconds"),
            ({"cost_guard": {"max_usd": 0.01}, "price_per_prediction": 0.05}, "a prediction costs"),
        ],
    )
    def test_a_budget_that_can_not_be_kept_refuses(
        self, place: Path, options: dict[str, Any], what: str
    ) -> None:
        """Unknown price or too little money: nothing is asked of the server."""
        with pytest.raises(RefusedError, match=what):
            self.predict(place, self.make_plugin(self.hello(), **options), "prompt=x")
        assert not self.world.log

    def test_cost_is_unknown_where_it_is_unknown(self, place: Path) -> None:
        """Without named hardware there is no estimate, and never a zero."""
        result = self.predict(place, self.make_plugin(self.hello()), "prompt=x")
        assert result.cost_estimate_usd is None and "not named" in result.metadata["cost"]["price_source"]
        named = self.predict(place, self.make_plugin(self.hello(), price_per_prediction=0.02), "prompt=x")
        assert named.cost_estimate_usd == 0.02
        with pytest.raises(UsageError, match="known: cpu"):
            self.predict(place, self.make_plugin(self.hello(), hardware="gpu-t5"), "prompt=x")

    def test_cancelled_from_outside(self, place: Path) -> None:
        """Somebody who ends it on the website ends the run as cancelled."""
        plugin = self.make_plugin(self.hello("me/sleep", SLEEP))

        def cancel() -> None:
            while not self.world.predictions:
                time.sleep(0.01)
            time.sleep(0.3)
            next(iter(self.world.predictions.values())).cancel()

        threading.Thread(target=cancel, daemon=True).start()
        assert self.predict(place, plugin, "prompt=x").metadata["outcome"] == "cancelled"

    def test_ctrl_c_ends_the_prediction(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interrupt in the watch leaves nothing running after teardown."""
        plugin = self.make_plugin(self.hello("me/sleep", SLEEP))
        from worldflux.runtime.replicate.prediction import Prediction

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Prediction, "_tail", interrupt)
        with pytest.raises(KeyboardInterrupt):
            self.predict(place, plugin, "prompt=x")
        (prediction,) = self.world.predictions.values()
        assert prediction.done.wait(60) and prediction.document()["status"] == "canceled"

    def test_throttled_requests_are_repeated_as_told(self, place: Path) -> None:
        """429 is waited out, by header or by text, for looking and for starting; one prediction is made."""
        self.world.throttles += [
            Throttle("POST", "/v1/predictions", 1, after=0.3),
            Throttle("GET", r"/v1/predictions/\w+", 1, after=0.3, header=False),
        ]
        began = time.monotonic()
        result = self.predict(place, self.make_plugin(self.hello()), "prompt=x")
        assert result.exit_code == 0 and len(self.world.predictions) == 1
        assert time.monotonic() - began >= 0.6
        assert [each.left for each in self.world.throttles] == [0, 0]

    def test_a_create_without_an_answer_is_never_repeated(self, place: Path) -> None:
        """It may have been carried out: the run fails, and what it left is found by its inputs and ended."""
        model = self.hello("me/sleep", SLEEP)
        other = self.make_plugin(model)
        other.api().create(model.version, {"prompt": "somebody else's"}, 600)
        self.world.swallow = 1
        with pytest.raises(TemporaryError, match="does not answer"):
            self.predict(place, other, "prompt=x")
        foreign, ours = self.world.predictions.values()
        assert ours.done.wait(60) and ours.document()["status"] == "canceled"
        assert not foreign.done.is_set()

    def test_a_server_error_is_waited_out_only_where_that_is_safe(self, place: Path) -> None:
        """Looking is repeated; starting is not."""
        plugin = self.make_plugin(self.hello())
        self.world.fail = 1
        assert self.predict(place, plugin, "prompt=x").exit_code == 0
        api = plugin.api()
        self.world.fail = 1
        with pytest.raises(TemporaryError, match="500"):
            api.create(self.hello().version, {"prompt": "x"}, 60)
        assert len(self.world.predictions) == 1

    def test_reap_ends_what_a_dead_client_left(self) -> None:
        """By the journal, only the runs that were named; a second time there is nothing to do."""
        model = self.hello("me/sleep", SLEEP)
        plugin = self.make_plugin(model)
        for run_id in ("dead", "alive"):
            entry = journal.intend(run_id, model.version, {"prompt": run_id}, (), 600)
            started = plugin.api().create(model.version, {"prompt": run_id}, 600)
            journal.write(replace(entry, prediction=started["id"]))
        rows, problems = plugin.reap(["dead"])
        assert [(row["run_id"], row["ended"]) for row in rows] == [("alive", False), ("dead", True)]
        dead, alive = self.world.predictions.values()
        assert dead.done.wait(60) and not alive.done.is_set() and problems == []
        assert [row["run_id"] for row in plugin.reap(["dead"])[0]] == ["alive"]

    def test_a_request_on_its_way_keeps_its_note(self) -> None:
        """A run that asks for its prediction just now is not settled by somebody else's reap."""
        model = self.hello("me/sleep", SLEEP)
        journal.intend("01890000-0000-7000-8000-000000000000", model.version, {"prompt": "x"}, (), 600)
        assert self.make_plugin(model).reap() == ([], [])
        assert [entry.run_id for entry in journal.entries()] == ["01890000-0000-7000-8000-000000000000"]

    def test_doctor_tells_what_was_left_behind(self) -> None:
        """A prediction whose client is dead is named with the command that ends it; no other one is."""
        model = self.hello("me/sleep", SLEEP)
        plugin = self.make_plugin(model)
        for run_id in ("dead", "alive"):
            entry = journal.intend(run_id, model.version, {"prompt": run_id}, (), 600)
            started = plugin.api().create(model.version, {"prompt": run_id}, 600)
            gone = client.me().rpartition("/")[0] + "/0" if run_id == "dead" else entry.client
            journal.write(replace(entry, prediction=started["id"], client=gone))
        (line,) = [line for line in plugin.doctor() if "left behind" in line]
        assert "of run dead (its client is dead)" in line and "alive" not in line and "runs reap" in line
        assert not line.startswith("error:")

    def test_two_lookalikes_are_not_touched(self) -> None:
        """Where it can not be told which one is ours, none is ended, and both are named."""
        model = self.hello("me/sleep", SLEEP)
        plugin = self.make_plugin(model)
        journal.intend("dead", model.version, {"prompt": "x"}, (), 600)
        for _ in range(2):
            plugin.api().create(model.version, {"prompt": "x"}, 600)
        rows, (problem,) = plugin.reap(["dead"])
        assert rows == [] and "none was touched" in problem
        assert not any(each.done.is_set() for each in self.world.predictions.values())


class TestHostileOutput(Bench):
    """The author of a model chooses the addresses in its output."""

    def output_of(self, place: Path, output: Any, **options: Any) -> RuntimeResult:
        text = (
            "import os\n"
            f"open(os.environ['OUT'] + '/a.bin', 'wb').write(b'x' * 100)\n"
            f"open(os.environ['OUT'] + '/output.json', 'w').write({json.dumps(output)!r})"
        )
        return self.predict(place, self.make_plugin(self.hello("me/hostile", text), **options), "prompt=x")

    def test_the_token_goes_to_no_other_host(self, place: Path) -> None:
        """Neither an allowed nor a foreign host of an output sees it."""
        with ReplicateServer() as foreign:
            output = [
                f"http://{foreign.delivery_host}/steal",
                f"{foreign.url}/v1/account",
                "{delivery}/a.bin",
            ]
            result = self.output_of(place, output)
            assert foreign.log == foreign.delivery_log == []
        assert self.output() == [*output[:2], "a.bin"]
        assert len(result.metadata["outputs_refused"]) == 2
        assert "authorization" not in self.world.delivery_log[-1].headers
        assert TOKEN.encode() not in b"".join(r.body for r in self.world.log)

    @pytest.mark.parametrize(
        "address",
        [
            "https://replicate.delivery.evil.example/x",
            "https://user@replicate.delivery/x",
            "http://replicate.delivery/x",
            "https://replicate.delivery:8443/x",
            "https://xreplicate.delivery/x",
            "ftp://replicate.delivery/x",
            "https://[::1/x",
        ],
    )
    def test_an_address_must_be_https_on_a_listed_host(self, address: str) -> None:
        """Lookalikes, other ports, other schemes and user names are refused."""
        assert not allowed(address, OUTPUT_HOSTS)
        assert allowed("https://replicate.delivery/a", OUTPUT_HOSTS)
        assert allowed("https://eu.replicate.delivery/a?x=y", OUTPUT_HOSTS)

    def test_a_name_can_not_lead_out(self, place: Path) -> None:
        """Whatever the address ends in, the file lies in the artifacts under a plain name."""
        names = ["..%2f..%2fescape", ".bashrc", "a.bin"]
        self.output_of(place, [f"{{delivery}}/{name}" for name in names] + ["data:text/plain;base64,aGk="])
        files = sorted(p.name for p in (self.ctx.output_dir / "artifacts").iterdir())
        assert files == ["a.bin", "output.json", "output.plain"]
        assert not (self.ctx.output_dir / "escape").exists()

    def test_a_cap_holds_for_all_files_together(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What goes over it is not kept, and the record says so."""
        monkeypatch.setattr("worldflux.runtime.replicate.prediction.OVERHEAD", 0)
        result = self.output_of(place, ["{delivery}/a.bin", "{delivery}/a.bin"], download_cap_mb=0.00015)
        assert "over the limit" in result.metadata["outputs_refused"][0]
        assert [p.name for p in result.artifacts] == ["a.bin"]

    def test_a_deep_output_is_cut(self, place: Path) -> None:
        """Nesting without end does not end the run."""
        deep: Any = "x"
        for _ in range(100):
            deep = [deep]
        assert self.output_of(place, deep).exit_code == 0


class TestAccount(Bench):
    def test_a_wrong_token_is_an_access_error(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rejected or missing tokens say where to get one, and never show themselves."""
        monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_wrong_planted")
        with pytest.raises(AccessError, match="401") as caught:
            self.predict(place, self.make_plugin(self.hello()), "prompt=x")
        assert "planted" not in str(caught.value)
        monkeypatch.delenv("REPLICATE_API_TOKEN")
        with pytest.raises(AccessError, match="is not set"):
            self.predict(place, self.make_plugin(self.hello()), "prompt=x")

    def test_the_token_is_never_sent_in_the_clear(self) -> None:
        """An http address that is not this machine is refused."""
        with pytest.raises(UsageError, match="in the clear"):
            self.make_plugin(api_url="http://replicate.example").api()

    def test_doctor_says_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Token, server, leftovers and the age of the rates, one line each; an error blocks runs."""
        plugin = self.make_plugin(self.hello("me/sleep", SLEEP))
        plugin.api().create(self.models[1].version, {"prompt": "x"}, 600)
        text = "\n".join(plugin.doctor())
        for part in (
            "no SDK is needed",
            "is set",
            "account stand-in",
            "1 predictions are running",
            "rates are of",
        ):
            assert part in text
        assert "error:" not in text
        monkeypatch.delenv("REPLICATE_API_TOKEN")
        assert plugin.doctor()[-1].startswith("error: REPLICATE_API_TOKEN is not set")
        monkeypatch.setenv("REPLICATE_API_TOKEN", "wrong")
        assert plugin.doctor()[-1].startswith("error: replicate answered 401")

    def test_plan_says_what_would_travel(self, place: Path) -> None:
        """The dry run lists the files that leave and those that stay, and asks nobody."""
        for name in ("main.py", ".env", "deploy.pem"):
            (place / "source" / name).write_text("x")
        plugin = self.make_plugin(hardware="cpu", cost_guard={"max_usd": 0.05})
        lines = "\n".join(plugin.plan({"source_dir": place / "source", "timeout": None, "variables": []}))
        assert "1 files, 1 bytes travel\n            main.py" in lines
        assert ".env  (.env)" in lines and "deploy.pem  (*.pem)" in lines
        assert "0.36 USD an hour" in lines and "deadline  500 seconds" in lines
        assert self.world.log == []
