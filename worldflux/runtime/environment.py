"""Which variables a command gets: a listed few, never what happens to be set.

A command's environment is made of four parts, later ones win:

    groups     named variables of this machine (`GROUPS`), when they are set
    fixed      what every run gets: PATH, TMPDIR, unbuffered output, no user site-packages
    extra      what the recipe sets, what it may forward, and the WORLDFLUX_* of the run
    PATH       always starts with the interpreter's own folder

Everything else stays outside: keys of other services, PYTHONPATH, LD_PRELOAD, agents' sockets.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from worldflux.errors import RefusedError, UsageError
from worldflux.manifest.secret_names import is_secret_name

__all__ = [
    "FIXED",
    "GROUPS",
    "command_environment",
    "forwarded",
    "is_forbidden",
    "is_secret_name",
    "remove_temporary",
    "visible_names",
]

#: Exact names, or `NAME_*` for every name that starts with `NAME_`. A name that looks like a
#: secret is left out even when a pattern covers it (`SLURM_JWT`).
GROUPS: dict[str, tuple[str, ...]] = {
    "base": (
        "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "COLUMNS", "LINES", "NO_COLOR",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
        "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
        "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE",
        "HF_LEROBOT_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TORCH_HOME",
    ),
    "gpu": (
        "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "CUDA_LAUNCH_BLOCKING",
        "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
        "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "XLA_FLAGS", "XLA_PYTHON_CLIENT_*",
        "JAX_PLATFORMS", "PYTORCH_CUDA_ALLOC_CONF", "OMP_*", "KMP_*", "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NCCL_*",
    ),
    "slurm": ("SLURM_*",),
    "display": (
        "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID",
        "PYOPENGL_PLATFORM", "EGL_PLATFORM", "__EGL_VENDOR_LIBRARY_FILENAMES", "LIBGL_ALWAYS_SOFTWARE",
        "MESA_GL_VERSION_OVERRIDE", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER", "QT_QPA_PLATFORM",
    ),
}  # fmt: skip

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"

#: Given to every run as they are. PYTHONSAFEPATH is not among them: recipes import the modules
#: that lie beside their script.
FIXED: dict[str, str] = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONNOUSERSITE": "1",
    "TERM": "dumb",
    "SHELL": "/bin/sh",
}

#: They change what another program does, or open a door to this person's session.
_FORBIDDEN = (
    "WORLDFLUX_API_KEY", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONBREAKPOINT",
    "PYTHONUSERBASE", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__",
    "LD_PRELOAD", "LD_AUDIT", "DYLD_*", "BASH_ENV", "BASH_FUNC_*", "ENV", "IFS", "PROMPT_COMMAND",
    "SHELLOPTS", "BASHOPTS", "GIT_*", "SSH_AUTH_SOCK", "SSH_ASKPASS", "SUDO_ASKPASS",
    "DBUS_SESSION_BUS_ADDRESS", "GPG_AGENT_INFO", "NODE_OPTIONS", "PERL5OPT", "PERL5LIB", "RUBYOPT",
    "UV_*", "PIP_*",
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_USERINFO = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]*@", re.IGNORECASE)

#: Longest TMPDIR that leaves room for the sockets libraries make in it. The limit of a socket's
#: path is 107 bytes on Linux and 103 on macOS; `multiprocessing` appends about 32.
_LONGEST_TMPDIR = 64
_LINK = "wf-"
_STALE_SECONDS = 3600


def command_environment(
    source: Mapping[str, str],
    *,
    python: Path | None,
    groups: Sequence[str] = ("base", "gpu", "slurm", "display"),
    extra: Mapping[str, str],
    work: Path,
) -> dict[str, str]:
    """The whole environment of a run's command.

    Args:
        source: variables of this process; only names in `groups` are taken from it.
        python: interpreter that `python` shall mean; None is the one WorldFlux runs on.
        groups: keys of `GROUPS`.
        extra: set as they are, over everything else. A PATH in it replaces the system's part of
            PATH. PYTHONPATH is allowed here (the engine sets it), no other forbidden name is.
        work: folder of this run, private to it; the command's TMPDIR is made in it. Undo with
            `remove_temporary`.

    Raises:
        UsageError: unknown group, or an entry of `extra` that is no variable.
        RefusedError: `extra` holds a name that is never passed.
    """
    _check_extra(extra)
    wanted = _patterns(groups)
    result = {
        name: value
        for name, value in source.items()
        if _matches(name, wanted) and not is_forbidden(name) and not is_secret_name(name)
    }
    result.update(FIXED)
    result["TMPDIR"] = str(_temporary(work))
    home = Path(sys.executable).parent if python is None else python.parent
    if (home.parent / "pyvenv.cfg").is_file():
        result["VIRTUAL_ENV"] = str(home.parent)
    seed = extra.get("WORLDFLUX_SEED", "")
    # CPython accepts 0..4294967295 and refuses to start on anything else.
    if re.fullmatch(r"[0-9]{1,10}", seed) and int(seed) <= 4294967295:
        result["PYTHONHASHSEED"] = str(int(seed))
    result.update(extra)
    result["PATH"] = f"{home}{os.pathsep}{extra.get('PATH') or SYSTEM_PATH}"
    return result


def forwarded(
    names: Sequence[str], source: Mapping[str, str], *, allowed: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Provider variables that a recipe asks for and the project allows, by exact name.

    Args:
        names: the recipe's `env.pass`; a trailing `?` marks one that may be missing.
        source: where the values are.
        allowed: the project's `pass` list.

    Returns:
        The values, and the required names that are not set or empty.

    Raises:
        UsageError: a pattern, or something that is no variable's name.
        RefusedError: a name that is never passed, or one the project does not allow.
    """
    asked: dict[str, bool] = {}
    for name in names:
        plain = name.removesuffix("?")
        asked[plain] = asked.get(plain, True) and plain != name
    permitted = {entry.removesuffix("?") for entry in allowed}
    odd = [name for name in (*asked, *sorted(permitted)) if not _NAME.match(name)]
    if odd:
        raise UsageError(
            f"{_listed(odd)}: variables are passed by exact name",
            "write each name out, such as `pass: [HF_TOKEN]`; patterns are not supported",
        )
    never = [name for name in asked if is_forbidden(name) or _belongs_to_the_run(name)]
    if never:
        raise RefusedError(
            f"{_listed(never)}: never passed to a run",
            "remove the name from `env.pass`; a fixed, harmless value can be written under `env.set`",
            code="variable-forbidden",
            details={"names": never},
        )
    strange = [name for name in asked if name not in permitted]
    if strange:
        raise RefusedError(
            f"{_listed(strange)}: the recipe asks for it, the project does not allow it",
            f"if you trust the recipe, add `pass: [{', '.join(strange)}]` to worldflux.yaml",
            code="variable-not-allowed",
            details={"names": strange},
        )
    values = {name: source[name] for name in asked if source.get(name)}
    return values, [name for name, optional in asked.items() if not optional and name not in values]


