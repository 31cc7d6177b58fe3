"""`worldflux`: the everyday commands.

Each command lives in a module of its own that is imported when it is chosen, so that no command
pays for another one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from worldflux import interrupts
from worldflux.cli import answer_interrupts
from worldflux.errors import Interrupted, UsageError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.cli.answer import Answer

#: Command -> (module with `register`, what it is for), in the order of the help page.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("worldflux.cli.init", "start a project in a folder"),
    "run": ("worldflux.cli.run", "run a recipe and record it"),
    "runs": ("worldflux.cli.runs", "list, show, compare and repeat recorded runs"),
    "status": ("worldflux.cli.status", "the project at a glance"),
    "doctor": ("worldflux.cli.doctor", "check this machine"),
    "runtime": ("worldflux.cli.runtime", "list and check the places where commands run"),
    "curated": ("worldflux.cli.curated", "what is known of models: memory, licenses, issues, support"),
    "auth": ("worldflux.cli.auth", "sign in to a server, and out"),
    "sync": ("worldflux.cli.sync", "bring runs to a server"),
    "import": ("worldflux.cli.imports", "bring a LeRobot policy or dataset into the catalog"),
    "evidence": (
        "worldflux.cli.evidence",
        "packages of runs that others can verify, and the keys that sign them",
    ),
    "recipe": ("worldflux.cli.recipe", "list and check recipes"),
    "server": ("worldflux.cli.server", "keep a server of your own"),
    "schema": ("worldflux.cli.schema", "print a JSON Schema"),
}


class Parser(argparse.ArgumentParser):
    """Reports wrong usage as our error, with the nearest right word."""

    _words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        known = tuple(self._option_string_actions)
        odd = [word for word in self._words if word.startswith("--") and not _begins(word, known)]
        if odd and "required" in message:  # what is missing may be what this should have been
            message = _unknown(odd, self)
        raise UsageError(_without_keys(_plain(message, self)), f"{self.prog} --help", code="usage")

    # Typed loosely, as argparse's own overloads can not be repeated: the namespace's type goes through.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, but each command refuses what it does not know in its own name.

        Words may stand on both sides of an option: argparse alone takes `run NAME --dry-run seed=3` for wrong.
        """
        self._words = sys.argv[1:] if args is None else args
        parsed, unknown = super().parse_known_args(args, namespace)
        many = next((each for each in self._actions if each.nargs == "*" and not each.option_strings), None)
        if many is not None and not any(word.startswith("-") for word in unknown):
            setattr(parsed, many.dest, [*(getattr(parsed, many.dest) or []), *unknown])
        elif unknown:
            self.error(_unknown(unknown, self))
        return parsed, []


def _plain(message: str, parser: argparse.ArgumentParser) -> str:
    if "invalid choice" not in message:
        return f"{parser.prog}: {message}"
    from worldflux.config.nearest import did_you_mean

    wrong = message.split("invalid choice: ")[1].split(" ")[0].strip("'\"")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            known = list(COMMANDS) if parser.prog == "worldflux" else list(action.choices or ())
            return f"{parser.prog}: there is no command `{wrong}`; {did_you_mean(wrong, known)}"
        if action.choices and wrong not in action.choices:
            known = [str(choice) for choice in action.choices]
            return f"{parser.prog}: `{wrong}` is not possible here; {did_you_mean(wrong, known)}"
    return f"{parser.prog}: {message}"


