"""Which process runs a test, and when: on several processes, tests of one group stay together, long ones come first.

A group is what `xdist_group` says, or the tests of a module that share a fixture made for that module. This
stands in for `--dist loadgroup`, which with some pairs of pytest and xdist does not see any group.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


class Grouped(LoadScopeScheduling):
    """Gives whole groups to the processes, in the order in which these have found them."""

    def __init__(self, config: pytest.Config, groups: Path, log: Any = None) -> None:
        super().__init__(config, log)
        self._path, self._groups = groups, dict[str, str]()

    def _split_scope(self, nodeid: str) -> str:
        if not self._groups:
            self._groups = json.loads(self._path.read_text(encoding="utf-8"))
        return self._groups[nodeid]


def _place(config: pytest.Config) -> Path:
    """The file in which the processes tell the groups, one and the same for a whole run."""
    if not hasattr(config, "_worldflux_groups"):
        folder = tempfile.TemporaryDirectory(prefix="wf-groups-")
        config.add_cleanup(folder.cleanup)
        config._worldflux_groups = Path(folder.name) / "groups.json"  # type: ignore[attr-defined]
    found: Path = config._worldflux_groups  # type: ignore[attr-defined]
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell a process where it is asked for the groups."""
    node.workerinput["groups"] = str(_place(node.config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Ours, where groups are asked for."""
    if config.getvalue("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return Grouped(config, _place(config), log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only serial tests are asked for, read only the files that have some."""
    if config.getoption("markexpr") != "serial" or not collection_path.match("test_*.py"):
        return None
    return "mark.serial" not in collection_path.read_text(encoding="utf-8") or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put groups with a long test first, and tell the one process that schedules."""
    told = getattr(config, "workerinput", {}).get("groups")
    if told is None:
        return
    groups = {item.nodeid: _group(item) for item in items}
    long = {groups[item.nodeid] for item in items if item.get_closest_marker("slow")}
    order = dict.fromkeys(sorted(groups.values(), key=lambda group: group not in long))
    turn = {group: number for number, group in enumerate(order)}
    items.sort(key=lambda item: turn[groups[item.nodeid]])
    mine = Path(f"{told}.{os.getpid()}")
    mine.write_text(json.dumps(groups), encoding="utf-8")
    mine.replace(told)


def _group(item: pytest.Item) -> str:
    if chosen := item.get_closest_marker("xdist_group"):
        return str(chosen.args[0])
    found = getattr(item, "_fixtureinfo", None)
    definitions = found.name2fixturedefs.values() if found else ()
    if not any(each[-1].scope in ("module", "class") for each in definitions):
        return item.nodeid
    params = getattr(getattr(item, "callspec", None), "params", {})
    database = item.name.rpartition("[")[2].split("-")[0].rstrip("]") if "database_url" in params else ""
    return f"{item.nodeid.partition('::')[0]} {database}".strip()
