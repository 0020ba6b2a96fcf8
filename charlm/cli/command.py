"""What commands are made of: their class, and the types, arguments and options that several of them share.

A command has help with examples, and every error is one line and an exit code:

    0        done, or the reader of standard output has gone
    1        an error, told in a line on standard error
    2        wrong usage
    128 + n  ended by signal n

A shell completes recipes and runs from names of files: it must be fast.
"""

import contextlib
import inspect
import shlex
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
    say_error,
    write_result,
    writing_output,
)
from charlm.errors import Advice, CharlmError, as_line
from charlm.wording import as_argument, nearest

USUAL_COMMANDS = {
    **dict.fromkeys(["generate", "gen", "predict", "write", "complete", "chat"], "sample"),
    **dict.fromkeys(["eval", "test", "score", "validate", "perplexity"], "evaluate"),
    **dict.fromkeys(["ls", "list", "compare", "status", "history"], "runs"),
    **dict.fromkeys(["new", "fit", "learn", "run"], "train"),
    **dict.fromkeys(["resume", "continue"], "train --resume"),
    **dict.fromkeys(["estimate", "dry-run"], "plan"),
    **dict.fromkeys(["prepare", "preprocess"], "tokenize"),
    **dict.fromkeys(["search", "sweep", "optimize"], "tune"),
    **dict.fromkeys(["report", "analyze"], "inspect"),
    "server": "serve",
    "convert": "export",
    "tb": "tensorboard",
    "recipes": "config list",
    "show": "config show",
    "version": "--version",
    "help": "--help",
}
"""The command by the names that it has in other programs."""
USUAL_OPTIONS = {
    "recipe": "--config",
    "name": "--run",
    "out": "--run",
    "output": "--run",
    "outputdir": "--run",
}
"""The option by the names that it has in other programs."""
SPELLINGS = {
    **dict.fromkeys(["train", "plan", "tokenize", "show"], "use -s {key}={value}"),
    "tune": "in the search space, use fixed: {{{key}: {value}}}",
}
"""The advice on a setting, by command."""


