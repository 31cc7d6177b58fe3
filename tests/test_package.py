"""The wheel is whole: installed alone, from an empty folder, everything works."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_what_the_wheel_holds(wheel: Path) -> None:
    """Configs and recipes lie inside the package, the Hydra plugin has no __init__, tests stay out."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {"worldflux/conf/worldflux.yaml", "worldflux/recipes/cpu-smoke/recipe.yaml"} <= set(names)
    assert "worldflux/manifest/schema/run-manifest.v1.json" in names
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "worldflux/catalog/data").rglob("*.json")}
    assert data and data <= set(names)
    assert "hydra_plugins/worldflux_multirun.py" in names and "hydra_plugins/__init__.py" not in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"worldflux", "hydra_plugins"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.slow
def test_installed_alone(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment: init, run, an edit that takes effect, a sweep, a listing."""
    import uv

    venv, place = tmp_path / "venv", tmp_path / "place"
    place.mkdir()
    install = [uv.find_uv_bin(), "-q", "--no-config"]
    subprocess.run([*install, "venv", "--python", sys.executable, str(venv)], check=True, capture_output=True)
    installed = subprocess.run(
        [*install, "pip", "install", "--python", str(venv / "bin/python"), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert installed.returncode == 0, installed.stderr

    def call(*words: str, cwd: Path) -> str:
        ended = subprocess.run(
            [str(venv / "bin" / words[0]), *words[1:]], cwd=cwd, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    call("worldflux", "init", "demo", cwd=place)
    first = json.loads(call("worldflux", "--json", "run", cwd=place / "demo"))["data"]
    code = place / "demo" / "run.py"
    code.write_text(code.read_text().replace("loss = 1.0", "loss = 2.0"))
    second = json.loads(call("worldflux", "--json", "run", cwd=place / "demo"))["data"]
    assert second["metrics"]["final_loss"] == pytest.approx(2 * first["metrics"]["final_loss"])
    call("worldflux-run", "-m", "+recipe=cpu-smoke", "seed=1,2", cwd=place / "demo")
    listed = json.loads(call("worldflux", "--json", "runs", "list", cwd=place / "demo"))["data"]["runs"]
    assert len(listed) == 4 and {row["status"] for row in listed} == {"succeeded"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import worldflux", ["hydra", "pydantic", "jsonschema", "yaml", "json", "subprocess"]),
        (
            "import worldflux.runtime.dispatcher",
            ["hydra", "boto3", "modal", "replicate", "requests", "pydantic"],
        ),
        ("import worldflux.manifest.io", ["hydra", "pydantic", "jsonschema"]),
        ("import worldflux.cli.main", ["hydra", "pydantic", "jsonschema", "rich"]),
        ("import worldflux.run.engine", ["hydra", "pydantic", "jsonschema"]),
    ],
)
def test_imports_stay_light(code: str, absent: list[str]) -> None:
    """A part that is not needed is not loaded."""
    check = f"{code}; import sys; print([m for m in {absent!r} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr
