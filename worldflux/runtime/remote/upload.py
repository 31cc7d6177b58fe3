"""Which files of a recipe leave this machine.

Everything is looked at, links are never followed, and names that usually hold secrets, private
state or rebuildable caches stay here unless a pattern brings them back. What travels is copied
to a staging folder first, so that an edit during the upload can not tear it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldflux.errors import RefusedError
from worldflux.runtime.remote.agent import matches

#: Names, at any depth, that stay here.
KEPT_BACK: tuple[str, ...] = (
    ".git", ".hg", ".svn", ".ssh", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".gnupg",
    ".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".npmrc", ".pypirc", ".git-credentials",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.asc", "*.gpg", "*.pgp",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "authorized_keys", "known_hosts",
    "credentials", "credentials.*", "client_secret*", "service_account*", "secrets.*", "*.secret",
    ".modal.toml", "terraform.tfstate*", "*.sqlite", "*.db", "*_history", "*.kubeconfig",
    ".venv*", "venv", "node_modules", "__pycache__", "*.pyc", "*.egg-info", ".tox", ".nox",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints", ".idea", ".vscode",
    ".worldflux", "runs", "outputs", "multirun", "wandb", "mlruns", ".DS_Store", "*.swp",
)  # fmt: skip


@dataclass(frozen=True)
class Upload:
    """Files that travel and files that stay.

    Attributes:
        files: path relative to the source, and size in bytes; sorted.
        kept_back: path of a file or whole folder, and the rule that keeps it here.
    """

    files: tuple[tuple[str, int], ...]
    kept_back: tuple[tuple[str, str], ...]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files)


def select(source_dir: Path, *, ignore: Sequence[str] = (), include: Sequence[str] = ()) -> Upload:
    """Decide for every file below a folder.

    Args:
        ignore: further names or paths that stay; `*` stays within a folder, `**` crosses them.
        include: names or paths that travel although a rule would keep them.
    """
    files: list[tuple[str, int]] = []
    kept: list[tuple[str, str]] = []
    rules = (*KEPT_BACK, *ignore)
    for root, folders, names in os.walk(source_dir):
        here = Path(root).relative_to(source_dir)
        for name in sorted(folders):
            path = (here / name).as_posix()
            rule = _rule(path, rules, include) if not Path(root, name).is_symlink() else "links stay here"
            inner = any(_leads_into(path, pattern) for pattern in include)
            if rule and not inner:
                kept.append((f"{path}/", rule))
                folders.remove(name)
        folders.sort()
        for name in sorted(names):
            path, full = (here / name).as_posix(), Path(root, name)
            rule = "links stay here" if full.is_symlink() else _rule(path, rules, include)
            if not rule and not full.is_file():
                rule = "not a regular file"
            if rule:
                kept.append((path, rule))
            else:
                files.append((path, full.stat().st_size))
    return Upload(tuple(sorted(files)), tuple(sorted(kept)))


def stage(source_dir: Path, upload: Upload, target: Path, *, cap: int) -> None:
    """Copy the files that travel to a new folder.

    Raises:
        RefusedError: together they are larger than `cap` bytes.
    """
    if upload.bytes > cap:
        largest = sorted(upload.files, key=lambda each: -each[1])[:3]
        names = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in largest)
        raise RefusedError(
            f"the recipe's source has {upload.bytes / 1e6:.1f} MB to upload; the limit is {cap / 1e6:.1f} MB",
            f"largest: {names}; leave files out with runtime.ignore=[...] or raise runtime.upload_cap_mb",
            code="upload",
        )
    target.mkdir(parents=True)
    for name, _ in upload.files:
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source_dir / name, copy, follow_symlinks=False)
        os.chmod(copy, 0o755 if os.access(source_dir / name, os.X_OK) else 0o644)


def describe(upload: Upload, shown: int = 20) -> list[str]:
    """Lines for a dry run: what travels and what stays, the first few of each by name."""
    lines = [f"          {len(upload.files)} files, {upload.bytes:,} bytes travel"]
    lines += [f"            {name}  {size:,}" for name, size in upload.files[:shown]]
    lines += [f"            ... and {len(upload.files) - shown} more"] if len(upload.files) > shown else []
    lines.append(f"          {len(upload.kept_back)} files or folders stay here")
    lines += [f"            {path}  ({rule})" for path, rule in upload.kept_back[:shown]]
    more = len(upload.kept_back) - shown
    return lines + ([f"            ... and {more} more"] if more > 0 else [])


def _rule(path: str, rules: Sequence[str], include: Sequence[str]) -> str:
    """The rule that keeps a path here, or an empty text."""
    if any(_fits(path, pattern) or _below(path, pattern) for pattern in include):
        return ""
    return next((rule for rule in rules if _fits(path, rule)), "")


def _fits(path: str, pattern: str) -> bool:
    """A pattern without a slash means the name at any depth; case does not matter."""
    name, pattern = path.lower(), pattern.rstrip("/").lower()
    return matches(name, pattern if "/" in pattern else f"**/{pattern}")


def _below(path: str, pattern: str) -> bool:
    parents = Path(path).parents
    return any(_fits(parent.as_posix(), pattern) for parent in parents if parent.as_posix() != ".")


def _leads_into(folder: str, pattern: str) -> bool:
    """Whether a pattern with a slash names something below this folder."""
    return "/" in pattern and pattern.lower().startswith(folder.lower() + "/")
