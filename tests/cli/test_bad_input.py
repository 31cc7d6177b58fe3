"""Wrong input ends in one clear block and the documented code, and leaves nothing half-written."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import Run, manifests

FINE = "command: [python, main.py]\n"


def assert_one_block(err: str) -> None:
    """One error, no traceback, no advice of Hydra's."""
    assert err.count("error:") == 1, err
    assert "Traceback" not in err and "HYDRA_FULL_ERROR" not in err
    assert len(err.splitlines()) <= 14, err


CONFIG = [
    # what is typed, what the message says, what it suggests
    (["+recipe=cpu-smok"], "there is no recipe `cpu-smok`", "cpu-smoke"),
    (["+recipe=mine", "runtime=lokal"], "there is no runtime `lokal`", "local"),
    (["+recipe=mine", "sed=3"], "there is no key `sed`", "`seed`"),
    (["+recipe=mine", "cost_guard.max_us=5"], "there is no key `cost_guard.max_us`", "`max_usd`"),
    (["+recipe=mine", "seed=three"], "seed=three: must be a whole number", "such as seed=3"),
    (["+recipe=mine", "seed=-1"], "seed=-1: must be greater than or equal to 0", ""),
    (
        ["+recipe=mine", "cost_guard.max_usd=five"],
        "cost_guard.max_usd=five: must be a number",
        "such as cost_guard.max_usd=2.5",
    ),
    (["+recipe=mine", "cost_guard.max_usd=-5"], "cost_guard.max_usd=-5: must be greater than 0", ""),
    (["+recipe=mine", "cost_guard.max_usd=nan"], "cost_guard.max_usd=nan: must be greater than 0", ""),
    (["+recipe=mine", "timeout=soon"], "timeout=soon: must be seconds, or a duration", "90s"),
    (["+recipe=mine", "+recipes=x"], "+recipes=x: unknown key", "recipe"),
    (["+recipe=mine", "command=[]"], "is missing: a recipe says what to run", ""),
    (["+recipe=mine", "seed=1,2"], "describes several runs", "--multirun"),
    (["+recipe=mine", "+recipe=cpu-smoke"], "is a second recipe", "+recipe=A,B"),
    ([], "no recipe is chosen", "+recipe=NAME"),
    (["+recipe=mine", "params={a"], "is not a valid override", ""),
    (["+recipe=mine", "+metrics.x={file: ../a, select: b}"], "must stay inside the run's folder", ""),
    (["+recipe=mine", "+metrics.x={file: a, select: 'b ['}"], "is not a JMESPath expression", ""),
    (["+recipe=mine", "env.requirements=nope.lock"], "there is no readable file nope.lock", ""),
    (["+recipe=mine", "env.requirements=[numpy]"], "an inline list is not pinned", "requirements.lock"),
    (["+recipe=mine", "source=../../../.."], "the folder lies outside the project", ""),
]


