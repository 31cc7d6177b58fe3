"""The programs of the built-in recipes, run as they are: real processes, real files.

Those that need an environment of their own run in the end-to-end tests; here are the two that the
development environment can run, and the parts of the others that need no more than numpy and Pillow.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from worldflux.config.compose import Composer
from worldflux.config.project import load_project
from worldflux.run.collect import Collected, collect
from worldflux.runtime.command import located

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec

RECIPES = Path(__file__).parents[2] / "recipes"


@dataclass
class Ran:
    """A program that was run as its recipe says, in a folder like a run's."""

    folder: Path
    spec: RunSpec
    code: int
    stdout: str
    stderr: str

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "artifacts").iterdir())}

    @property
    def found(self) -> Collected:
        return collect(self.folder, self.spec.metrics, self.spec.artifacts)

    def series(self, name: str) -> list[tuple[int, float]]:
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [(row["step"], row["value"]) for row in rows if row["name"] == name]


Carry = Callable[..., Ran]


@pytest.fixture
def carry_out(tmp_path_factory: pytest.TempPathFactory) -> Carry:
    """Runs a recipe's command with this Python, in a fresh folder, with the recipe's own variables."""

    def carry(recipe: str, *overrides: str, record: bool = True) -> Ran:
        folder = tmp_path_factory.mktemp("run")
        work = folder / "artifacts"
        work.mkdir()
        run = Composer(load_project(folder)).compose([f"+recipe={recipe}", *overrides])
        variables = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **run.spec.env.set}
        if record:
            variables["WORLDFLUX_METRICS"] = str(folder / "metrics.jsonl")
        command = located(run.spec.command, run.source_dir, python=sys.executable)
        ended = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, timeout=120)
        return Ran(folder, run.spec, ended.returncode, ended.stdout, ended.stderr)

    return carry


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], ModuleType]]:
    """Imports a file of a recipe, with its neighbours, and forgets all of them afterwards."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(recipe: str, name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(RECIPES / recipe))
        return importlib.import_module(name)

    yield load
    for name, module in list(sys.modules.items()):
        if str(RECIPES) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]


# cpu-smoke


def test_cpu_smoke_learns_and_reports(carry_out: Carry) -> None:
    """The agent learns to cross, and everything that the recipe promises is there to collect."""
    ran = carry_out("cpu-smoke")
    assert (ran.code, ran.stderr) == (0, "")
    assert list(ran.files) == ["report.json"]
    found = ran.found
    assert found.faults == [] and found.warnings == []
    assert (found.metrics["reached_goal"]["k"], found.metrics["reached_goal"]["n"]) == (49, 50)
    assert found.metrics["mean_return"]["value"] == 8.308
    returns = ran.series("train_return")
    assert [step for step, _ in returns] == list(range(600))
    assert sum(v for _, v in returns[-100:]) > sum(v for _, v in returns[:100])
    assert [(a["path"], a["commit"]) for a in found.artifacts] == [("artifacts/report.json", True)]


def test_cpu_smoke_repeats_itself(carry_out: Carry) -> None:
    """The same seed gives the same bytes, another seed does not."""
    first, again, other = (carry_out("cpu-smoke", f"seed={seed}") for seed in (5, 5, 6))
    assert first.files == again.files != other.files
    assert first.stdout == again.stdout
    assert first.series("train_return") == again.series("train_return") != other.series("train_return")


def test_cpu_smoke_needs_only_the_standard_library(tmp_path: Path) -> None:
    """It runs in a Python that has no packages at all, and without a run around it prints and writes files only."""
    program = RECIPES / "cpu-smoke" / "crossing.py"
    command = [sys.executable, "-I", "-S", "-B", str(program), "--episodes", "5"]
    ended = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0 and "reached the goal in" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("recipe", "override"),
    [
        ("cpu-smoke", "params.episodes=0"),
        ("cpu-smoke", "params.episodes=many"),
        ("dreamer-light", "params.steps=0"),
        ("dreamer-light", "params.horizon=65"),
    ],
)
def test_wrong_settings_are_refused_at_once(carry_out: Carry, recipe: str, override: str) -> None:
    """A setting that makes no sense ends with code 2, names the option, and leaves no file behind."""
    ran = carry_out(recipe, override)
    option = override.removeprefix("params.").partition("=")[0]
    assert ran.code == 2 and f"--{option}" in ran.stderr
    assert ran.files == {} and not (ran.folder / "metrics.jsonl").exists()


# dreamer-light


def test_dreamer_light_trains_and_dreams(carry_out: Carry) -> None:
    """A short training lowers the loss, and all metrics, series, pictures and weights are there to collect."""
    ran = carry_out("dreamer-light", "params.steps=40", "params.horizon=5")
    assert (ran.code, ran.stderr) == (0, "")
    found = ran.found
    assert found.faults == [] and found.warnings == []
    assert set(found.metrics) == {*ran.spec.metrics, "loss", "picture_loss", "reward_loss", "kl"}
    assert (found.metrics["dream_wins"]["n"], found.metrics["dream_wins"]["kind"]) == (128, "success")
    assert {a["path"].removeprefix("artifacts/"): a["commit"] for a in found.artifacts} == {
        "training.json": True, "dream.json": True, "loss.png": True, "dream.png": True, "model.npz": False,
    }  # fmt: skip
    loss = ran.series("loss")
    assert [step for step, _ in loss] == list(range(40))
    assert np.mean([v for _, v in loss[-5:]]) < 0.8 * np.mean([v for _, v in loss[:5]])
    assert len(json.loads(ran.files["dream.json"])["mse"]["dream"]) == 5
    for name in ("loss.png", "dream.png"):
        with Image.open(ran.folder / "artifacts" / name) as image:
            assert min(image.size) > 200 and len(image.convert("RGB").getcolors(maxcolors=1 << 20) or []) > 10


def test_dreamer_light_repeats_itself(carry_out: Carry) -> None:
    """The same seed gives the same weights, pictures and series to the last bit; another seed does not."""
    few = ("params.steps=6", "params.horizon=2")
    first, again, other = (carry_out("dreamer-light", f"seed={seed}", *few) for seed in (1, 1, 2))
    assert first.code == again.code == other.code == 0
    assert first.files == again.files
    assert first.series("loss") == again.series("loss") != other.series("loss")
    assert first.files["model.npz"] != other.files["model.npz"]


def test_dreamer_light_works_outside_a_run(carry_out: Carry) -> None:
    """Without a file for metrics it prints and writes its files only."""
    ran = carry_out("dreamer-light", "params.steps=1", "params.horizon=1", record=False)
    assert ran.code == 0 and not (ran.folder / "metrics.jsonl").exists()
    assert "closer to the truth" in ran.stdout and "dream.json" in ran.files


def test_dreamer_gradients_are_right(
    part: Callable[[str, str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The derivative of the loss by each part of the model agrees with a finite difference."""
    model, world = part("dreamer-light", "model"), part("dreamer-light", "world")
    rng = np.random.default_rng(3)
    net = model.WorldModel(rng, np.float64)
    pictures, actions, rewards = world.record_games(2, 3, rng)
    noise = rng.standard_normal((4, 2, model.LATENT))

    def loss() -> Any:
        return net.losses(pictures.astype(float), actions, rewards.astype(float), noise)

    # The divergence is differentiated on each side alone, so what is checked is the rest of the loss.
    monkeypatch.setattr(model, "KL_WEIGHT", 0.0)
    loss().total.backward()
    for parameter in net.parameters:
        flat = parameter.data.reshape(-1)
        assert parameter.grad is not None and parameter.grad.shape == parameter.data.shape
        for place in rng.integers(0, flat.size, 3):
            kept, ends = flat[place], []
            for shift in (1e-5, -1e-5):
                flat[place] = kept + shift
                ends.append(float(loss().total.data))
            flat[place] = kept
            assert parameter.grad.reshape(-1)[place] == pytest.approx(
                (ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-7
            )


def test_dreamer_divergence_is_right(part: Callable[[str, str], ModuleType]) -> None:
    """KL of two normal distributions: zero for equal ones, the closed form for others, right on both sides."""
    model, autodiff = part("dreamer-light", "model"), part("dreamer-light", "autodiff")
    means, spreads = np.array([[0.3, -1.0]]), np.array([[0.5, 2.0]])

    def gaussian(mean: Any, spread: Any) -> Any:
        return model.Gaussian(autodiff.Tensor(mean), autodiff.Tensor(spread))

    q, p = gaussian(means, spreads), gaussian(means * 0 + 0.1, spreads * 0 + 1.5)
    assert np.allclose(model.divergence(q, q).data, 0)
    closed = np.log(1.5 / spreads) + (spreads**2 + (means - 0.1) ** 2) / (2 * 1.5**2) - 0.5
    kl = model.divergence(q, p)
    assert np.allclose(kl.data, closed)
    autodiff.mean(kl).backward()
    assert np.allclose(q.mean.grad * 2, (means - 0.1) / 1.5**2)
    assert np.allclose(q.spread.grad * 2, spreads / 1.5**2 - 1 / spreads)
    assert np.allclose(p.spread.grad * 2, 1 / 1.5 - (spreads**2 + (means - 0.1) ** 2) / 1.5**3)


def test_dreamer_dreams_without_chance_and_minds_the_actions(part: Callable[[str, str], ModuleType]) -> None:
    """A dream is the same twice, has the length that was asked for, and differs when the actions do."""
    model, world = part("dreamer-light", "model"), part("dreamer-light", "world")
    rng = np.random.default_rng(0)
    net = model.WorldModel(rng)
    pictures, actions, _ = world.record_games(3, 9, rng)
    first, rewards = net.imagine(pictures[:4], actions)
    assert first.shape == (6, 3, world.PIXELS) and rewards.shape == (6, 3)
    assert first.min() >= 0 and first.max() <= 1
    assert np.array_equal(first, net.imagine(pictures[:4], actions)[0])
    assert not np.array_equal(first, net.imagine(pictures[:4], 2 - actions)[0])


def test_dreamer_world_follows_its_rules(part: Callable[[str, str], ModuleType]) -> None:
    """The ball stays in the court, keeps its speed, and is rewarded at the bottom only, by where the paddle is."""
    world = part("dreamer-light", "world")
    rng = np.random.default_rng(1)
    courts = world.Courts(200, rng)
    speed = np.linalg.norm(courts.velocity, axis=1)
    told = set()
    for _ in range(60):
        coming_down, before = courts.velocity[:, 1] > 0, courts.ball[:, 1].copy()
        rewards = courts.step(rng.integers(0, world.ACTIONS, 200))
        assert courts.ball.min() >= 0 and courts.ball.max() <= world.SIZE - 1
        assert np.allclose(np.linalg.norm(courts.velocity, axis=1), speed)
        told |= set(rewards.tolist())
        assert np.array_equal(rewards != 0, coming_down & (courts.velocity[:, 1] < 0))
        bounced, bottom = rewards != 0, world.SIZE - 2
        way = (bottom - before[bounced]) + (bottom - courts.ball[bounced, 1])
        assert np.allclose(way, np.abs(courts.velocity[bounced, 1]))
        under = np.abs(courts.ball[:, 0] - courts.paddle) <= world.PADDLE_HALF + 0.5
        assert np.array_equal(rewards > 0, bounced & under)
    assert told == {-1.0, 0.0, 1.0}
    pictures = courts.pictures()
    assert pictures.shape == (200, world.PIXELS) and pictures.min() >= 0 and pictures.max() <= 1.0


# The parts of the others that need no environment of their own.


def test_jepa_filmstrip_shows_all_frames_on_one_scale(
    part: Callable[[str, str], ModuleType], tmp_path: Path
) -> None:
    """Rows lie below one another, columns beside one another, and the same value has the same colour in each."""
    filmstrip = part("tiny-jepa-eval", "filmstrip")
    dark, bright = np.zeros((12, 32, 32), np.float32), np.ones((12, 32, 32), np.float32)
    rows = [filmstrip.Row("a", "", bright), filmstrip.Row("b", "", dark, ["0.1"] * 12)]
    filmstrip.draw("title", "note", [str(n) for n in range(12)], rows, str(tmp_path / "strip.png"))
    side, pitch = 32 * filmstrip.SCALE, 32 * filmstrip.SCALE + filmstrip.GAP
    with Image.open(tmp_path / "strip.png") as image:
        assert image.width == filmstrip.LEFT + 12 * pitch + filmstrip.GAP
        below = filmstrip.TOP + side + filmstrip.BETWEEN + 5
        for column in range(12):
            across = filmstrip.LEFT + column * pitch + 5
            assert image.getpixel((across, filmstrip.TOP + 5)) == tuple(filmstrip.RAMP[-1])
            assert image.getpixel((across, below)) == tuple(filmstrip.RAMP[0])


def test_landings_keep_every_exposure(part: Callable[[str, str], ModuleType], tmp_path: Path) -> None:
    """A craft that was in two places is seen in both, and the sheet has a cell for each flight."""
    contact_sheet = part("gymnasium-eval", "contact_sheet")
    frames = [np.zeros((400, 600, 3), np.uint8) for _ in range(2)]
    frames[0][100:140, 100:160], frames[1][300:340, 400:460] = (128, 102, 230), (128, 102, 230)
    picture = contact_sheet.exposure(frames)
    assert picture.size == contact_sheet.CELL
    assert picture.getpixel((91, 84)) == picture.getpixel((301, 224)) == (128, 102, 230)
    contact_sheet.save([(f"flight {n}", picture) for n in range(4)], str(tmp_path / "sheet.png"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * contact_sheet.CELL[0] and sheet.height > 2 * contact_sheet.CELL[1]


def test_a_renderer_that_fails_is_named_not_raised(
    part: Callable[[str, str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the second program of mujoco-rollout can not draw, the last thing it said is the reason given."""
    rollout = part("mujoco-rollout", "rollout")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "gymnasium.py").write_text("raise RuntimeError('no display here')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    why = rollout.render("gallop", 0, str(tmp_path / "strip.png"))
    assert why == "RuntimeError: no display here" and not (tmp_path / "strip.png").exists()
    (hidden / "gymnasium.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", encoding="utf-8"
    )
    assert rollout.render("gallop", 0, str(tmp_path / "strip.png")) == "the renderer was ended by signal 11"


def test_gaits_are_within_the_limits_of_the_joints(part: Callable[[str, str], ModuleType]) -> None:
    """Controllers give six torques in [-1, 1]; the gallop is one gait, noise is another in each world."""
    controllers = part("mujoco-rollout", "controllers").CONTROLLERS
    for name in ("gallop", "noise"):
        act, again, other = (controllers[name](world) for world in (1, 1, 2))
        torques = np.array([act(step) for step in range(200)])
        assert (
            torques.shape == (200, 6) and np.abs(torques).max() <= 1 and np.ptp(torques, axis=0).min() > 0.4
        )
        assert np.array_equal(torques, [again(step) for step in range(200)])
        assert np.array_equal(torques, [other(step) for step in range(200)]) == (name == "gallop")
