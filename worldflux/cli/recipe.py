"""`worldflux recipe`: what can be run, and whether it is written right."""

from __future__ import annotations

import argparse

from worldflux.cli import render
from worldflux.cli.answer import Answer


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list", help="recipes", description="Recipes of the project and the built-in ones."
    )
    listing.set_defaults(function=list_recipes)
    checking = actions.add_parser(
        "check", help="check recipes", description="Check recipes without running them."
    )
    checking.add_argument(
        "names", nargs="*", metavar="NAME", help="only these; all of the project by default"
    )
    checking.set_defaults(function=check)


def list_recipes(args: argparse.Namespace) -> Answer:
    from worldflux.config.project import builtin_dir, load_project
    from worldflux.config.recipes import all_recipes, locate_recipe
    from worldflux.config.yaml_file import read_yaml

    project = load_project()
    rows = []
    for name in all_recipes(project):
        found = locate_recipe(project, name)
        assert found is not None
        content = read_yaml(found[0], name)[0]
        content = content if isinstance(content, dict) else {}
        builtin = found[1].resolve() == builtin_dir("recipes").resolve()
        rows.append(
            {
                "name": name,
                "task": str(content.get("task", "eval")),
                "description": str(content.get("description", "")),
                "builtin": builtin,
                "file": str(found[0]),
            }
        )
    shown = [
        [r["name"], r["task"], "built in" if r["builtin"] else "project", r["description"]] for r in rows
    ]
    return Answer({"recipes": rows}, render.table(shown, ["recipe", "task", "from", "description"]))


def check(args: argparse.Namespace) -> Answer:
    from worldflux.cli.correction import with_next_command
    from worldflux.config.compose import Composer
    from worldflux.config.project import load_project
    from worldflux.config.recipes import all_recipes
    from worldflux.errors import ConfigError, Fault

    project = load_project()
    composer = Composer(project)
    names = args.names or all_recipes(project)
    choices = [f"+recipe={name}" for name in names]
    faults: list[Fault] = []
    for name, choice in zip(names, choices, strict=True):
        try:
            composer.compose([choice], job=name if len(names) > 1 else "")
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        with with_next_command(
            choices, lambda right: " ".join(["worldflux recipe check", *map(_name, right)])
        ):
            raise ConfigError(faults, "nothing was run")
    return Answer({"checked": names}, "\n".join(f"{name}: ok" for name in names))


def _name(choice: str) -> str:
    return choice.removeprefix("+recipe=")
