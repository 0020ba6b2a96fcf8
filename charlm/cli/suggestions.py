"""What can be written for a recipe, a setting or a run: completion in a shell asks for it at every key.

Nothing here imports pydantic, YAML or NumPy.
"""

import click
from click.shell_completion import CompletionItem

Suggestions = list[CompletionItem[str]]
FILES: CompletionItem[str] = CompletionItem("", type="file")


def suggest_recipes(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the recipes that come with charlm, and files."""
    from charlm.config.recipes import describe_recipe, recipe_names

    names = [name for name in recipe_names() if name.startswith(incomplete)]
    return [FILES, *(CompletionItem(name, help=describe_recipe(name)) for name in names)]


def suggest_runs(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the runs under runs/ and the models that come with charlm, and files."""
    from charlm.config.recipes import shipped_models
    from charlm.runs.folder import RUNS, run_names

    names = [*run_names(), *shipped_models(), *(f"{RUNS}/{name}" for name in run_names() if "/" in incomplete)]
    return [FILES, *(CompletionItem(name) for name in names if name.startswith(incomplete))]


def suggest_settings(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return `KEY=` for the keys that begin so, or `KEY=VALUE` for the values of a key that has a few."""
    from charlm.config.reference import known_values, read_settings

    settings = read_settings()
    key, equals, _value = incomplete.partition("=")
    if equals:
        texts = [f"{key}={value}" for value in known_values(settings.get(key, {}))]
        return [CompletionItem(text) for text in texts if text.startswith(incomplete)]
    keys = [name for name in settings if name.startswith(incomplete)]
    return [CompletionItem(f"{name}=", help=settings[name]["description"]) for name in keys]
