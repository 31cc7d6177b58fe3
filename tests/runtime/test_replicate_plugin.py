"""runtime=replicate keeps the promises of a runtime on a runner model, and calls plain models as they are."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from replicate_bench import Bench

from worldflux.errors import ConfigError, RefusedError, UsageError
from worldflux.testing import RuntimeSuite
from worldflux.testing.replicate_models import runner_model


class TestRunner(Bench, RuntimeSuite):
    """The conformance suite, on the runner model that WorldFlux publishes."""

    def test_results_are_recorded(self, place: Path) -> None:
        """Cost, model, prediction and the far machine's own facts are in the result."""
        plugin = self.make_plugin(hardware="gpu-t4")
        result = self.carry_out(plugin, self.context(place), self.script(place, "print('x')"))
        facts = result.metadata
        assert facts["prediction_status"] == "succeeded" and facts["model"] == self.models[0].pinned
        seconds = facts["prediction_seconds"]["predict_time"]
        assert result.cost_estimate_usd == pytest.approx(seconds * 0.000225, abs=1e-6)
        assert facts["cost"]["price_date"] and facts["cost"]["price_source"] == "replicate.com/pricing"
        assert facts["environment"]["python"]["version"] and facts["hardware"]["memory_bytes"] > 0

    def test_metrics_come_home(self, place: Path) -> None:
        """What the command appends to WORLDFLUX_METRICS there is the run's metrics.jsonl here."""
        context = self.context(place)
        context.env_vars["WORLDFLUX_METRICS"] = str(context.output_dir / "metrics.jsonl")  # type: ignore[index]
        line = json.dumps({"name": "loss", "value": 0.5})
        text = f"import os; open(os.environ['WORLDFLUX_METRICS'], 'a').write({line!r} + chr(10))"
        assert self.carry_out(self.make_plugin(), context, self.script(place, text)).exit_code == 0
        assert json.loads((context.output_dir / "metrics.jsonl").read_text())["value"] == 0.5

    def test_a_runner_that_shows_its_variables_is_refused(self, place: Path) -> None:
        """Variables go only to an input that Replicate hides."""
        model = runner_model(place / "copy")
        model.properties = {**model.properties, "worldflux_environment": {"type": "string"}}
        model.name = "me/careless"
        with pytest.raises(RefusedError, match="secret"):
            self.carry_out(self.make_plugin(model), self.context(place), self.script(place, "pass"))
        assert not self.world.predictions

    def test_only_the_allowed_variable_is_sent(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of what this process holds, the server sees what the context holds, and nothing else."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-aws-value")
        monkeypatch.setenv("HF_TOKEN", "planted-hf-value")
        context = self.context(place, env_vars={"HF_TOKEN": "planted-hf-value"})
        result = self.carry_out(
            self.make_plugin(), context, self.script(place, "import os; print(sorted(os.environ))")
        )
        seen = result.log_path.read_text()
        assert "HF_TOKEN" in seen and "AWS" not in seen and "REPLICATE" not in seen
        sent = self.world.sent()
        assert b"planted-hf-value" in sent and b"planted-aws-value" not in sent
        shown = json.dumps([each.document() for each in self.world.predictions.values()])
        assert "planted-hf-value" not in shown