def is_forbidden(name: str) -> bool:
    """Whether a variable of this name is never passed on to a run, whoever asks for it."""
    return _matches(name, _FORBIDDEN)


def visible_names(env: Mapping[str, str]) -> list[str]:
    """Names in a command's environment whose values may be written down, sorted.

    They come from a group or are fixed for every run, do not read like a secret, and hold no
    URL with a user in it (a proxy's password). What a recipe set or forwarded is not among them.
    """
    known = (*FIXED, "PATH", "TMPDIR", "VIRTUAL_ENV", "PYTHONHASHSEED")
    every = _patterns(tuple(GROUPS))
    return sorted(
        name
        for name, value in env.items()
        if (name in known or _matches(name, every))
        and not is_secret_name(name)
        and not _USERINFO.search(value)
    )


def remove_temporary(work: Path) -> None:
    """Take away what `command_environment` made for this run's TMPDIR. Silent when it is gone."""
    folder = Path(os.path.abspath(work)) / "tmp"
    try:
        os.rmdir(folder)
    except OSError:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    if _is_short(folder):
        return
    link = _short_link(folder)
    if link.is_symlink() and os.readlink(link) == str(folder):
        link.unlink(missing_ok=True)


def _check_extra(extra: Mapping[str, str]) -> None:
    odd = [name for name, value in extra.items() if not _NAME.match(name) or "\0" in value]
    if odd:
        raise UsageError(
            f"{_listed(odd)}: can not be set as a variable",
            "a name has letters, digits and _, a value has no NUL character; look at `env.set` of the recipe",
        )
    never = [name for name in extra if name != "PYTHONPATH" and is_forbidden(name)]
    if never:
        raise RefusedError(
            f"{_listed(never)}: never set for a run",
            "remove it from `env.set`; if the program needs it, let the recipe's own script set it",
            code="variable-forbidden",
            details={"names": never},
        )


def _patterns(groups: Sequence[str]) -> tuple[str, ...]:
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise UsageError(
            f"{_listed(unknown)}: no such group of variables",
            f"`env_groups` may hold {', '.join(GROUPS)}",
        )
    return tuple(pattern for group in groups for pattern in GROUPS[group])


def _belongs_to_the_run(name: str) -> bool:
    """Names that WorldFlux sets itself; a value from outside would undo what they promise."""
    return name.startswith(("WORLDFLUX_", "PYTHON")) or name in (*FIXED, "PATH", "TMPDIR")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    exact, starts = _sorted_out(patterns)
    return name in exact or name.startswith(starts)


@cache
def _sorted_out(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Exact names, and the starts of names that end in `*`."""
    starts = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return frozenset(pattern for pattern in patterns if not pattern.endswith("*")), starts


def _listed(names: Sequence[str]) -> str:
    return ", ".join(ascii(name)[1:-1] for name in names)


def _temporary(work: Path) -> Path:
    """A folder for temporary files with a path short enough for sockets."""
    folder = Path(os.path.abspath(work)) / "tmp"
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        pass
    if _is_short(folder):
        return folder
    link = _short_link(folder)
    _sweep_links(link.parent)
    try:
        os.symlink(folder, link)
    except FileExistsError:
        # Made by an earlier call for the same folder, or planted by somebody else.
        status = os.lstat(link)
        if status.st_uid != os.geteuid() or not link.is_symlink() or os.readlink(link) != str(folder):
            return folder
    except OSError:
        return folder
    return link


def _sweep_links(place: Path) -> None:
    """Remove short names that killed runs of this person left behind an hour ago or longer."""
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if not entry.name.startswith(_LINK) or not entry.is_symlink() or os.path.exists(entry.path):
                    continue
                status = entry.stat(follow_symlinks=False)
                if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _STALE_SECONDS:
                    os.unlink(entry.path)
    except OSError:
        return  # somebody else swept at the same time; what is left is found by the next one


def _is_short(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= _LONGEST_TMPDIR


def _short_link(folder: Path) -> Path:
    import hashlib

    return Path("/tmp") / f"{_LINK}{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
