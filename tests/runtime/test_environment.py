"""What a command can see of this machine, and what it can not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from worldflux.errors import RefusedError, UsageError
from worldflux.runtime.environment import (
    FIXED,
    GROUPS,
    command_environment,
    forwarded,
    is_forbidden,
    is_secret_name,
    remove_temporary,
    visible_names,
)

HOSTILE = {
    "WORLDFLUX_API_KEY": "wfx_key", "HF_TOKEN": "t", "WANDB_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_PROFILE": "p", "PYTHONPATH": "/evil", "PYTHONHOME": "/evil", "PYTHONSTARTUP": "/evil/x.py",
    "PYTHONINSPECT": "1", "LD_PRELOAD": "/evil.so", "LD_AUDIT": "/evil.so", "DYLD_INSERT_LIBRARIES": "/evil",
    "BASH_ENV": "/evil", "ENV": "/evil", "IFS": "x", "GIT_DIR": "/evil", "SSH_AUTH_SOCK": "/agent",
    "DBUS_SESSION_BUS_ADDRESS": "unix:x", "UV_INDEX": "http://evil", "PIP_INDEX_URL": "http://evil",
    "SLURM_JWT": "token", "HYDRA_FULL_ERROR": "1", "EDITOR": "vi", "PWD": "/somewhere", "PATH": "/evil/bin",
    "TMPDIR": "/shared", "TERM": "xterm-256color", "SHELL": "/bin/zsh", "WORLDFLUX_RUN_ID": "outer",
}  # fmt: skip
GOOD = {
    "HOME": "/home/a", "LANG": "de_DE.UTF-8", "LC_ALL": "C", "TZ": "UTC", "SSL_CERT_FILE": "/c.pem",
    "https_proxy": "http://proxy:3128", "NO_PROXY": "localhost", "CUDA_VISIBLE_DEVICES": "1",
    "LD_LIBRARY_PATH": "/cuda/lib", "NCCL_DEBUG": "INFO", "SLURM_JOB_ID": "7", "MUJOCO_GL": "egl",
    "DISPLAY": ":0", "HF_HOME": "/big/hf", "OMP_NUM_THREADS": "2",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_links_left(tmp_path: Path) -> Iterator[None]:
    """Short names that a test made go away with it."""
    yield
    for link in Path("/tmp").glob("wf-*"):
        if link.is_symlink() and os.readlink(link).startswith(str(tmp_path)):
            link.unlink()


def build(tmp_path: Path, source: dict[str, str] | None = None, **options: object) -> dict[str, str]:
    settings: dict[str, object] = {"python": None, "extra": {}, "work": tmp_path, **options}
    return command_environment({**HOSTILE, **GOOD} if source is None else source, **settings)  # type: ignore[arg-type]


def listed(env: dict[str, str], code: str = "import json, os; print(json.dumps(dict(os.environ)))") -> dict:
    """What a real Python started with that environment sees."""
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_only_listed_variables_come_in(tmp_path: Path) -> None:
    """A real child process sees the groups, the fixed settings and nothing else of this person's shell."""
    seen = listed(build(tmp_path))
    seen.pop("LC_CTYPE", None)  # CPython's own, when it coerces the locale
    expected = {*GOOD, *FIXED, "PATH", "TMPDIR"}
    if sys.prefix != sys.base_prefix:
        expected.add("VIRTUAL_ENV")
    assert set(seen) == expected
    assert {name: seen[name] for name in GOOD} == GOOD


def test_nothing_at_all_outside_still_gives_a_working_python(tmp_path: Path) -> None:
    """From an empty environment the command starts, and its output is UTF-8."""
    env = build(tmp_path, {})
    done = subprocess.run([sys.executable, "-c", "print('ü')"], env=env, capture_output=True, check=True)
    assert done.stdout.decode() == "ü\n"


def test_output_is_unbuffered(tmp_path: Path) -> None:
    """What a program prints is out before it dies without a chance to flush (F12)."""
    code = "import os; print('line'); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", code], env=build(tmp_path, {}), stdout=subprocess.PIPE)
    assert (done.stdout, done.returncode) == (b"line\n", 9)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_left_out_stays_out(tmp_path: Path, group: str) -> None:
    """Leaving a group out removes exactly its variables."""
    others = [name for name in GROUPS if name != group]
    with_it, without = build(tmp_path), build(tmp_path, groups=others)
    gone = set(with_it) - set(without)
    assert gone and all(any(fnmatchcase(name, pattern) for pattern in GROUPS[group]) for name in gone)


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    """A typing error in `env_groups` is told, with the groups that exist."""
    with pytest.raises(UsageError) as caught:
        build(tmp_path, groups=["base", "gpus"])
    assert "gpus" in caught.value.problem and "slurm" in caught.value.hint