class TestModel(Bench):
    """A model that takes inputs and returns files."""

    def test_files_are_downloaded_and_named_in_the_output(self, place: Path) -> None:
        """An output file lies in the artifacts, and output.json names it there."""
        result = self.predict(place, self.make_plugin(self.hello()), "prompt=a cat", "steps=2")
        assert result.exit_code == 0 and self.output() == "video.bin"
        assert (self.ctx.output_dir / "artifacts" / "video.bin").read_bytes() == b"DATA" * 1000
        assert result.log_path.read_text() == "step 0 a cat\nstep 1 a cat\n"

    def test_the_log_is_followed_while_it_runs(self, place: Path) -> None:
        """Lines are in the log before the model has ended, each once."""
        text = "import time\nfor i in range(15): print(i, flush=True); time.sleep(0.1)"
        context = self.context(place)
        log, seen = context.output_dir / "logs" / f"{context.run_id}.log", []
        plugin, model = None, self.hello("me/slow", text)
        plugin = self.make_plugin(model)
        thread = threading.Thread(
            target=lambda: self.carry_out(plugin, context, ["predict", "prompt=x"]), daemon=True
        )
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            seen.append(len(log.read_bytes()) if log.exists() else 0)
        assert log.read_text() == "".join(f"{i}\n" for i in range(15))
        assert len({each for each in seen if each}) > 3

    def test_values_are_typed_by_the_schema(self, place: Path) -> None:
        """Text stays text also where it looks like a number; other types are JSON."""
        text = "import os, sys; open(os.environ['OUT'] + '/output.json', 'w').write(sys.stdin.read())"
        self.predict(place, self.make_plugin(self.hello(text=text)), "prompt=12", "steps=4")
        assert self.output() == {"prompt": "12", "steps": 4}

    @pytest.mark.parametrize("size", [3, 300_000])
    def test_a_file_of_the_recipe_is_an_input(self, place: Path, size: int) -> None:
        """Small files travel in the request, large ones are uploaded; the model gets the same bytes."""
        (place / "source" / "start.png").write_bytes(b"\x89" * size)
        text = (
            "import json, os, sys, urllib.request\n"
            "data = urllib.request.urlopen(json.load(sys.stdin)['image']).read()\n"
            "json.dump({'size': len(data)}, open(os.environ['OUT'] + '/output.json', 'w'))\n"
        )
        self.predict(place, self.make_plugin(self.hello(text=text)), "prompt=x", "image=@start.png")
        assert self.output() == {"size": size}
        assert bool(self.world.files) is (size > 256_000)

    @pytest.mark.parametrize(
        ("words", "error", "what"),
        [
            (["prompt=x", "promt=y"], ConfigError, "no such input"),
            (["steps=2"], ConfigError, "'prompt' is a required"),
            (["prompt=x", "steps=0"], ConfigError, "minimum"),
            (["prompt=x", "steps=many"], UsageError, "not JSON"),
            (["prompt=x", "image=@../secret"], UsageError, "no file"),
            (["prompt=x", "image=@missing.png"], UsageError, "no file"),
            (["hello"], UsageError, "no input"),
        ],
    )
    def test_a_wrong_input_is_refused_before_it_costs(
        self, place: Path, words: list[str], error: type[Exception], what: str
    ) -> None:
        """Inputs are held against the model's own schema; nothing is started when they do not fit."""
        (place / "secret").write_text("outside")
        with pytest.raises(error, match=what):
            self.predict(place, self.make_plugin(self.hello()), *words)
        assert not self.world.predictions

    @pytest.mark.parametrize("model", ["", "me/hello", "me/hello:latest", "hello:" + "a" * 64])
    def test_a_model_must_be_pinned(self, place: Path, model: str) -> None:
        """Only owner/name:version with the full version runs."""
        with pytest.raises(UsageError):
            self.predict(place, self.make_plugin(self.hello(), model=model), "prompt=x")

    def test_a_plain_model_carries_out_no_command(self, place: Path) -> None:
        """A recipe's command on a model that takes none is explained, not sent."""
        with pytest.raises(UsageError, match="carries out no command"):
            self.carry_out(self.make_plugin(self.hello()), self.context(place), ["python", "main.py"])

    def test_a_secret_goes_only_where_it_is_hidden(self, place: Path) -> None:
        """A secret input gets the variable's value; one that Replicate would show is refused."""
        text = "import json, sys; print(len(json.load(sys.stdin)['key']))"
        given = {"HF_TOKEN": "planted-hf-value"}
        good = self.make_plugin(self.hello(text=text), secret_inputs={"key": "HF_TOKEN"})
        result = self.predict(place, good, "prompt=x", env_vars=given)
        assert result.log_path.read_text() == f"{len('planted-hf-value')}\n"
        bad = self.make_plugin(self.hello(text=text), secret_inputs={"prompt": "HF_TOKEN"})
        with pytest.raises(RefusedError, match="stored and shown"):
            self.predict(place, bad, env_vars=given)
        with pytest.raises(UsageError, match="HF_TOKEN was not given"):
            self.predict(place, good, "prompt=x")

    def test_a_failed_model_is_a_result(self, place: Path) -> None:
        """The model's error is in the record, and the time is charged."""
        model = self.hello("me/bad", "raise SystemExit('CUDA out of memory')")
        result = self.predict(place, self.make_plugin(model, hardware="cpu"), "prompt=x")
        assert result.exit_code == 1 and "CUDA out of memory" in result.metadata["error"]
        assert result.cost_estimate_usd is not None and result.cost_estimate_usd > 0
