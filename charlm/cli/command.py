"""The class of all commands, and the types, arguments and options that several commands share.

A command's help ends with examples. Every error is one line on standard error and an exit code:

    0        done, or standard output was closed
    1        an error
    2        wrong usage
    128 + n  ended by signal n

Shell completion calls the functions that suggest recipes and runs at every key press, so they must
be fast.
"""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from charlm.cli.output import (
    OutputClosedError,
    be_quiet,
    print_aside,
    print_json,
    say_error,
    write_result,
    writing_output,
)
from charlm.errors import CharlmError, as_line

INSTALLED_WITH = {"absl": "tensorboard", "tensorboard": "tensorflow tensorboard"}
"""Packages to install if a package is missing that the user does not know."""


class Command(click.Command):
    """A command of `charlm`, or the group of all commands.

    The part of its docstring after "Examples:" is printed at the end of the help as it is.
    """

    def __init__(
        self, name: str | None = None, *, help: str | None = None, **settings: Any
    ) -> None:
        about, _, examples = inspect.cleandoc(help or "").partition("Examples:\n")
        super().__init__(name, help=about.rstrip(), **settings)
        self.examples = [line for line in examples.splitlines() if line.strip()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or print the help or the version and exit."""
        with _exit_codes(), writing_output():
            try:
                return super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                if all(param.name != "overrides" for param in self.params):
                    raise
                settings = "Settings are changed with -s KEY=VALUE, see: charlm config show default"
                raise click.UsageError(f"{error.format_message()} {settings}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with --json, print an error as JSON too."""
        try:
            with _explaining():
                return super().invoke(ctx)
        except CharlmError as error:
            if ctx.params.get("as_json"):
                with contextlib.suppress(CharlmError, OutputClosedError):
                    print_json({"error": str(error)})
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples"):
            formatter.write("".join(f"{line}\n" for line in self.examples))


class Commands(Command, click.Group):
    """A group of commands.

    Args:
        sections: Names of the commands by the title of their section in the help.

    """

    command_class = Command

    def __init__(
        self, *arguments: Any, sections: Mapping[str, Sequence[str]], **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of the help."""
        return [*chain.from_iterable(self.sections.values())]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command, by section."""
        width = max(map(len, self.list_commands(ctx)))
        for title, names in self.sections.items():
            rows = []
            for name in names:
                about = self.commands[name].get_short_help_str(limit=200)
                rows.append((name.ljust(width), about))
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the named command, and flush standard output."""
        with _exit_codes():
            result = super().invoke(ctx)
            write_result("")
            return result


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn every error in the block into a line and an exit code.

    click handles usage errors itself, but they quote arguments, which may be long or contain
    control characters.
    """
    try:
        yield
    except click.ClickException as error:
        error.message = "\n".join(map(as_line, error.message.split("\n")))  # type: ignore[misc]
        raise
    except OutputClosedError:
        sys.exit(0)
    except CharlmError as error:
        message, *problems = error.lines
        say_error(message)
        for problem in problems:
            print_aside(f"  {problem}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stopped:
        sys.exit(getattr(stopped, "exit_code", 130))


@contextlib.contextmanager
def _explaining() -> Iterator[None]:
    """Turn an OSError, or the error of a missing package, into a CharlmError."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        raise CharlmError(f"{place}{error.strerror or type(error).__name__}") from None
    except ModuleNotFoundError as error:
        package = (error.name or "charlm").partition(".")[0]
        if package == "charlm":
            raise
        advice = f"pip install {INSTALLED_WITH.get(package, package)}"
        raise CharlmError(f"{package}: this package is not installed: {advice}") from None


Suggestions = list[CompletionItem[str]]


def _suggest(names: Iterable[str], incomplete: str) -> Suggestions:
    """Return the files and the names that begin with the typed characters."""
    matches = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [CompletionItem("", type="file"), *matches]


def suggest_recipes(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Suggest the recipes that come with charlm, and file names, for shell completion."""
    from charlm.config.recipes import recipe_names

    return _suggest(recipe_names(), incomplete)


def suggest_runs(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Suggest the runs under runs/, and file names, for shell completion."""
    from charlm.runs.folder import run_names

    return _suggest(run_names(), incomplete)


class NonEmptyPath(click.Path):
    """A path that is not empty.

    An empty argument is usually an unset shell variable. Python would read it as the current
    folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a Path, or fail with a usage error."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = NonEmptyPath(path_type=Path)
COUNT = click.IntRange(min=1)
NATURAL = click.IntRange(min=0)
POSITIVE = click.FloatRange(min=0, min_open=True)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


host_option = click.option(
    "--host",
    default="127.0.0.1",
    help="Address to listen on; 0.0.0.0 = reachable from other machines.",
)


port_option = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=8000,
    help="Port to listen on; 0 = any free port.",
)


def recipe_option(default: str) -> Decorator:
    """Return the option --config; `default` is the help text for the recipe used without it."""
    return click.option(
        "-c",
        "--config",
        "recipe",
        type=NonEmptyPath(),
        shell_complete=suggest_recipes,
        metavar="NAME|FILE",
        help=f"Recipe: the name of one that comes with charlm, or a YAML file.  "
        f"[default: {default}]",
    )


set_option = click.option(
    "-s",
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting by its dotted key, for example model.units=256; can be repeated.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON value and nothing else."
)
quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=be_quiet,
    help="Print only the result and errors.",
)

model_argument = click.argument(
    "model",
    required=False,
    type=PATH,
    shell_complete=suggest_runs,
    help="A run, a model file, or a part of a run's name, for the newest such run under runs/; or "
    "river-plays, the model that comes with charlm.  [default: the newest run]",
)
models_argument = click.argument(
    "runs",
    nargs=-1,
    type=PATH,
    shell_complete=suggest_runs,
    help="Runs, model files, or parts of names of runs under runs/.  [default: the newest run]",
)
text_argument = click.argument(
    "text",
    nargs=-1,
    type=PATH,
    callback=lambda _context, _param, paths: paths or None,
    help="Text: files, folders, .gz files, or - for standard input; or a folder made by charlm "
    "tokenize.  [default: the plays that come with charlm]",
)

_TRAINING_OPTIONS = (
    text_argument,
    recipe_option(
        "the recipe with the lowest expected loss for the text, within --minutes if given"
    ),
    set_option,
    click.option(
        "--epochs",
        type=COUNT,
        metavar="N",
        help="Passes over the training text.  [default: as in the recipe]",
    ),
    click.option(
        "--minutes",
        type=POSITIVE,
        metavar="X",
        help="Time limit for the whole command; training takes as many steps as fit.  "
        "[default: no limit]",
    ),
    click.option(
        "--init",
        type=PATH,
        metavar="MODEL",
        shell_complete=suggest_runs,
        help="Start from the weights of another run or model file; characters in its "
        "vocabulary keep their weights. none = random weights.  [default: the model english, "
        "which comes with charlm, if it suits the text and -c is not used]",
    ),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that `train` and `plan` share."""
    for option in reversed(_TRAINING_OPTIONS):
        command = option(command)
    return command
