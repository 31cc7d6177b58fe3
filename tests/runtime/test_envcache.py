"""Environments by content: built once, found again, never shared by accident."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from envcache_lab import CHILD, children, get, house, in_use, names_left, printed, root
from wheelhouse import Wheelhouse

from worldflux.errors import ConfigError, TemporaryError, UsageError, WorldFluxError

__all__ = ["house", "root"]  # fixtures


def test_built_once_and_found_again(root: Path, house: Wheelhouse) -> None:
    """The first start builds, the second finds the same folder and starts no process."""
    told: list[str] = []
    first = get(root, house, on_progress=told.append)
    second = get(root, house, on_progress=told.append, environ={"PATH": "/nonexistent"})
    assert (first.built, second.built) == (True, False)
    assert (first.path, first.key, first.lock_sha256) == (second.path, second.key, second.lock_sha256)
    assert (
        printed(second.python, "import alpha_one, beta; print(alpha_one.VERSION, beta.VERSION)") == "1.0 2.0"
    )
    assert len([line for line in told if line.startswith("building")]) == 1
    assert second.lock_text == house.lock()
    assert second.lock_sha256 == hashlib.sha256(house.lock().encode()).hexdigest()


def test_scripts_work_after_the_environment_got_its_name(root: Path, house: Wheelhouse) -> None:
    """Console scripts do not hold the path of the place where they were built."""
    environment = get(root, house)
    done = subprocess.run(
        [environment.path / "bin" / "alpha-hi"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert (done.returncode, done.stdout) == (0, "alpha says hi\n")


def test_the_key_follows_the_content(root: Path, house: Wheelhouse) -> None:
    """Line ends do not change the key; another lock does."""
    first = get(root, house)
    assert get(root, house, house.lock().replace("\n", "\r\n")).key == first.key
    assert get(root, house, house.wheels[0].line).key != first.key


def test_an_empty_lock_gives_an_empty_environment(root: Path, house: Wheelhouse) -> None:
    """A recipe may need a Python of its own and no packages."""
    environment = get(root, house, "# nothing\n")
    with pytest.raises(AssertionError, match="alpha_one"):
        printed(environment.python, "import alpha_one")


def test_eight_first_starts_build_once(root: Path, house: Wheelhouse) -> None:
    """ENV-02: processes that start together wait for one build and share it."""
    with in_use(children(root, house, 8)) as answers:
        assert sorted(answer["built"] for answer in answers) == [False] * 7 + [True]
        assert len({answer["python"] for answer in answers}) == 1
        assert printed(Path(answers[0]["python"]), "import beta; print(beta.VERSION)") == "2.0"
    assert len(names_left(root)) == 1


def test_editing_one_environment_changes_no_other(root: Path, house: Wheelhouse) -> None:
    """ENV-03: neither one that exists nor one that is made later from the same package cache."""
    first, second = get(root, house), get(root, house, house.wheels[0].line)
    house.add("gamma", "1.0")
    module = next(first.path.glob("lib/python*/site-packages/alpha_one.py"))
    module.write_text("VERSION = 'edited'\n")
    later = get(root, house)
    for environment in (second, later):
        assert printed(environment.python, "import alpha_one; print(alpha_one.VERSION)") == "1.0"


@pytest.fixture
def movable_python(tmp_path: Path) -> Path:
    """A copy of this interpreter that a test may replace and remove."""
    copy = tmp_path / "base" / "bin" / f"python3.{sys.version_info.minor}"
    copy.parent.mkdir(parents=True)
    shutil.copy2(os.path.realpath(sys.executable), copy)
    if subprocess.run([copy, "-I", "-c", "import encodings"], capture_output=True).returncode != 0:
        pytest.skip("this Python does not run from another folder")
    return copy


def test_a_replaced_interpreter_means_a_new_build(
    root: Path, house: Wheelhouse, movable_python: Path
) -> None:
    """ENV-04: the same version built anew under the same path is noticed, told and not trusted."""
    told: list[str] = []
    first = get(root, house, base_python=movable_python)
    assert not get(root, house, base_python=movable_python).built
    with movable_python.open("ab") as program:
        program.write(b"\0")
    second = get(root, house, base_python=movable_python, on_progress=told.append)
    assert second.built and second.path == first.path
    assert any("interpreter was replaced" in line for line in told)
    assert printed(second.python, "import beta; print(beta.VERSION)") == "2.0"
    assert not get(root, house, base_python=movable_python).built


def test_an_upgraded_interpreter_means_another_environment(
    root: Path, house: Wheelhouse, movable_python: Path
) -> None:
    """ENV-04: another version under the same path never meets the old environment."""
    other = next(
        (path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if other_version(path)), None
    )
    if other is None:
        pytest.skip("no second Python version on this machine")
    first = get(root, house, base_python=movable_python)
    shutil.copy2(os.path.realpath(other), movable_python)
    second = get(root, house, base_python=movable_python)
    assert second.built and second.key != first.key
    assert printed(second.python, "import platform; print(platform.python_version())") == other_version(other)


def other_version(path: str) -> str:
    """Version of the Python there, if it is one and not the running one."""
    if not os.path.exists(path):
        return ""
    done = subprocess.run([path, "-I", "-c", "import platform; print(platform.python_version())"],
                          capture_output=True, text=True)  # fmt: skip
    version = done.stdout.strip()
    return "" if done.returncode or version == sys.version.split()[0] else version


def test_a_removed_interpreter_is_told(root: Path, house: Wheelhouse, movable_python: Path) -> None:
    """ENV-04: a base Python that is gone gives a clear error, and works again when it is back."""
    first = get(root, house, base_python=movable_python)
    away = movable_python.rename(movable_python.with_name("away"))
    with pytest.raises(UsageError, match="is gone") as caught:
        get(root, house, base_python=movable_python)
    assert str(movable_python) in caught.value.problem and "env.python" in caught.value.hint
    away.rename(movable_python)
    assert get(root, house, base_python=movable_python).path == first.path


@pytest.mark.parametrize("damage", ["marker", "python", "garbage", "file", "link"])
def test_a_damaged_environment_is_built_again(root: Path, house: Wheelhouse, damage: str) -> None:
    """What has the name but is not whole is replaced, whatever it is."""
    environment = get(root, house)
    marker = environment.path / "worldflux-env.json"
    if damage == "marker":
        marker.unlink()
    elif damage == "python":
        environment.python.unlink()
    elif damage == "garbage":
        marker.write_bytes(b"\x00\xff{")
    else:
        shutil.rmtree(environment.path)
        if damage == "file":
            environment.path.touch()
        else:
            environment.path.symlink_to("/nonexistent")
    again = get(root, house)
    assert again.built and again.path == environment.path
    assert printed(again.python, "import beta; print(beta.VERSION)") == "2.0"
    assert names_left(root) == [environment.key]


def test_a_hostile_project_folder_changes_nothing(
    house: Wheelhouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENV-05: configuration and modules in the current folder, above the cache or in HOME are not used."""
    project = tmp_path / "project"
    evil = Wheelhouse(project / "evil")
    evil.add("alpha-one", "1.0", files={"alpha_one.py": "VERSION = 'evil'\n"})
    evil.add("delta", "6.6")
    settings = (
        f'find-links = ["{evil.folder}"]\nindex-url = "http://127.0.0.1:1/simple"\nlink-mode = "hardlink"\n'
    )
    for place in (project / "uv.toml", tmp_path / "home" / ".config" / "uv" / "uv.toml"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{settings}[pip]\n{settings}")
    (project / "pyproject.toml").write_text(f"[tool.uv]\n{settings}[tool.uv.pip]\n{settings}")
    (project / ".python-version").write_text("2.7\n")
    ran = tmp_path / "ran"
    for name in ("sitecustomize", "usercustomize", "json", "encodings", "numpy", "platform", "runpy"):
        (project / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write(__file__)\n")
    monkeypatch.chdir(project)
    environ = house.environ(
        HOME=str(tmp_path / "home"),
        PYTHONPATH=str(project),
        UV_CONFIG_FILE=str(project / "uv.toml"),
        UV_LINK_MODE="hardlink",
        UV_PYTHON="2.7",
        UV_PROJECT=str(project),
        UV_INSECURE_NO_ZIP_VALIDATION="1",
    )
    environment = get(project / "envs", house, environ=environ)
    assert printed(environment.python, "import alpha_one; print(alpha_one.VERSION)") == "1.0"
    with pytest.raises(WorldFluxError, match="delta"):
        get(project / "envs", house, "delta\n", unpinned=True, environ=environ)
    assert not ran.exists()


@pytest.mark.parametrize(
    "name", ["with space", "ünïcødé-日本", "quo'te\"s", "a,b", "x" * 200, "dollar$HOME", "percent%20"]
)
def test_odd_paths(root: Path, house: Wheelhouse, name: str) -> None:
    """ENV-09: the cache, its packages and their scripts work below folders with odd names."""
    folder = root.parent / name
    folder.mkdir()
    moved = Wheelhouse(folder / "wheels", house.wheels)
    shutil.copytree(house.folder, moved.folder)
    environment = get(folder / "envs", moved)
    assert printed(environment.python, "import beta; print(beta.VERSION)") == "2.0"
    done = subprocess.run(
        [environment.path / "bin" / "alpha-hi"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.stdout == "alpha says hi\n", done.stderr


def test_the_current_folder_was_removed(root: Path, house: Wheelhouse, tmp_path: Path) -> None:
    """A shell that stands in a deleted folder can still start a run."""
    gone = tmp_path / "gone"
    gone.mkdir()
    asked = json.dumps({"root": str(root), "lock": house.lock(), "environ": house.environ()})
    script = 'cd "$1"; rmdir "$1"; exec "$2" "$3" "$4"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", gone, sys.executable, CHILD, asked], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_no_home_and_a_home_that_can_not_be_written(root: Path, house: Wheelhouse, tmp_path: Path) -> None:
    """ENV-09: HOME unset, absent or read-only does not matter; nothing is written there."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for number, home in enumerate((None, "/nonexistent/home", str(closed))):
        environ = {name: value for name, value in house.environ().items() if name != "HOME"}
        environ.update({} if home is None else {"HOME": home})
        assert get(root / str(number), house, environ=environ).built
        assert list(closed.iterdir()) == []


def test_a_cache_that_can_not_be_written_is_told(house: Wheelhouse, tmp_path: Path) -> None:
    """A cache folder that is a file, or below one, is one clear error with a way out."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "envs"):
        with pytest.raises(WorldFluxError) as caught:
            get(place, house)
        assert "WORLDFLUX_HOME" in caught.value.hint


@pytest.mark.parametrize(
    "line",
    ["--index-url http://127.0.0.1:1/simple", "-i http://127.0.0.1:1/", "--extra-index-url=http://127.0.0.1:1/",
     "--find-links /tmp", "-e .", "-r other.txt", "-c other.txt", "delta @ http://127.0.0.1:1/delta-1.whl",
     "http://127.0.0.1:1/delta-1-py3-none-any.whl", "delta @ file:///tmp/delta.whl", "file:///tmp/delta.whl",
     "git+ssh://git@127.0.0.1/x", "./delta", "--pre", "--trusted-host x", "--no-binary :all:"],
)  # fmt: skip
@pytest.mark.parametrize("unpinned", [False, True])
def test_lines_that_reach_elsewhere_are_refused(
    root: Path, house: Wheelhouse, line: str, unpinned: bool
) -> None:
    """ENV-10: a lock can not choose where packages come from; the line's number is told, nothing is built."""
    with pytest.raises(ConfigError) as caught:
        get(root, house, house.lock() + line + "\n", unpinned=unpinned)
    assert "requirements:3" in caught.value.problem
    assert names_left(root) == []


def test_lines_without_hash_or_version_are_refused(root: Path, house: Wheelhouse) -> None:
    """Unless the recipe says otherwise, what is installed is exactly what was locked."""
    with pytest.raises(ConfigError) as caught:
        get(root, house, "alpha-one\nbeta==2.0\n")
    assert [fault.where for fault in caught.value.faults] == ["requirements:1", "requirements:2"]
    assert "allow_unpinned" in caught.value.faults[0].hint


def test_specifiers_choose_or_refuse(root: Path, house: Wheelhouse) -> None:
    """`env.python` is checked; when nothing fits, the error names what is there."""
    assert get(root, house, python=">=3.8").built
    minor = ".".join(map(str, sys.version_info[:2]))
    assert not get(root, house, python=minor).built
    for specifier in (">=4", "==2.7.*"):
        with pytest.raises(UsageError) as caught:
            get(root, house, python=specifier)
        assert sys.version.split()[0] in caught.value.problem and specifier in caught.value.problem
    with pytest.raises(UsageError, match="no version specifier"):
        get(root, house, python="three")


def test_errors_are_of_the_tree(root: Path, house: Wheelhouse) -> None:
    """A refused connection can be tried again later: exit code 3, a hint, and nothing half made."""
    environ = {
        **house.environ(),
        "PIP_NO_INDEX": "",
        "UV_DEFAULT_INDEX": "http://127.0.0.1:1/simple",
        "UV_HTTP_RETRIES": "0",
    }
    with pytest.raises(TemporaryError) as caught:
        get(root, house, "zeta==1 --hash=sha256:" + "0" * 64, environ=environ)
    assert caught.value.exit_code == 3 and caught.value.hint and "\n" not in caught.value.problem
    assert names_left(root) == []


def test_a_warm_start_is_fast(root: Path, house: Wheelhouse) -> None:
    """A found environment is ready within 50 ms in this process (measured: below 2 ms)."""
    get(root, house)
    times = sorted(get(root, house, python=">=3.10,<4").seconds for _ in range(5))
    assert times[2] < 0.05
