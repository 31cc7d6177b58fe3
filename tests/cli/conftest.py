"""Fixtures of the command line's tests."""

from conftest_cli import project, recipe, wf

__all__ = ["project", "recipe", "wf"]