def _unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What is wrong with the words that nothing of this command takes: the first option, else the first word."""
    from worldflux.config.nearest import nearest

    wrong = next((word for word in words if word.startswith("-")), None)
    if wrong is None:
        return f"`{words[0]}` is one word too many"
    name = wrong.partition("=")[0]
    close = nearest(name.lstrip("-"), [option[2:] for option in _options(parser)], cutoff=0.6)
    return f"there is no option `{name}`" + (f"; did you mean `--{close}`?" if close else "")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """The long options that the help of a command tells of."""
    told = [each for each in parser._actions if each.help != argparse.SUPPRESS]
    return [word for each in told for word in each.option_strings if word.startswith("--")]


def _begins(word: str, options: Sequence[str]) -> bool:
    """Whether an option begins like a word, as argparse has them shortened; `--` alone is all of them."""
    return any(option.startswith(word.partition("=")[0]) for option in options)


def _without_keys(text: str) -> str:
    """A message that repeats what was typed, without a key that was typed in the wrong place."""
    import re

    from worldflux.manifest.masking import mask_text

    return mask_text(re.sub(r"\bwf[xs]_\w+", "***", text))


def build_parser(only: str | None = None) -> Parser:
    """The whole command line, or only the part of one command.

    Args:
        only: a key of `COMMANDS`; the other commands are then known by name and not imported.
    """
    parser = Parser(
        prog="worldflux",
        description="Run one recipe on any machine you trust and keep one manifest anyone can verify.",
        epilog="Sweeps and every Hydra flag: worldflux-run --help",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    _add_json(parser, False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, (module, purpose) in COMMANDS.items():
        sub = commands.add_parser(name, help=purpose, description=purpose[:1].upper() + purpose[1:] + ".")
        if only is None or name == only:
            importlib.import_module(module).register(sub)
        for each in _leaves(sub):
            _add_json(each, argparse.SUPPRESS)
    return parser


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and all parsers below it."""
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found += _leaves(child)
    return found


def _add_json(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--json", action="store_true", default=default, help="print one JSON document, for programs"
    )


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    words = list(sys.argv[1:] if argv is None else argv)
    code = _guarded(words)
    interrupts.end()
    sys.exit(code)


def _guarded(words: list[str]) -> int:
    from worldflux.cli import render

    as_json = "--json" in words
    command = next((word for word in words if not word.startswith("-")), "")
    try:
        answer_interrupts()
        if "--version" in words and command == "":
            return _version(as_json)
        args = build_parser(command if command in COMMANDS else "").parse_args(_joined(words))
        if args.command is None:
            build_parser("").print_help()
            return 0 if not words else 2
        function: Callable[[argparse.Namespace], Answer] = args.function
        command = _full_name(args)
        return render.show(function(args), command, as_json)
    except WorldFluxError as error:
        if os.environ.get("WORLDFLUX_DEBUG"):
            raise
        return render.show_error(error, _without_keys(command), as_json)
    except KeyboardInterrupt:
        interrupts.end()
        return render.show_error(Interrupted("stopped"), command, as_json)
    except BrokenPipeError:
        # The reader is gone, such as `| head`; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("WORLDFLUX_DEBUG"):
            raise
        return render.show_error(unexpected(error), command, as_json)


def _joined(words: Sequence[str]) -> list[str]:
    """The words, with `--sort -created_at` as one: argparse takes a value that begins with - for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--sort" and word.startswith("-"):
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def unexpected(error: Exception) -> WorldFluxError:
    """An error nobody explained, as one that says how to see more."""
    if _wraps_interrupt(error):
        return Interrupted("stopped")
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return WorldFluxError(
            f"{where}{error.strerror}", "WORLDFLUX_DEBUG=1 shows where it came from", code="system"
        )
    return WorldFluxError(
        f"unexpected {type(error).__name__}: {str(error)[:300]}",
        "this is a fault of WorldFlux; WORLDFLUX_DEBUG=1 shows the details",
        code="internal",
    )


def _wraps_interrupt(error: BaseException) -> bool:
    """Whether somebody made an error of a Ctrl-C: pydantic, while it builds a model; Python, while a class is made."""
    if type(error).__module__.startswith("pydantic") and "KeyboardInterrupt" in str(error):
        return True
    cause = error.__cause__
    return isinstance(cause, KeyboardInterrupt) or (cause is not None and _wraps_interrupt(cause))


def _full_name(args: argparse.Namespace) -> str:
    words = (args.command, getattr(args, "action", None), getattr(args, "verb", None))
    return " ".join(word for word in words if word)


def _version(as_json: bool) -> int:
    from worldflux import __version__
    from worldflux.cli import render
    from worldflux.cli.answer import Answer

    return render.show(Answer({"version": __version__}, f"worldflux {__version__}"), "version", as_json)


if __name__ == "__main__":
    main()
