"""A run from the command line: recorded from the first second, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import warm_python
from conftest_cli import BIN, Run, manifests

from worldflux.cli import live, render

PROGRAM = """\
import json, os, sys
print("working", flush=True)
print("to stderr", file=sys.stderr, flush=True)
with open(os.environ["WORLDFLUX_METRICS"], "a") as out:
    for step in range(3):
        out.write(json.dumps({"name": "loss", "value": 1 / (step + 1), "step": step}) + "\\n")
json.dump({"overall": {"score": 0.75}, "won": [True, True, False, True]}, open("eval.json", "w"))
os.makedirs("video"); open("video/a.bin", "wb").write(b"\\0" * 10)
"""
RECIPE = """\
command: [python, main.py, --seed, "${seed}"]
task: eval
seed: 0
metrics:
  score: {file: eval.json, select: overall.score, unit: points}
  won: {file: eval.json, select: "won[]", kind: success}
artifacts:
  - {path: eval.json, commit: true}
  - {path: "video/**"}
"""


def test_init_then_run(wf: Run, tmp_path: Path) -> None:
    """A new project runs at once, an edit takes effect, and both runs are listed."""
    folder = tmp_path / "fresh"
    assert wf("init", str(folder)).code == 0
    first = wf("--json", "run", cwd=folder)
    assert first.code == 0, first.err
    code = (folder / "run.py").read_text()
    (folder / "run.py").write_text(code.replace("0.9 +", "0.5 +"))
    second = wf("--json", "run", cwd=folder)
    losses = [each.envelope["data"]["metrics"]["final_loss"] for each in (first, second)]
    assert losses[1] < losses[0]
    listed = wf("--json", "runs", "list", cwd=folder).envelope["data"]["runs"]
    assert [row["run_id"] for row in listed] == [each.envelope["data"]["run_id"] for each in (second, first)]


def test_init_never_overwrites(wf: Run, tmp_path: Path) -> None:
    """Files that are there stay as they are, also the second time."""
    (tmp_path / "run.py").write_text("mine")
    for _ in range(2):
        assert wf("init", cwd=tmp_path).code == 0
        assert (tmp_path / "run.py").read_text() == "mine"


def test_words_on_both_sides_of_an_option(wf: Run, recipe: Callable[..., Path]) -> None:
    """Where an option stands does not matter, as in `worldflux-run`."""
    recipe(RECIPE, PROGRAM)
    plans = [
        wf("--json", "run", *words).envelope["data"]
        for words in (["mine", "seed=4", "--dry-run"], ["mine", "--dry-run", "seed=4"])
    ]
    assert plans[0] == plans[1] and plans[0]["seed"] == 4


def test_everything_a_run_brings(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Metrics with intervals, series, artifacts with digests, the log, the config, the code's state."""
    folder = recipe(RECIPE, PROGRAM)
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    ended = wf("run", "mine", "seed=4", "name=first try", "tags=[a,b]")
    assert ended.code == 0, ended.err
    assert "working" in ended.out and "to stderr" in ended.out
    (manifest,) = manifests(project)
    assert manifest["run"]["status"] == "succeeded" and manifest["run"]["name"] == "first try"
    assert manifest["metrics"]["score"] == {"value": 0.75, "kind": "value", "unit": "points"}
    won = manifest["metrics"]["won"]
    assert (won["k"], won["n"], won["interval"]["method"]) == (3, 4, "wilson")
    assert manifest["metrics"]["loss"]["step"] == 2 and manifest["series"]["rows"] == 3
    assert [(a["path"], a["commit"], a["bytes"]) for a in manifest["artifacts"]] == [
        (
            "artifacts/eval.json",
            True,
            (project / "runs" / manifest["client_run_id"] / "artifacts/eval.json").stat().st_size,
        ),
        ("artifacts/video/a.bin", False, 10),
    ]
    assert manifest["config"]["overrides"] == ["+recipe=mine", "seed=4", "name=first try", "tags=[a,b]"]
    assert manifest["config"]["resolved"]["seed"] == 4
    assert manifest["git"]["present"] is True
    assert manifest["environment"]["variables"]["PYTHONUNBUFFERED"] == "1"
    assert [stage["name"] for stage in manifest["run"]["stages"]] == ["preflight", "env", "run", "collect"]
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == ["main.py", "recipe.yaml"]


