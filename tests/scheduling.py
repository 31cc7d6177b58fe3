"""Which process runs a test, and when: on several processes, tests of one group stay together.

A group is what `xdist_group` says, the tests of a module that share a fixture made for that module, a test that is
long, or some others of a module: what they import and start is then imported and started by few processes. Long tests
mostly wait, and so do those of runtimes. Half of the processes begin with these, the other half with all others, which
keep the cores at work.

This stands in for `--dist loadgroup`, which with some pairs of pytest and xdist does not see any group.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


#: So many tests of a module that share nothing are one group.
TOGETHER = 20

#: Where tests are that wait for what is far away, or stands in for it.
WAITING = "tests/runtime/"


class Grouped(LoadScopeScheduling):
    """Gives whole groups to the processes, in the order in which these have found them."""

    def __init__(self, config: pytest.Config, told: Path, log: Any = None) -> None:
        super().__init__(config, log)
        self._path, self._groups, self._waiting = told, dict[str, str](), set[str]()

    def _split_scope(self, nodeid: str) -> str:
        if not self._groups:
            told = json.loads(self._path.read_text(encoding="utf-8"))
            self._groups, self._waiting = told["groups"], set(told["waiting"])
        return self._groups[nodeid]

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Take the next group, for every other process the next that does not wait."""
        if self.nodes.index(node) % 2:
            busy = next((group for group in self.workqueue if group not in self._waiting), None)
            if busy is not None:
                self.workqueue.move_to_end(busy, last=False)
        super()._assign_work_unit(node)

    def _pending_of(self, workload: dict[str, dict[str, bool]]) -> int:
        """How many tests of a process are left. Groups that are done are forgotten: this is asked for each test."""
        for group in [group for group, tests in workload.items() if all(tests.values())]:
            del workload[group]
        return sum(list(tests.values()).count(False) for tests in workload.values())


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
    """Put groups with a long test first, then those that wait, and tell them to the one process that schedules."""
    told = getattr(config, "workerinput", {}).get("groups")
    if told is None:
        return
    long = [item for item in items if item.get_closest_marker("slow")]
    groups = _groups(items, {item.nodeid for item in long})
    waiting = dict.fromkeys(groups[item.nodeid] for item in long)
    waiting.update(dict.fromkeys(group for group in groups.values() if group.startswith(WAITING)))
    order = dict.fromkeys([*waiting, *groups.values()])
    turn = {group: number for number, group in enumerate(order)}
    items.sort(key=lambda item: turn[groups[item.nodeid]])
    mine = Path(f"{told}.{os.getpid()}")
    mine.write_text(json.dumps({"groups": groups, "waiting": list(waiting)}), encoding="utf-8")
    mine.replace(told)


def _groups(items: list[pytest.Item], long: set[str]) -> dict[str, str]:
    """The group of each test."""
    found: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        database = item.name.rpartition("[")[2].split("-")[0].rstrip("]") if "database_url" in params else ""
        module = f"{item.nodeid.partition('::')[0]} {database}".strip()
        if chosen := item.get_closest_marker("xdist_group"):
            found[item.nodeid] = str(chosen.args[0])
        elif _shares(item):
            found[item.nodeid] = module
        elif item.nodeid in long:
            found[item.nodeid] = item.nodeid
        else:
            found[item.nodeid] = f"{module} {seen[module] // TOGETHER + 1}"
            seen[module] += 1
    return found


def _shares(item: pytest.Item) -> bool:
    """Whether a test uses what is made once for the tests of its module or class."""
    info = getattr(item, "_fixtureinfo", None)
    definitions = info.name2fixturedefs.values() if info else ()
    return any(each[-1].scope in ("module", "class") for each in definitions)
