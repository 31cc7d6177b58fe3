"""uv as WorldFlux uses it: no configuration from around, a built environment, one-line causes."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worldflux.errors import WorldFluxError
from worldflux.runtime.venvs.pip_settings import credentials, redacted, uses_no_index, uv_settings

#: Older ones read a ZIP file in another way than Python does, and let a wheel's entry points
#: write outside the environment.
MINIMUM = (0, 11, 28)

INSTALL = f"pip install 'uv>={'.'.join(map(str, MINIMUM))}'"
_PASSED = (
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "NETRC", "LD_LIBRARY_PATH", "XDG_DATA_HOME",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
    "NO_PROXY", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
    "UV_KEYRING_PROVIDER", "UV_INSECURE_HOST", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_HTTP_TIMEOUT",
    "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES", "UV_OFFLINE", "UV_CONCURRENT_DOWNLOADS",
    "UV_CONCURRENT_INSTALLS", "UV_CREDENTIALS_DIR", "UV_PYTHON_INSTALL_DIR",
)  # fmt: skip
_INDEX_LOGIN = re.compile(r"UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)\Z")


class UvFailure(Exception):
    """uv ended with an error; `text` is what it said, without credentials.

    Attributes:
        returncode: its exit code; minus the signal number when a signal ended it.
    """

    def __init__(self, returncode: int, text: str) -> None:
        super().__init__(text)
        self.returncode = returncode
        self.text = text


class Uv:
    """uv with everything that it may know about the outside decided here.

    Args:
        source: variables of this process; only the listed ones are passed on.
        cache: uv's cache folder, unless `source` names one by UV_CACHE_DIR.
        scratch: private folder of the caller. uv works in an empty folder in it, so that no
            `uv.toml`, `pyproject.toml` or `.python-version` of a project is near.
        on_line: called with each line uv says, without credentials.
    """

    def __init__(
        self,
        source: Mapping[str, str],
        *,
        cache: Path,
        scratch: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.program = find()
        self.environment = uv_environment(source, cache=cache, scratch=scratch)
        self._folder = scratch / "cwd"
        self._options = ["--no-index"] if uses_no_index(source) else []
        self._on_line = on_line
        self._secrets = credentials(self.environment)

    @property
    def has_several_indexes(self) -> bool:
        return any(self.environment.get(name) for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL"))

    def run(self, arguments: Sequence[str], *, packages: bool = False) -> str:
        """Run uv and return what it says, on stdout and stderr.

        Args:
            packages: the command looks for packages: add the options about indexes.

        Raises:
            UvFailure: uv ended with an error.
            WorldFluxError: it can not be started.
        """
        import subprocess

        command = [self.program, "--no-config", *arguments, *(self._options if packages else [])]
        self._folder.mkdir(parents=True, exist_ok=True)
        Path(self.environment["TMPDIR"]).mkdir(parents=True, exist_ok=True)
        try:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise WorldFluxError(f"uv can not be started: {error.strerror}", INSTALL, code="uv") from error
        said: list[str] = []
        with process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    clean = redacted(line.rstrip(), secrets=self._secrets)
                    said.append(clean)
                    if self._on_line is not None and clean:
                        self._on_line(clean)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise UvFailure(process.returncode, "\n".join(said))
        return "\n".join(said)


def installed_version() -> str:
    """Version of the uv that is used, such as `0.11.28`.

    It is read from the package's own name on disk; that costs no process. Only when that does
    not say is uv asked.

    Raises:
        WorldFluxError: it is not installed, does not run, or is older than `MINIMUM`.
    """
    find()
    text = _packaged_version() or _said_version()
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise WorldFluxError(f"uv does not say its version ({find()})", INSTALL, code="uv")
    if tuple(map(int, match.groups())) < MINIMUM:
        raise WorldFluxError(f"uv {match[0]} is too old", INSTALL, code="uv")
    return match[0]


def find() -> str:
    """Path of the uv program that came with the package `uv`.

    Raises:
        WorldFluxError: it is not installed.
    """
    try:
        import uv

        return os.fsdecode(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise WorldFluxError("uv is not installed", INSTALL, code="uv") from error


def uv_environment(source: Mapping[str, str], *, cache: Path, scratch: Path) -> dict[str, str]:
    """Every variable uv gets: where packages come from and how to reach them, nothing else."""
    result = {name: source[name] for name in _PASSED if source.get(name)}
    result.update((name, value) for name, value in source.items() if _INDEX_LOGIN.match(name))
    result.update(uv_settings(source, cwd=_current_folder()))
    own = source.get("UV_CACHE_DIR")
    result.update(
        PATH=_search_path(source),
        TMPDIR=str(scratch / "tmp"),
        UV_CACHE_DIR=os.path.abspath(os.path.expanduser(own)) if own else str(cache),
        UV_PYTHON_DOWNLOADS="never",
        UV_NO_PROGRESS="1",
        NO_COLOR="1",
        # The keyring program, if uv is told to use one, is a Python program of its own.
        PYTHONNOUSERSITE="1",
    )
    return result


def _current_folder() -> Path:
    """Where relative paths are meant from; the root when the current folder has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def _packaged_version() -> str:
    """Version of the package `uv` that this interpreter imports, if uv's program came with it."""
    import uv

    folder = Path(uv.__file__).parent.parent
    names = [path.name for path in folder.glob("uv-*.dist-info")]
    if len(names) != 1 or not Path(find()).is_relative_to(folder.parents[2]):
        return ""
    return names[0].removeprefix("uv-").removesuffix(".dist-info")


def _said_version() -> str:
    import subprocess

    program = find()
    try:
        done = subprocess.run(
            [program, "--version"],
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise WorldFluxError(f"uv does not run ({program})", INSTALL, code="uv") from error
    return os.fsdecode(done.stdout).removeprefix("uv").strip()


def _search_path(source: Mapping[str, str]) -> str:
    """This person's PATH without pyenv's shims (they fail for versions that are not chosen), and
    with the interpreters that pyenv keeps."""
    folders = [item.rstrip("/") for item in (source.get("PATH") or "").split(":") if item.startswith("/")]
    roots = [
        source.get("PYENV_ROOT"),
        *(item.removesuffix("/shims") for item in folders if item.endswith("/shims")),
    ]
    folders = [item for item in folders if not item.endswith("/shims")]
    for root in dict.fromkeys(item for item in roots if item):
        folders += sorted(glob.glob(f"{glob.escape(root)}/versions/*/bin"), reverse=True)
    return ":".join(dict.fromkeys([*folders, "/usr/local/bin", "/usr/bin", "/bin"]))