def test_path_starts_with_the_interpreter(tmp_path: Path) -> None:
    """`python` means the environment's own interpreter; what is on this person's PATH is not found."""
    home = tmp_path / "env" / "bin"
    home.mkdir(parents=True)
    (home / "python").symlink_to(sys.executable)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    env = build(tmp_path, python=home / "python")
    assert env["PATH"] == f"{home}:/usr/local/bin:/usr/bin:/bin"
    assert env["VIRTUAL_ENV"] == str(tmp_path / "env")
    assert build(tmp_path)["PATH"].startswith(f"{Path(sys.executable).parent}:/usr/local/bin")


def test_a_recipe_may_extend_the_path_but_not_lose_its_python(tmp_path: Path) -> None:
    """PATH in `env.set` is the way out for tools in odd places; the interpreter stays first."""
    env = build(tmp_path, python=tmp_path / "bin" / "python", extra={"PATH": "/opt/tools/bin:/usr/bin"})
    assert env["PATH"] == f"{tmp_path}/bin:/opt/tools/bin:/usr/bin"


def test_extra_wins_over_groups_and_fixed_settings(tmp_path: Path) -> None:
    """What the recipe sets is what the command gets."""
    env = build(tmp_path, extra={"MUJOCO_GL": "osmesa", "TERM": "xterm", "PYTHONPATH": "/recipe"})
    assert (env["MUJOCO_GL"], env["TERM"], env["PYTHONPATH"]) == ("osmesa", "xterm", "/recipe")


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "WORLDFLUX_API_KEY", "DYLD_LIBRARY_PATH", "GIT_DIR", "PYTHONHOME"]
)
def test_forbidden_names_are_refused_in_extra(tmp_path: Path, name: str) -> None:
    """A recipe can not set what opens a door; the refusal names the variable and not its value."""
    with pytest.raises(RefusedError) as caught:
        build(tmp_path, extra={name: "hidden-value"})
    assert name in caught.value.problem and "hidden-value" not in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "extra", [{"A=B": "1"}, {"": "1"}, {"1A": "1"}, {"A B": "1"}, {"A": "x\0y"}, {"Ä": "1"}]
)
def test_what_is_no_variable_is_told(tmp_path: Path, extra: dict[str, str]) -> None:
    """Names and values that the system can not take are an error before anything is started."""
    with pytest.raises(UsageError):
        build(tmp_path, extra=extra)


@pytest.mark.parametrize(
    ("seed", "hash_seed"),
    [("0", "0"), ("7", "7"), ("007", "7"), ("4294967295", "4294967295"), ("4294967296", None), ("-1", None),
     ("", None), ("x", None), ("1.5", None), ("٣", None)],
)  # fmt: skip
def test_the_seed_fixes_hashing_when_python_accepts_it(
    tmp_path: Path, seed: str, hash_seed: str | None
) -> None:
    """PYTHONHASHSEED follows the run's seed, and is left out where CPython would refuse to start."""
    env = build(tmp_path, {}, extra={"WORLDFLUX_SEED": seed})
    assert env.get("PYTHONHASHSEED") == hash_seed
    subprocess.run([sys.executable, "-c", ""], env=env, check=True)


def test_the_same_seed_gives_the_same_order_of_sets(tmp_path: Path) -> None:
    """Two processes with one seed agree on hashes of texts; with another seed they do not."""
    code = "import json; print(json.dumps({'h': hash('worldflux')}))"
    one, two, other = (
        listed(build(tmp_path, {}, extra={"WORLDFLUX_SEED": s}), code) for s in ("1", "1", "2")
    )
    assert one == two != other


def test_temporary_files_are_private_and_go_away(tmp_path: Path) -> None:
    """TMPDIR is this run's own, closed to others, and removed with everything in it; also twice."""
    env = build(tmp_path, {})
    folder = Path(env["TMPDIR"])
    assert folder.resolve() == (tmp_path / "tmp").resolve()
    assert folder.resolve().stat().st_mode & 0o777 == 0o700
    (folder / "left").touch()
    for _ in range(2):
        remove_temporary(tmp_path)
        assert not os.path.lexists(folder) and not (tmp_path / "tmp").exists()


def test_sockets_fit_into_the_temporary_folder_of_a_deep_project(tmp_path: Path) -> None:
    """A library can make its socket in TMPDIR however long the run's own path is."""
    deep = tmp_path / ("d" * 60) / ("runs" + "0" * 36)
    env = build(deep, {})
    try:
        place = Path(env["TMPDIR"]) / "pymp-abcdefgh" / "listener-abcdefgh"
        place.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
        assert (deep / "tmp" / "pymp-abcdefgh" / "listener-abcdefgh").exists()
        assert build(deep, {})["TMPDIR"] == env["TMPDIR"]
    finally:
        remove_temporary(deep)
    assert not os.path.lexists(env["TMPDIR"])


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """When somebody else holds the short name, the long folder is used, and their link stays."""
    deep = tmp_path / ("d" * 80)
    link = Path(build(deep, {})["TMPDIR"])
    remove_temporary(deep)
    link.symlink_to(tmp_path)
    try:
        assert build(deep, {})["TMPDIR"] == str(deep / "tmp")
        remove_temporary(deep)
        assert link.is_symlink()
    finally:
        link.unlink()