def test_the_record_fits_the_schema_by_another_tool(
    wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """check-jsonschema accepts the manifest against the schema that the command prints."""
    recipe(RECIPE, PROGRAM)
    assert wf("run", "mine").code == 0
    schema = project / "schema.json"
    schema.write_text(wf("schema", "manifest").out)
    record = next((project / "runs").glob("*/manifest.json"))
    checked = wf("--schemafile", str(schema), str(record), program="check-jsonschema")
    assert checked.code == 0, checked.out


def test_exit_codes(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A failed command is exit code 1, and its own code is in the manifest."""
    recipe("command: [python, main.py]\n", "raise SystemExit(7)")
    ended = wf("--json", "run", "mine")
    assert ended.code == 1 and ended.envelope["error"]["message"] == "the command ended with exit code 7"
    assert manifests(project)[0]["run"]["exit_code"] == 7


def test_timeout(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A run over its time is ended and says so."""
    recipe("command: [python, main.py]\ntimeout: 500ms\n", "import time; time.sleep(600)")
    ended = wf("--json", "run", "mine", "runtime.grace_seconds=0.3")
    assert ended.code == 1 and ended.envelope["data"]["status"] == "timeout"
    assert "longer than 0.5 seconds" in ended.envelope["error"]["message"]


def test_worldflux_run_takes_flags_anywhere(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Flags may stand before, between and behind overrides; + may be missing or superfluous."""
    recipe(RECIPE, PROGRAM)
    for words in (
        ["-m", "+recipe=mine", "seed=1,2"],
        ["recipe=mine", "--multirun", "seed=1,2"],
        ["seed=1,2", "+runtime=local", "recipe=mine", "-m"],
    ):
        ended = wf(*words, program="worldflux-run")
        assert ended.code == 0, ended.err
        assert "sweep: 2 succeeded" in ended.out
    seeds = [m["config"]["resolved"]["seed"] for m in manifests(project)]
    assert sorted(seeds) == [1, 1, 1, 2, 2, 2]
    assert not list(project.rglob(".hydra")) and not list(project.rglob("multirun.yaml"))


def test_a_sweep_with_a_failing_job_ends_with_1(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """The other jobs run, the failed one is named, the exit code says so."""
    recipe("command: [python, main.py, '${seed}']\nseed: 0\n", "import sys; sys.exit(int(sys.argv[1]) == 2)")
    ended = wf("-m", "+recipe=mine", "seed=1,2,3", program="worldflux-run")
    assert ended.code == 1 and "2 succeeded" in ended.out and "1 failed" in ended.out
    assert len(manifests(project)) == 3


def test_runs_started_together_never_share_a_folder(
    wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """Eight runs in the same second have eight records."""
    recipe("command: [python, -c, pass]\n")
    command = [str(BIN / "worldflux-run"), "+recipe=mine"]
    started = [warm_python.WarmPopen(command, cwd=project, stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [each.wait(timeout=60) for each in started] == [0] * 8
    assert len({m["client_run_id"] for m in manifests(project)}) == 8


def test_hydra_prints_without_running(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """--cfg, --info, --help, --version and completion answer and leave nothing behind."""
    recipe(RECIPE, PROGRAM)
    assert "seed: 3" in wf("+recipe=mine", "seed=3", "--cfg", "job", program="worldflux-run").out
    assert "recipes://" in wf("--info", "searchpath", "+recipe=mine", program="worldflux-run").out
    assert wf("--version", program="worldflux-run").out.startswith("worldflux ")
    helped = wf("--help", program="worldflux-run").out
    assert "mine" in helped and "powered by Hydra" not in helped
    line = "worldflux-run +recipe=mi"
    done = wf("-sc", "query=bash", program="worldflux-run", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.out.strip() == "+recipe=mine"
    assert not (project / "runs").exists() and not (project / "outputs").exists()


def test_project_configs_come_first(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A project's own runtime, recipe and .yml files win over the built-in ones of the same name."""
    recipe("command: [python, -c, 'print(\"project smoke\")']\n", name="cpu-smoke")
    (project / "recipes" / "flat.yml").write_text("command: [python, -c, 'print(\"flat\")']\n")
    (project / "conf" / "runtime").mkdir(parents=True)
    (project / "conf" / "runtime" / "quick.yml").write_text(
        "_target_: worldflux.runtime.local_plugin.LocalPlugin\nname: local\ngrace_seconds: 1\n"
    )
    assert "project smoke" in wf("run", "cpu-smoke").out
    assert "flat" in wf("run", "flat", "runtime=quick").out
    assert manifests(project)[-1]["runtime"]["options"]["grace_seconds"] == 1


def test_a_plugin_of_the_project(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A class of a module that the project file lists is used, and its metadata lands in the manifest."""
    recipe("command: [python, -c, pass]\n")
    (project / "worldflux.yaml").write_text("project: demo\nplugins: [here]\n")
    (project / "here.py").write_text(
        "from worldflux.runtime.local_plugin import LocalPlugin\n"
        "import dataclasses\n"
        "class Here(LocalPlugin):\n"
        "    name = 'here'\n"
        "    def run(self, ctx, command):\n"
        "        result = super().run(ctx, command)\n"
        "        more = {**result.metadata, 'rack': 7}\n"
        "        return dataclasses.replace(result, cost_estimate_usd=0.25, metadata=more)\n"
    )
    ended = wf("+recipe=mine", "runtime._target_=here.Here", "runtime.name=here", program="worldflux-run")
    assert ended.code == 0, ended.err
    (manifest,) = manifests(project)
    assert manifest["runtime"]["rack"] == 7 and manifest["cost"]["estimate_usd"] == 0.25


def test_only_allowed_variables_reach_the_command(
    wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """A variable named by recipe and project arrives; the manifest has its name and not its value."""
    program = "import json, os; json.dump(dict(os.environ), open('env.json', 'w'))"
    recipe("command: [python, main.py]\nenv: {pass: [A_TOKEN], set: {B: '2'}}\n", program)
    (project / "worldflux.yaml").write_text("project: demo\npass: [A_TOKEN]\n")
    secret = "Zx81" + "kLm0pQ77"
    ended = wf("run", "mine", A_TOKEN=secret, OTHER_TOKEN="stays-here-please", WORLDFLUX_API_KEY="wfx_nope")
    assert ended.code == 0, ended.err
    (manifest,) = manifests(project)
    seen = json.loads((project / "runs" / manifest["client_run_id"] / "artifacts" / "env.json").read_text())
    assert seen["A_TOKEN"] == secret and seen["B"] == "2"
    assert "OTHER_TOKEN" not in seen and "WORLDFLUX_API_KEY" not in seen
    assert manifest["secrets"] == [{"name": "A_TOKEN"}] and secret not in json.dumps(manifest)


def _start(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / "worldflux"), "run", *words],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_running(
    number: signal.Signals, wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """Ctrl-C and SIGTERM end the command politely, keep what it wrote, and exit with 130."""
    recipe(
        "command: [python, main.py]\nartifacts: [{path: '*'}]\n",
        "import signal, sys, time\n"
        "def stop(*_): open('checkpoint', 'w').write('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGINT, stop)\n"
        "print('ready', flush=True); time.sleep(600)\n",
    )
    process = _start(project, "mine")
    _read_until(process, "ready")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 130
    (manifest,) = manifests(project)
    assert manifest["run"]["status"] == "cancelled"
    assert [a["path"] for a in manifest["artifacts"]] == ["artifacts/checkpoint"]


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4])
def test_interrupt_at_any_moment(delay: float, recipe: Callable[..., Path], project: Path) -> None:
    """Ctrl-C at any stage ends with 130 (or the run had ended), and every record is final or absent."""
    recipe("command: [python, -c, 'import time; time.sleep(0.05)']\n")
    process = _start(project, "mine")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    # Python itself, before a line of ours has run, has an exit code of its own for this.
    assert process.returncode in (130, 0, -signal.SIGINT) or "init_import_site" in out
    for manifest in manifests(project):
        assert manifest["run"]["status"] in ("cancelled", "succeeded")


def test_kill_9_is_found_by_the_next_command(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A run whose process was killed is reported interrupted, its log kept, its processes ended."""
    recipe(
        "command: [python, main.py]\n",
        "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)",
    )
    process = _start(project, "mine")
    assert process.stdout is not None
    pid = next(int(line.split()[-1]) for line in process.stdout if "pid" in line)
    process.kill()
    process.communicate(timeout=30)
    (row,) = wf("--json", "runs", "list").envelope["data"]["runs"]
    assert row["status"] == "interrupted"
    (manifest,) = manifests(project)
    assert manifest["run"]["status"] == "interrupted" and manifest["run"]["finished_at"]
    assert "pid" in wf("runs", "show", "--log").out
    deadline = time.monotonic() + 15
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < deadline, "the command outlived its run"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting needs root on Linux")
@pytest.mark.parametrize("kilobytes", [0, 12, 40])
def test_disk_full(kilobytes: int, recipe: Callable[..., Path], project: Path) -> None:
    """A full disk is one clear error, and a record that is there is whole."""
    recipe("command: [python, -c, pass]\n")
    (project / "runs").mkdir()
    fill = f"head -c $((64 - {kilobytes}))k /dev/zero > runs/filler"
    script = f"mount -t tmpfs -o size=64k none runs && {fill}; {BIN}/worldflux run mine; code=$?; " + (
        'for f in runs/*/manifest.json; do [ -e "$f" ] && '
        + f'{sys.executable} -m json.tool "$f" > /dev/null '
        '|| [ ! -e "$f" ] || exit 99; done; exit $code'
    )
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=project, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    if ended.returncode:
        assert ended.stderr.count("error:") == 1 and "space" in ended.stderr


def test_shown_lines_can_not_act_on_the_terminal() -> None:
    """Control sequences are taken out, colours stay on request, overwritten text is gone."""
    assert render.safe_line("a\x1b[2Jb\x1b]0;title\x07c\x1b[31mred\x1b[0m\n") == "abcred"
    assert render.safe_line("\x1b[31mred\x1b[0m", color=True) == "\x1b[31mred\x1b[0m"
    assert render.safe_line("10%\r50%\r100%\r\n") == "100%"
    assert render.safe_line("x\x07\x9b\u202ey") == "x\\x07\\x9by"
    assert live.describe_metric(
        {"value": 0.5, "k": 1, "n": 2, "interval": {"level": 0.95, "low": 0.1, "high": 0.9}}
    )
