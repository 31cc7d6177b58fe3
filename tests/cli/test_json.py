"""--json: one document on standard output, in the published form, for every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import warm_python
from conftest_cli import BIN, Run
from published import form

from worldflux.cli import schema
from worldflux.cli.main import COMMANDS

CALLS = [
    ["--version"],
    ["init", "new"],
    ["run", "mine"],
    ["run", "mine", "--dry-run"],
    ["runs", "list"],
    ["runs", "show"],
    ["runs", "show", "--log"],
    ["runs", "compare"],
    ["runs", "rerun", "last"],
    ["runs", "gc", "--dry-run"],
    ["runs", "reap", "--dry-run"],
    ["status"],
    ["doctor"],
    ["sync", "--dry-run"],
    ["auth", "logout"],
    ["auth", "logout", "--all"],
    ["runtime", "list"],
    ["runtime", "doctor"],
    ["recipe", "list"],
    ["recipe", "check"],
    ["curated", "list"],
    ["curated", "list", "--environments"],
    ["curated", "list", "--datasets"],
    ["curated", "inspect", "openpi/pi05"],
    ["curated", "inspect", "crafter"],
    ["import", "policy"],
    ["server", "migrate", "--dry-run"],
    ["server", "migrate"],
    ["server", "gc", "--dry-run"],
    ["schema", "recipe"],
    ["schema", "cli"],
    ["evidence", "key", "list"],
    ["evidence", "build", "--force"],
    ["evidence", "build", "--zip", "--unsigned", "--force"],
    ["evidence", "verify"],
]


@pytest.fixture(scope="module")
def with_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which one recipe was run, to be copied."""
    root = tmp_path_factory.mktemp("made") / "a project é"
    for folder in ("recipes/mine", "policy"):
        (root / folder).mkdir(parents=True)
    (root / "worldflux.yaml").write_text("project: demo\n")
    (root / "recipes/mine/recipe.yaml").write_text("command: [python, main.py]\n")
    (root / "recipes/mine/main.py").write_text("import worldflux; worldflux.log({'a': 1})")
    (root / "policy/config.json").write_text('{"type": "act"}')
    ended = warm_python.run([BIN / "worldflux", "run", "mine"], cwd=root, capture_output=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return root


@pytest.mark.parametrize("words", CALLS, ids=[" ".join(words) for words in CALLS])
def test_output_fits_its_schema(words: list[str], wf: Run, with_a_run: Path, project: Path) -> None:
    """Before and behind the command, --json gives the same envelope, and its data has its own schema."""
    shutil.copytree(with_a_run, project, dirs_exist_ok=True)
    document = schema.load("cli")
    names = {rule["if"]["properties"]["command"]["const"] for rule in document["allOf"][1:]}
    for call in ([*words, "--json"], ["--json", *words]):
        ended = wf(*call)
        assert ended.code == 0, ended.err
        form("cli").validate(ended.envelope)
        assert ended.envelope["command"] in names and ended.envelope["ok"] is True


def test_every_command_is_tried() -> None:
    """A new command must appear in the list above, and in the schema."""
    tried = {words[0] for words in CALLS}
    assert set(COMMANDS) <= tried


def test_the_schema_can_fail() -> None:
    """Data of the wrong form, and an error without a code, are not accepted."""
    document = schema.load("cli")
    good = {"schema": document["$id"], "command": "runtime list", "ok": True, "warnings": [], "error": None}
    form("cli").validate({**good, "data": {"runtimes": ["local"]}})
    for bad in (
        {**good, "data": {"runtimes": [1]}},
        {**good, "data": {"names": []}},
        {**good, "ok": False, "data": {}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            form("cli").validate(bad)


def test_the_recipe_schema_takes_the_built_in_recipes() -> None:
    """Each recipe that comes with WorldFlux fits the published schema, and a misspelt one does not."""
    import yaml

    from worldflux.config.project import builtin_dir

    document = schema.load("recipe")
    files = sorted(builtin_dir("recipes").glob("*/recipe.yaml"))
    assert files
    for file in files:
        content = json.loads(json.dumps(yaml.safe_load(file.read_text())))
        keys = set(document["properties"])
        assert set(content) <= keys
    with pytest.raises(jsonschema.ValidationError):
        form("recipe").validate({"comand": []})