class Command(click.Command):
    """A command of `charlm`, or their group.

    What its docstring says after "Examples:", command lines and below each what it does, ends the help, unbroken.
    """

    def __init__(
        self, name: str | None = None, *, help: str | None = None, **settings: Any
    ) -> None:
        about, _, examples = inspect.cleandoc(help or "").partition("Examples:\n")
        super().__init__(name, help=about.rstrip(), **settings)
        self.examples = [line for line in examples.splitlines() if line.strip()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or print the help or the version and exit."""
        arguments = [*args]  # the parser takes its arguments away
        with _exit_codes(), writing_output():
            try:
                return super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                hint = _describe_option(error.option_name, arguments, ctx.command)
                if hint is None:
                    similar = _similar(error.option_name, error.possibilities or ())
                    raise click.NoSuchOption(
                        error.option_name, possibilities=similar, ctx=ctx
                    ) from None
                raise click.UsageError(
                    f"{error.option_name}: no such option; {hint}", ctx
                ) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples"):
            formatter.write("".join(f"{line}\n" for line in self.examples))


class Commands(Command, click.Group):
    """A group of commands.

    Args:
        sections: The names of the commands by the title under which help lists them.

    """

    def __init__(
        self, *arguments: Any, sections: Mapping[str, Sequence[str]], **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of help."""
        return [*chain.from_iterable(self.sections.values())]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, under the title that it belongs to."""
        width = max(map(len, self.list_commands(ctx)))
        for title, names in self.sections.items():
            rows = [
                (f"{name:{width}}", self.commands[name].get_short_help_str(limit=200))
                for name in names
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named; an unknown name is answered with the command that was probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            group = f"charlm {ctx.info_name}" if ctx.parent else "charlm"
            meant = _meant_command(
                error.command_name, self.commands, {} if ctx.parent else USUAL_COMMANDS
            )
            hint = f"; did you mean {group} {meant}?" if meant else ""
            raise click.UsageError(f"{error.command_name}: no such command{hint}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named, and write what is left of its results."""
        with _exit_codes():
            result = super().invoke(ctx)
            write_result("")
            return result


def _meant_command(name: str, commands: Iterable[str], usual: Mapping[str, str]) -> str | None:
    """Return the command that an unknown name probably means; None if no name is similar.

    Args:
        name: The unknown name.
        commands: The names of the commands.
        usual: The commands by the names that they have in other programs.

    """
    if name in usual:
        return usual[name]
    near = nearest(name, commands, similarity=0.7)
    return near or usual.get(nearest(name, usual, similarity=0.85) or "")


def _similar(option: str, options: Iterable[str]) -> list[str]:
    """Return the options that are spelt like a given one even without their dashes, which all options share."""
    return [name for name in options if nearest(_plain(option), [_plain(name)])]


def _describe_option(option: str, arguments: Sequence[str], command: click.Command) -> str | None:
    """Return the advice on an unknown option: another option, or a setting of the command.

    Args:
        option: The option, with its dashes.
        arguments: The arguments of the command, among them the option and its value.
        command: The command.

    Returns:
        The end of a message; None if no option or setting has such a name.

    """
    from charlm.config.schema import DECIDED_BY_THE_SEARCH

    if command.name not in SPELLINGS:
        return None
    word, given = _plain(option), _value_of(option, arguments)
    if USUAL_OPTIONS.get(word) in _option_names(command):
        return f"use {USUAL_OPTIONS[word]} {shlex.quote(given or 'VALUE')}"
    is_off = word.startswith("no")  # as in --no-shuffle: the name of no setting begins so
    key = _meant_setting(word.removeprefix("no"), command)
    if key is None:
        return None
    if command.name == "tune" and key in DECIDED_BY_THE_SEARCH:
        return f"{key} cannot be set for a search: {DECIDED_BY_THE_SEARCH[key]}"
    values = ("false", "null") if is_off else (given, "true")
    return SPELLINGS[command.name].format(key=key, value=shlex.quote(_first_valid(key, values)))


def _option_names(command: click.Command) -> set[str]:
    """Return the names of the options of a command, with their dashes."""
    return {name for param in command.params for name in param.opts}


def _meant_setting(word: str, command: click.Command) -> str | None:
    """Return the dotted key of the setting of a command that a word names; None if there is none, or an option."""
    from charlm.config.file import key_for_value, named_settings

    section = "corpus." if command.name == "tokenize" else ""
    names = {_plain(name): key for name, key in named_settings().items() if key.startswith(section)}
    near = nearest(word, names.keys() - USUAL_OPTIONS.keys(), similarity=0.85)
    if near is None or near in map(_plain, _option_names(command)):
        return None
    return key_for_value(names[near])


def _first_valid(key: str, values: Iterable[str | None]) -> str:
    """Return the first of some values, as YAML, that a setting may have; VALUE if it may have none of them."""
    from charlm.config.file import is_valid

    return next(
        (value for value in values if value is not None and is_valid(f"{key}={value}")), "VALUE"
    )


def _plain(name: str) -> str:
    """Return the name of an option or a setting without dashes and underscores."""
    return name.lower().replace("-", "").replace("_", "")


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Return the word that follows an option, which may be its value; None if there is none."""
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        name, equals, value = argument.partition("=")
        if name == option and equals:
            return value
        if name == option and not following.startswith("-"):
            return following
    return None


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn the errors of a block into a line and an exit code.

    Click does so with usage errors. They quote arguments, which may be long or have characters that control a terminal.
    """
    try:
        yield
    except click.ClickException as error:
        error.message = "\n".join(map(as_line, error.message.split("\n")))  # type: ignore[misc]
        raise
    except OutputClosedError:
        sys.exit(0)
    except CharlmError as error:
        hint = "" if error.advice is None else f"; {_describe(error.advice)}"
        message, *problems = error.lines
        say_error(f"{message}{hint}")
        for problem in problems:
            print_aside(f"  {problem}")
        sys.exit(error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        say_error(f"{place}{error.strerror or type(error).__name__}")
        sys.exit(1)
    except ModuleNotFoundError as error:
        from charlm.hardware import install_command

        package = (error.name or "charlm").partition(".")[0]
        if package == "charlm":
            raise
        say_error(f"{package}: this package is not installed: {install_command(package)}")
        sys.exit(1)
    except KeyboardInterrupt as stopped:
        sys.exit(getattr(stopped, "exit_code", 130))


def missing_package(command: str, error: ModuleNotFoundError) -> CharlmError:
    """Return the error for a command that needs an optional package, which is not installed."""
    from charlm.hardware import install_command

    package = str(error.name).partition(".")[0]
    return CharlmError(
        f"charlm {command} needs {package}, which is not installed: {install_command(package)}"
    )


def _describe(advice: Advice) -> str:
    """Return the command that helps after an error."""
    path = "" if advice.path is None else as_argument(advice.path)
    commands = {
        "train": "train one with: charlm train",
        "begin": f"begin it again with: charlm train TEXT -r {path}",
        "use as text": f"to train on this text: charlm train {path}; to score it: charlm evaluate RUN {path}",
        "name a text": f"name one: charlm evaluate {path} TEXT, or charlm inspect {path} --text TEXT --out REPORT.html",
        "resume": f"continue it with: charlm train --resume -r {path}",
        "lower the learning rate": (
            "the last checkpoint is whole; continue from it with: "
            f"charlm train --resume -r {path} -s training.optimizer.learning_rate=X"
        ),
        "list runs": f"charlm runs lists the runs under {path}/",
    }
    return commands[advice.kind]


Suggestions = list[CompletionItem[str]]


def _suggest(names: Mapping[str, str | None], incomplete: str) -> Suggestions:
    """Return files, and those of some names, by what they mean, that begin with what was typed."""
    found = [
        CompletionItem(name, help=meaning)
        for name, meaning in names.items()
        if name.startswith(incomplete)
    ]
    return [CompletionItem("", type="file"), *found]


def suggest_recipes(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the recipes that come with charlm, and files."""
    from charlm.config.recipes import describe_recipe, recipe_names

    return _suggest({name: describe_recipe(name) for name in recipe_names()}, incomplete)


def suggest_runs(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the runs under runs/, and files."""
    from charlm.runs.folder import run_names

    return _suggest(dict.fromkeys(run_names()), incomplete)


def suggest_models(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the runs under runs/ and the models that come with charlm, and files."""
    from charlm.config.recipes import shipped_models
    from charlm.runs.folder import run_names

    return _suggest(dict.fromkeys([*run_names(), *shipped_models()]), incomplete)


class NonEmptyPath(click.Path):
    """A path that is not empty.

    An empty argument is usually a shell variable without a value. Python would take it for the current folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a Path, or fail with a usage error."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = NonEmptyPath(path_type=Path)
COUNT, NATURAL = click.IntRange(min=1), click.IntRange(min=0)
POSITIVE = click.FloatRange(min=0, min_open=True)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


host_option = click.option(
    "--host", default="127.0.0.1", help="Address to listen at; 0.0.0.0 = for other machines too."
)


def port_option(default: int) -> Decorator:
    """Return the option --port."""
    port = click.IntRange(0, 65535)
    return click.option(
        "--port",
        type=port,
        metavar="N",
        default=default,
        help="Port to listen at; 0 = any free one.",
    )


def recipe_option(default: str) -> Decorator:
    """Return the option --config; `default` says which recipe is used without it."""
    text = f"Recipe: a name of those that charlm comes with, or a YAML file.  [default: {default}]"
    recipe: dict[str, Any] = {
        "type": NonEmptyPath(),
        "shell_complete": suggest_recipes,
        "metavar": "NAME|FILE",
    }
    return click.option("-c", "--config", "recipe", help=text, **recipe)


set_option = click.option(
    *("-s", "--set", "overrides"),
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one setting by its dotted key, for instance model.units=256; can be repeated.",
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

_NAME = "or a part of a name that only one run under runs/ has"
model_argument = click.argument(
    "model",
    required=False,
    type=PATH,
    shell_complete=suggest_models,
    help=f"A run or a model file, {_NAME}; or river-plays, the model that comes with charlm.  "
    "[default: the newest run]",
)
models_argument = click.argument(
    "runs",
    nargs=-1,
    type=PATH,
    shell_complete=suggest_models,
    help=f"Runs or model files, {_NAME}.  [default: the newest run]",
)
text_argument = click.argument(
    "text",
    nargs=-1,
    type=PATH,
    callback=lambda _context, _param, found: found or None,
    help="Text: files, folders, .gz files, - for standard input; or one folder that tokenize "
    "wrote.  [default: the plays that come with charlm]",
)

_LENGTH_OPTIONS = (
    click.option(
        "--epochs",
        type=COUNT,
        metavar="N",
        help="Passes over the training text.  [default: the length in the recipe]",
    ),
    click.option(
        "--minutes",
        type=POSITIVE,
        metavar="X",
        help="Time limit of the whole command: as many steps as fit into X minutes.  [default: no limit]",
    ),
    click.option(
        "--init",
        type=PATH,
        metavar="MODEL",
        shell_complete=suggest_models,
        help="Begin with the weights of another model, a run or a model file; characters are matched by what they "
        "are.  [default: random weights]",
    ),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what `train` and `plan` share: the text, the recipe, settings, the length and the initial weights."""
    recipe = recipe_option("the recipe with the lowest expected loss for the text and the time")
    for option in reversed((text_argument, recipe, set_option, *_LENGTH_OPTIONS)):
        command = option(command)
    return command