def test_links_of_killed_runs_go_away(tmp_path: Path) -> None:
    """A short name whose folder is gone is removed by a later run, once it is old; one in use stays."""
    dead, fresh, alive = (tmp_path / (name * 80) for name in "dfa")
    links = {work: Path(build(work, {})["TMPDIR"]) for work in (dead, fresh, alive)}
    for work in (dead, fresh):
        (work / "tmp").rmdir()
    for work in (dead, alive):
        os.utime(links[work], (1, 1), follow_symlinks=False)
    build(tmp_path / ("x" * 80), {})
    assert [work for work, link in links.items() if link.is_symlink()] == [fresh, alive]


def test_a_relative_folder_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command works in another folder; its TMPDIR is the same place from there."""
    monkeypatch.chdir(tmp_path)
    deep = Path("d" * 80)
    assert Path(build(deep, {})["TMPDIR"]).resolve() == (tmp_path / deep / "tmp").resolve()
    remove_temporary(deep)
    assert not (tmp_path / deep / "tmp").exists()


def test_forwarding_needs_recipe_and_project() -> None:
    """A provider variable passes when both name it exactly, and only then."""
    source = {"HF_TOKEN": "abc", "HF_TOKEN_2": "no", "OTHER": "no"}
    assert forwarded(["HF_TOKEN"], source, allowed=["HF_TOKEN", "WANDB_API_KEY"]) == ({"HF_TOKEN": "abc"}, [])
    with pytest.raises(RefusedError) as caught:
        forwarded(["HF_TOKEN_2"], source, allowed=["HF_TOKEN"])
    assert "HF_TOKEN_2" in caught.value.problem and "worldflux.yaml" in caught.value.hint
    assert "no" not in caught.value.details.values()


def test_missing_variables_are_listed() -> None:
    """Unset and empty ones are missing, unless the recipe marks them with `?`; one plain mention counts."""
    names = ["A", "B", "C?", "D?", "D"]
    assert forwarded(names, {"A": "1", "B": ""}, allowed=["A", "B", "C", "D?"]) == ({"A": "1"}, ["B", "D"])


@pytest.mark.parametrize(
    "name", ["HF_*", "*", "HF_?", "A??", "HF_TOKEN=1", "", " HF_TOKEN", "[A]", "A,B", "?"]
)
def test_patterns_are_no_names(name: str) -> None:
    """Globs and lists are refused in the recipe and in the project alike; there is no way to say `all`."""
    environment = {"HF_TOKEN": "abc", "HF_": "x"}
    if name == "HF_?":
        assert forwarded([name], {}, allowed=["HF_"]) == ({}, [])
        return
    with pytest.raises(UsageError):
        forwarded([name], environment, allowed=[name])
    with pytest.raises(UsageError):
        forwarded(["HF_TOKEN"], environment, allowed=["HF_TOKEN", name])


@pytest.mark.parametrize(
    "name",
    ["WORLDFLUX_API_KEY", "WORLDFLUX_RUN_ID", "LD_PRELOAD", "PYTHONPATH", "PYTHONUNBUFFERED", "PATH",
     "TMPDIR", "UV_INDEX_X_PASSWORD", "PIP_INDEX_URL", "SSH_AUTH_SOCK", "DYLD_INSERT_LIBRARIES", "ENV",
     "GIT_ASKPASS", "BASH_FUNC_x", "SHELL"],
)  # fmt: skip
def test_never_forwarded_even_when_allowed(name: str) -> None:
    """Some names stay outside whatever recipe and project say."""
    with pytest.raises(RefusedError) as caught:
        forwarded([name], {name: "hidden-value"}, allowed=[name])
    assert "hidden-value" not in str(caught.value) + str(caught.value.details)


def test_visible_names_hold_no_secret(tmp_path: Path) -> None:
    """Values that may be recorded: groups and fixed ones, no forwarded token, no password of a proxy."""
    source = {**GOOD, "http_proxy": "http://me:pass@proxy:1", "all_proxy": "socks5://tok@proxy:1"}
    env = build(tmp_path, source, extra={"HF_TOKEN": "abc", "MY_SETTING": "1", "MUJOCO_GL": "osmesa"})
    names = visible_names(env)
    assert names == sorted(names)
    assert {"HOME", "PATH", "MUJOCO_GL", "CUDA_VISIBLE_DEVICES", "PYTHONUNBUFFERED", "https_proxy"} <= set(
        names
    )
    assert not {"HF_TOKEN", "MY_SETTING", "http_proxy", "all_proxy"} & set(names)


def test_no_listed_variable_is_forbidden_or_secret() -> None:
    """The groups do not contradict the rules."""
    names = [name for group in GROUPS.values() for name in group if not name.endswith("*")]
    assert [name for name in names if is_forbidden(name) or is_secret_name(name)] == []
    assert len(names) == len(set(names))
