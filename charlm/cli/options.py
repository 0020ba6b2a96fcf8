"""The arguments and options that several commands share, and what a shell completes for them.

Completion reads recipes from the files that come with charlm: it must be fast.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from charlm.cli.output import be_quiet

Suggestions = list[CompletionItem[str]]
FILES: CompletionItem[str] = CompletionItem("", type="file")


def suggest_recipes(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the recipes that come with charlm, and files."""
    from charlm.config.recipes import describe_recipe, recipe_names

    names = [name for name in recipe_names() if name.startswith(incomplete)]
    return [FILES, *(CompletionItem(name, help=describe_recipe(name)) for name in names)]


def suggest_spaces(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the search space that comes with charlm, and files."""
    from charlm.config.recipes import SPACE

    return [FILES, *([CompletionItem(SPACE)] if SPACE.startswith(incomplete) else [])]


def suggest_runs(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the runs under runs/ and the models that come with charlm, and files."""
    from charlm.config.recipes import shipped_models
    from charlm.runs.folder import RUNS, run_names

    names = [*run_names(), *shipped_models(), *(f"{RUNS}/{name}" for name in run_names() if "/" in incomplete)]
    return [FILES, *(CompletionItem(name) for name in names if name.startswith(incomplete))]


class NonEmptyPath(click.Path):
    """A path that is not empty.

    An empty argument is usually a shell variable without a value. Python would take it for the current folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a Path, or fail with a usage error."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Finite(click.FloatRange):
    """A number in a range that is neither NaN, which click takes for one in any range, nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a float, or fail with a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


POSITIVE = Finite(min=0, min_open=True)


def is_given(name: str) -> bool:
    """Return whether an option of the command that runs is on its command line, not left to its default."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


FOLDER = NonEmptyPath(path_type=Path)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
set_option = click.option(
    "-s",
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one setting by its dotted key, for instance model.units=256; can be repeated.",
)


def _check_host(_: click.Context, _param: click.Parameter, host: str) -> str:
    """Refuse what the look-up of names in Python cannot take."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise click.BadParameter("must be an address, or a name with at most 63 characters between two dots") from None
    return host


host_option = click.option(
    "--host",
    callback=_check_host,
    default="127.0.0.1",
    help="Address to listen at; 0.0.0.0 = reachable from other machines.",
)


def port_option(default: int) -> Decorator:
    """Return the option --port."""
    return click.option(
        "--port", type=click.IntRange(0, 65535), default=default, help="Port to listen at; 0 = any free one."
    )


quiet_option = click.option(
    *("-q", "--quiet"),
    is_flag=True,
    expose_value=False,
    callback=be_quiet,
    help="Print nothing but the result and errors.",
)


def recipe_option(default: str) -> Decorator:
    """Return the option --config; `default` says which recipe is used without it."""
    return click.option(
        "-c",
        "--config",
        "recipe",
        type=NonEmptyPath(),
        shell_complete=suggest_recipes,
        metavar="NAME|FILE",
        help=f"Recipe: a name of those that charlm comes with, or a YAML file.  [default: {default}]",
    )


_NAME = "or a part of a name that only one run under runs/ has"
run_argument = click.argument(
    "run",
    required=False,
    type=FOLDER,
    shell_complete=suggest_runs,
    help=f"A run or a model file, {_NAME}; or river-plays, the model that comes with charlm.  "
    "[default: the newest run]",
)
models_argument = click.argument(
    "runs",
    nargs=-1,
    type=FOLDER,
    shell_complete=suggest_runs,
    help=f"Runs or model files, {_NAME}.  [default: the newest run]",
)
runs_argument = click.argument(
    "runs", nargs=-1, type=FOLDER, shell_complete=suggest_runs, help=f"Folders of runs, {_NAME}.  [default: all runs]"
)


corpus_argument = click.argument(
    "corpus",
    nargs=-1,
    type=FOLDER,
    help="Text: files, folders, .gz files, - for standard input; or one folder that tokenize "
    "wrote.  [default: the plays that come with charlm]",
)