@pytest.mark.parametrize(
    ("words", "problem", "hint"), CONFIG, ids=[" ".join(c[0]) or "nothing" for c in CONFIG]
)
def test_wrong_configuration(
    words: list[str], problem: str, hint: str, wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """Each fault is named with the override it stands in; nothing was run."""
    recipe(FINE)
    ended = wf(*words, program="worldflux-run")
    assert ended.code == 2
    assert problem in ended.err and hint in ended.err
    assert "has one fault" in ended.err
    assert_one_block(ended.err)
    assert not (project / "runs").exists()


MEANT = [
    # what is typed, and the command that is given to type next
    ("worldflux-run +recipe=min seed=3", "worldflux-run +recipe=mine seed=3"),
    ("worldflux-run +recipe=min params.size=3", "worldflux-run +recipe=mine params.size=3"),
    ("worldflux-run +recipe=mine params.siz=3 sed=1", "worldflux-run +recipe=mine params.size=3 seed=1"),
    ("worldflux-run +recipe=mine size=3", "worldflux-run +recipe=mine params.size=3"),
    ("worldflux-run +recipe=mine +sed=1", "worldflux-run +recipe=mine seed=1"),
    ("worldflux-run +recipe=mine runtime=lokal", "worldflux-run +recipe=mine runtime=local"),
    ("worldflux-run mine", "worldflux-run +recipe=mine"),
    ("worldflux-run -m +recipe=min seed=1,2", "worldflux-run -m +recipe=mine seed=1,2"),
    ("worldflux run min 'name=a b' --dry-run", "worldflux run mine 'name=a b' --dry-run"),
    ("worldflux recipe check min mine", "worldflux recipe check mine mine"),
    ("worldflux recipe check qqq", "worldflux recipe list"),
    ("worldflux-run +recipe=qqq", "worldflux recipe list"),
    ("worldflux-run seed=3", "worldflux recipe list"),
    ("worldflux-run +recipe=mine runtime=qqq", "worldflux runtime list"),
    ("worldflux-run +recipe=mine params.qqq=1", "worldflux-run +recipe=mine --cfg job"),
]


@pytest.mark.parametrize(("typed", "meant"), MEANT, ids=[typed for typed, _ in MEANT])
def test_the_command_to_type_next(typed: str, meant: str, wf: Run, recipe: Callable[..., Path]) -> None:
    """The last line of the error is a command, and typed as it stands it says nothing of that fault any more."""
    recipe(FINE + "params: {size: 1}\n")
    program, *words = shlex.split(typed)
    ended = wf(*words, program=program)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == f"  next: {meant}"
    program, *words = shlex.split(meant)
    assert wf(*words, program=program).code == 0


def test_no_command_is_given_where_none_would_help(wf: Run, recipe: Callable[..., Path]) -> None:
    """A wrong value, and a fault of a file, have no next command: only the person knows what is right."""
    recipe(FINE)
    assert "next:" not in wf("+recipe=mine", "seed=three", program="worldflux-run").err
    recipe(FINE + "sed: 3\n")
    assert "next:" not in wf("+recipe=mine", program="worldflux-run").err


RECIPES = [
    ("command: [echo, '${HOME}/x']\n", "command.1", "looks like a shell variable"),
    ("command: echo hello\n", "recipe.yaml:command", "must be a list"),
    ("description: nothing to run\n", "recipe.yaml:command", "is missing"),
    ("comand: [python]\n", "comand", "unknown key"),
    (FINE + "timeout: 12:30:00\n", "timeout", "base 60"),
    (FINE + "env: {set: {A: no}}\n", "env.set.A", "boolean"),
    (FINE + "params:\n\ta: 1\n", "recipe.yaml:3", "tabs"),
    (FINE + "seed: 1\nseed: 2\n", "recipe.yaml:seed", "stands twice"),
    (FINE + "params: &p {a: 1}\n", "recipe.yaml:2", "anchor"),
    (FINE + "params: " + "[" * 70 + "]" * 70 + "\n", "recipe.yaml:2", "deeper than 64"),
    (FINE + "# " + "x" * (1 << 20) + "\n", "recipe.yaml", "1 MiB"),
    (FINE + "env: {pass: ['AWS_*']}\n", "env.pass", "exact name"),
    (FINE + "artifacts: [{path: /etc/passwd}]\n", "artifacts.0.path", "inside the run's folder"),
]


@pytest.mark.parametrize(("text", "where", "problem"), RECIPES, ids=[r[2] + " " + r[1] for r in RECIPES])
def test_wrong_recipe(
    text: str, where: str, problem: str, wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """A recipe's fault is named with its file and key; `recipe check` finds it too, without running."""
    recipe(text)
    ended = wf("run", "mine")
    assert ended.code == 2 and "recipes/mine/recipe.yaml" in ended.err
    assert where in ended.err and problem in ended.err
    assert_one_block(ended.err)
    assert not (project / "runs").exists()
    assert wf("recipe", "check", "mine").code == 2


def test_all_faults_of_all_jobs_in_one_report(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A sweep names every fault of every job once, and starts nothing."""
    recipe(FINE + "timeout: 12:30:00\n", name="one")
    recipe(FINE + "comand: x\n", name="two")
    ended = wf("-m", "+recipe=one,two,tree", "seed=1,x", "cost_guard.max_usd=-2", program="worldflux-run")
    assert ended.code == 2
    for part in ("12:30:00", "comand", "no recipe `tree`", "seed=x", "max_usd=-2"):
        assert part in ended.err, ended.err
    assert_one_block(ended.err.replace("12:30:00", ""))
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "subprocess.Popen", "evil.Plugin", "worldflux.runtime.base.Adapter", "builtins.open"],
)
def test_a_target_that_is_not_allowed(
    target: str, wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """A class that is not on the list is refused before its module is imported."""
    recipe(FINE)
    (project / "evil.py").write_text("open('imported', 'w')\n")
    ended = wf("+recipe=mine", f"runtime._target_={target}", program="worldflux-run")
    assert ended.code == 4 and "is not an allowed runtime class" in ended.err
    assert_one_block(ended.err)
    assert not (project / "imported").exists() and not (project / "runs").exists()


def test_a_nested_target(wf: Run, recipe: Callable[..., Path]) -> None:
    """Only the runtime itself is built from configuration."""
    recipe(FINE)
    ended = wf("+recipe=mine", "+runtime.helper._target_=os.system", program="worldflux-run")
    assert ended.code == 4 and "runtime.helper._target_" in ended.err


def test_an_unknown_option_of_a_runtime(wf: Run, recipe: Callable[..., Path]) -> None:
    """An option that the plugin does not take is refused with the nearest one."""
    recipe(FINE)
    ended = wf("+recipe=mine", "+runtime.grace=3", program="worldflux-run")
    assert (
        ended.code == 2 and "runtime local has no such option" in ended.err and "grace_seconds" in ended.err
    )


def test_command_not_found(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A command that does not exist is a failed run with its name in the error."""
    recipe("command: [no-such-program, x]\n")
    ended = wf("--json", "run", "mine")
    assert ended.code == 1
    assert "no-such-program" in ended.envelope["error"]["message"]
    assert [m["run"]["status"] for m in manifests(project)] == ["failed"]


def test_a_missing_variable(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A required variable that is not set is named, and nothing is run."""
    recipe(FINE + "env: {pass: [SOME_TOKEN]}\n")
    (project / "worldflux.yaml").write_text("project: demo\npass: [SOME_TOKEN]\n")
    ended = wf("run", "mine")
    assert ended.code == 2 and "SOME_TOKEN" in ended.err and "export SOME_TOKEN" in ended.err
    assert not (project / "runs").exists()


def test_a_variable_that_the_project_does_not_allow(
    wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """A recipe alone can not take a secret; its value appears nowhere."""
    recipe(FINE + "env: {pass: [SOME_TOKEN]}\n")
    ended = wf("run", "mine", SOME_TOKEN="hunter2-hunter2")
    assert ended.code == 4 and "worldflux.yaml" in ended.err
    assert "hunter2" not in ended.err + ended.out
    assert not (project / "runs").exists()


COLLECT = [
    ("metrics: {m: {file: m.json, select: x}}\n", "pass", "the run wrote no file m.json"),
    ("metrics: {m: {file: m.json, select: x}}\n", "open('m.json', 'w').write('{')", "m.json is not JSON"),
    (
        "metrics: {m: {file: m.json, select: x}}\n",
        "open('m.json', 'w').write('{}')",
        "gives nothing, not one number",
    ),
    (
        "metrics: {m: {file: m.json, select: x}}\n",
        "open('m.json', 'w').write('{\"x\": [1, 2]}')",
        "a list of 2",
    ),
    (
        "metrics: {m: {file: m.json, select: x, kind: success}}\n",
        "open('m.json', 'w').write('{\"x\": [1, 2]}')",
        "not a list of true and false",
    ),
    ("artifacts: [{path: '*.mp4'}]\n", "pass", "artifact *.mp4: the run wrote no such file"),
    (
        "artifacts: [{path: '*.txt'}]\n",
        "import os; os.symlink('/etc/hostname', 'a.txt')",
        "artifact *.txt: the run wrote no such file",
    ),
]


@pytest.mark.parametrize(("text", "program", "problem"), COLLECT, ids=[c[2] for c in COLLECT])
def test_a_promise_that_the_run_did_not_keep(
    text: str, program: str, problem: str, wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """Missing metrics and artifacts make a run fail, with all of them in its record."""
    recipe(FINE + text, program)
    ended = wf("--json", "run", "mine")
    assert ended.code == 1
    assert ended.envelope["error"]["code"] == "collect" and problem in ended.envelope["error"]["message"]
    assert [m["run"]["status"] for m in manifests(project)] == ["failed"]


def test_a_metric_that_is_not_a_number(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """NaN is recorded as the text NaN, with a warning; it is not an error."""
    recipe(FINE + "metrics: {m: {file: m.json, select: x}}\n", "open('m.json', 'w').write('{\"x\": NaN}')")
    ended = wf("--json", "run", "mine")
    assert ended.code == 0 and ended.envelope["data"]["metrics"] == {"m": "NaN"}
    assert any("metric m is NaN" in warning for warning in ended.envelope["data"]["warnings"])
    assert manifests(project)[0]["metrics"]["m"]["value"] == "NaN"


def test_a_secret_in_an_override(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A run whose record would hold a secret is refused before it starts; the value shows nowhere."""
    recipe(FINE + "params: {key: ''}\n")
    secret = "q8Zr" + "T1mWx0LkPz5v"
    ended = wf("run", "mine", f"params.key={secret}", MY_API_TOKEN=secret)
    assert ended.code == 4 and secret not in ended.err + ended.out
    assert_one_block(ended.err)
    assert not any((project / "runs").iterdir()) if (project / "runs").exists() else True


def test_a_secret_in_the_result(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A run that brings a secret home ends as refused; the record is there, without it."""
    secret = "q8Zr" + "T1mWx0LkPz5v"
    recipe(FINE + "artifacts: [{path: '*'}]\n", f"open('{secret}', 'w')")
    ended = wf("--json", "run", "mine", MY_API_TOKEN=secret)
    assert ended.code == 4 and ended.envelope["error"]["code"] == "secret"
    texts = [path.read_text() for path in (project / "runs").glob("*/*.*") if path.is_file()]
    assert texts and not any(secret in text for text in [*texts, ended.out, ended.err])
    assert manifests(project)[0]["run"]["status"] == "refused"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_runs_folder(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A runs folder that can not be written is named, and nothing is run."""
    recipe(FINE)
    (project / "runs").mkdir(mode=0o500)
    ended = wf("run", "mine")
    assert ended.code == 1 and "runs" in ended.err
    assert_one_block(ended.err)


def test_runs_folder_is_a_file(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A file where the runs folder should be is named."""
    recipe(FINE)
    (project / "runs").write_text("")
    ended = wf("run", "mine")
    assert ended.code == 1 and "the run's folder can not be made" in ended.err
    assert_one_block(ended.err)


USAGE = [
    (["rnu"], "`rnu`", "did you mean `run`?"),
    (["runs", "lst"], "`lst`", "did you mean `list`?"),
    (["runs", "show", "ffffffff"], "there are no runs yet", "worldflux run"),
    (["runs", "list", "--status", "sucess"], "there is no status `sucess`", "`succeeded`"),
    (["runs", "list", "--limit", "x"], "invalid int value", "--help"),
    (["runtime", "doctor", "nowhere"], "there is no runtime `nowhere`", "local"),
    (["schema", "manifst"], "`manifst`", "did you mean `manifest`?"),
    (["run"], "no recipe is named", "worldflux run NAME"),
    (
        ["run", "mine", "--multirun", "seed=1,2"],
        "`--multirun` is a flag of worldflux-run",
        "worldflux-run --help",
    ),
    (["run", "a", "b"], "one recipe at a time", "worldflux-run -m"),
    (["recipe", "check", "nowhere"], "there is no recipe `nowhere`", ""),
    (
        ["runs", "list", "--statsu", "x"],
        "worldflux runs list: there is no option `--statsu`; did you mean `--status`?",
        "worldflux runs list --help",
    ),
    (
        ["sync", "--drry-run=1"],
        "worldflux sync: there is no option `--drry-run`; did you mean `--dry-run`?",
        "worldflux sync --help",
    ),
    (
        ["evidence", "key", "trust", "them", "k.pub", "--zzz"],
        "worldflux evidence key trust: there is no option `--zzz`",
        "worldflux evidence key trust --help",
    ),
    (
        ["evidence", "key", "trust", "--jsno"],
        "worldflux evidence key trust: there is no option `--jsno`; did you mean `--json`?",
        "worldflux evidence key trust --help",
    ),
    (["evidence", "key", "trust"], "the following arguments are required: NAME", "trust --help"),
    (["auth", "login", "--tokn=x"], "there is no option `--tokn`\n", "auth login --help"),
    (["import", "lerobot:x", "--revison", "y"], "there is no option `--revison`\n", "import --help"),
    (["runs", "--jsno", "list"], "worldflux runs: there is no option `--jsno`", "worldflux runs --help"),
    (
        ["--verison"],
        "worldflux: there is no option `--verison`; did you mean `--version`?",
        "worldflux --help",
    ),
    (["status", "now"], "worldflux status: `now` is one word too many", "worldflux status --help"),
    (["auth", "logn"], "`logn`", "did you mean `login`?"),
    (["auth", "login"], "no server is named", "--server https://"),
    (["auth", "login", "--server", "runs.example.org"], "is no address", "https://runs.example.org"),
    (["auth", "login", "--server", "http://runs.example.org"], "has no https", "ssh -N -L"),
    (["auth", "logout", "--all", "--server", "https://a.example"], "exclude each other", "auth logout"),
]


@pytest.mark.parametrize(("words", "problem", "hint"), USAGE, ids=[" ".join(u[0]) for u in USAGE])
def test_wrong_usage(words: list[str], problem: str, hint: str, wf: Run) -> None:
    """Wrong commands and arguments exit with 2 and name the nearest right word; the same with --json."""
    ended = wf(*words)
    assert ended.code == 2 and problem in ended.err and hint in ended.err
    assert_one_block(ended.err)
    told = wf("--json", *words)
    assert told.code == 2 and told.err == "" and problem.rstrip() in told.envelope["error"]["message"]


def test_a_broken_project_file(wf: Run, project: Path) -> None:
    """Every fault of the project file is named, whatever the command."""
    (project / "worldflux.yaml").write_text("proyect: x\nruntime: [a]\ncost_guard: {max_usd: -1}\n")
    ended = wf("status")
    assert ended.code == 2
    for part in ("proyect", "did you mean `project`?", "worldflux.yaml:runtime", "worldflux.yaml:cost_guard"):
        assert part in ended.err
    assert_one_block(ended.err)


def test_no_message_holds_a_path_of_the_package(wf: Run) -> None:
    """Errors speak of the user's files, not of ours."""
    ended = wf("+recipe=nothing", program="worldflux-run")
    assert not re.search(r"site-packages|worldflux/config", ended.err)


def test_a_bare_name(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A recipe's name without a key is told how to be written."""
    recipe(FINE)
    ended = wf("mine", program="worldflux-run")
    assert ended.code == 2 and "is not an override" in ended.err and "+recipe=mine" in ended.err
    assert_one_block(ended.err)
    assert not (project / "runs").exists()
