"""A machine that is set up for pip works without being set up again for uv."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from envcache_lab import get, house, printed, root
from wheelhouse import Wheelhouse

from worldflux.runtime.venvs.pip_settings import (
    credentials,
    pip_settings,
    redacted,
    uses_no_index,
    uv_settings,
)
from worldflux.runtime.venvs.uvtool import uv_environment

__all__ = ["house", "root"]  # fixtures


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_setting_is_said_again(tmp_path: Path) -> None:
    """Index, extra indexes, folders of wheels, certificates, proxy, trusted hosts and timeout reach uv."""
    source = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://one/simple",
        "PIP_EXTRA_INDEX_URL": "https://two/simple\n https://three/simple ",
        "PIP_FIND_LINKS": "wheels file:///opt/w https://h/w",
        "PIP_CERT": "ca.pem",
        "PIP_CLIENT_CERT": "/etc/me.pem",
        "PIP_TRUSTED_HOST": "one two",
        "PIP_PROXY": "http://proxy:1",
        "PIP_TIMEOUT": "42",
    }
    assert uv_settings(source, cwd=tmp_path) == {
        "UV_DEFAULT_INDEX": "https://one/simple",
        "UV_INDEX": "https://two/simple https://three/simple",
        "UV_FIND_LINKS": f"{tmp_path}/wheels,file:///opt/w,https://h/w",
        "SSL_CERT_FILE": f"{tmp_path}/ca.pem",
        "SSL_CLIENT_CERT": "/etc/me.pem",
        "UV_INSECURE_HOST": "one two",
        "HTTP_PROXY": "http://proxy:1",
        "HTTPS_PROXY": "http://proxy:1",
        "UV_HTTP_TIMEOUT": "42",
    }


def test_what_is_set_for_uv_wins() -> None:
    """uv's own variables, also their older names, and the common ones for certificates and proxies stay."""
    source = {
        "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "a", "PIP_EXTRA_INDEX_URL": "b",
        "PIP_FIND_LINKS": "c", "PIP_CERT": "d", "PIP_PROXY": "e", "UV_INDEX_URL": "x",
        "UV_EXTRA_INDEX_URL": "x", "UV_FIND_LINKS": "x", "SSL_CERT_FILE": "x", "ALL_PROXY": "x",
    }  # fmt: skip
    assert uv_settings(source, cwd=Path("/")) == {}


def test_files_are_read_in_pips_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's file is weaker than the environment's, both are weaker than PIP_CONFIG_FILE and PIP_*."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    places = [
        tmp_path / "xdg" / "pip" / "pip.conf",
        tmp_path / "home" / ".pip" / "pip.conf",
        tmp_path / "home" / ".config" / "pip" / "pip.conf",
        tmp_path / "venv" / "pip.conf",
        tmp_path / "named.conf",
    ]
    source = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"),
              "PIP_CONFIG_FILE": str(tmp_path / "named.conf")}  # fmt: skip
    for number, place in enumerate(places):
        write(place, f"[global]\nindex-url = https://{number}/simple\n")
        if number == 0 and Path("/etc/pip.conf").exists():
            continue  # this machine's own file comes between
        assert pip_settings(source)["index-url"] == f"https://{number}/simple"
    write(places[-1], "[global]\nindex-url = https://a/simple\n[install]\nindex_url = https://b/simple\n")
    assert pip_settings(source)["index-url"] == "https://b/simple"
    assert pip_settings({**source, "PIP_INDEX_URL": "https://c/simple"})["index-url"] == "https://c/simple"
    assert pip_settings({**source, "PIP_CONFIG_FILE": os.devnull}) == {}


def test_a_file_that_can_not_be_read_is_passed_over(tmp_path: Path) -> None:
    """Somebody else's broken configuration does not stop a run."""
    for text in (b"no section\n", b"[global\nx", b"\xff\xfe[global]", b"[global]\nindex-url = %(x)s\n"):
        (tmp_path / "pip.conf").write_bytes(text)
        pip_settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})


def test_folders_with_odd_names(tmp_path: Path) -> None:
    """A folder of wheels may have spaces and commas in its name; uv separates folders by commas."""
    odd = tmp_path / "with space, and comma"
    odd.mkdir()
    value = uv_settings({"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(odd)}, cwd=tmp_path)[
        "UV_FIND_LINKS"
    ]
    assert value.startswith("file:///") and "," not in value and "%2C" in value
    assert uv_settings({"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "a b"}, cwd=tmp_path) == {
        "UV_FIND_LINKS": f"{tmp_path}/a,{tmp_path}/b"
    }


@pytest.mark.parametrize(
    ("value", "answer"), [("1", True), ("true", True), ("on", True), ("0", False), ("", False)]
)
def test_no_index(value: str, answer: bool) -> None:
    """The switch that has no variable in uv is understood."""
    assert uses_no_index({"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": value}) is answer


def test_a_users_pip_conf_is_enough(root: Path, house: Wheelhouse) -> None:
    """An environment is built from the folder of wheels that only ~/.config/pip/pip.conf names."""
    home = root.parent / "home"
    write(home / ".config" / "pip" / "pip.conf", f"[global]\nfind-links = {house.folder}\nno-index = yes\n")
    environment = get(root, house, environ={"HOME": str(home)})
    assert printed(environment.python, "import beta; print(beta.VERSION)") == "2.0"


def test_relative_folders_are_meant_from_here(
    root: Path, house: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path in PIP_FIND_LINKS means the current folder, though uv works in another one."""
    monkeypatch.chdir(house.folder.parent)
    environ = house.environ(PIP_FIND_LINKS="wheels")
    assert get(root, house, environ=environ).built


def test_uv_gets_a_listed_environment(tmp_path: Path) -> None:
    """What changes uv's behaviour, or is a secret of something else, does not reach it; logins do."""
    source = {
        "PATH": "/usr/bin:relative:/home/me/.pyenv/shims", "HOME": "/home/me", "HF_TOKEN": "t",
        "PYTHONPATH": "/evil", "VIRTUAL_ENV": "/v", "UV_CONFIG_FILE": "/evil.toml",
        "UV_LINK_MODE": "hardlink", "UV_PYTHON": "2.7", "UV_NO_VERIFY_HASHES": "1",
        "UV_INSECURE_NO_ZIP_VALIDATION": "1", "UV_PYTHON_DOWNLOADS": "automatic",
        "UV_INDEX_MINE_USERNAME": "me", "UV_INDEX_MINE_PASSWORD": "pass", "LD_PRELOAD": "/evil.so",
        "UV_PROJECT_ENVIRONMENT": "/elsewhere", "PIP_CONFIG_FILE": os.devnull,
        "UV_KEYRING_PROVIDER": "subprocess",
    }  # fmt: skip
    environment = uv_environment(source, cache=tmp_path / "c", scratch=tmp_path / "s")
    assert environment.pop("PATH") == "/usr/bin:/usr/local/bin:/bin"
    assert environment == {
        "HOME": "/home/me",
        "UV_INDEX_MINE_USERNAME": "me",
        "UV_INDEX_MINE_PASSWORD": "pass",
        "UV_KEYRING_PROVIDER": "subprocess",
        "TMPDIR": f"{tmp_path}/s/tmp",
        "UV_CACHE_DIR": f"{tmp_path}/c",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
        "PYTHONNOUSERSITE": "1",
    }


def test_credentials_are_found_and_hidden() -> None:
    """User and password of an address never stay, however odd, nor do passwords of their own variable."""
    environment = {
        "UV_INDEX": "https://me:pa@ss@h/s https://token@h2/s",
        "UV_INDEX_A_PASSWORD": "hunter22",
        "X": "y",
    }
    found = credentials(environment)
    assert found == ("hunter22", "pa@ss", "token")
    text = "error https://me:pa@ss@h/s and https://token@h2/s?x=1 (hunter22) http://plain/a@b"
    assert (
        redacted(text, secrets=found)
        == "error https://****@h/s and https://****@h2/s?x=1 (****) http://plain/a@b"
    )
