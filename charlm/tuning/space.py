"""The YAML file of a search: a recipe, values that replace some of its own, and settings with the ranges to search.

    recipe: default
    fixed: {model.layers: 2}
    search:
      model.units: {int: [128, 512], step: 64}
      training.optimizer.learning_rate: {float: [1e-3, 1e-2], log: true}
      model.rnn.activation: {categorical: [tanh, relu]}

Ranges are Optuna's distributions. Keys and values are checked here, before anything is trained.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json

from charlm.config.file import flatten, load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.config.yaml import MAX_CONFIG_BYTES, parse_yaml, show_value
from charlm.errors import CharlmError, nearest, shorten
from charlm.storage.files import read_file

Range = IntDistribution | FloatDistribution | CategoricalDistribution
FORMS = "{int: [low, high]}, {float: [low, high]} or {categorical: [value, ...]}"
OPTIONS = {"int": {"step", "log"}, "float": {"log"}, "categorical": set[str]()}
"""What may stand beside each kind of range."""
MAX_CHOICES = 100

_LENGTH = "how long a trial trains is --trial-minutes"
_WATCHED = "a search evaluates its trials itself"
DECIDED_BY_THE_SEARCH = {
    "training.epochs": _LENGTH,
    "training.steps": _LENGTH,
    "training.early_stopping": "a search ends hopeless trials itself",
    "training.evaluate_every": _WATCHED,
    "training.checkpoint_every": _WATCHED,
}
"""Settings that a space must not name, with the reason; those inside them are meant, too."""
NOT_SEARCHED = {
    "corpus": "losses on another text, or on the same text with other characters, do not compare",
    "seed": "the best seed is luck, not a better recipe",
    "sampling": "it does not change the loss",
    "training.device": "a process trains on one of them",
}
"""Settings that may be fixed but not searched, with the reason."""


@dataclass(frozen=True)
class Space:
    """What is searched."""

    path: Path
    """The file it was read from."""
    recipe: Path
    """The file of the recipe."""
    fixed: Mapping[str, Any]
    """Values that replace those of the recipe, by dotted keys."""
    search: Mapping[str, Range]
    """The settings that are searched, by dotted keys."""

    def config(self, values: Mapping[str, Any] | None = None) -> Config:
        """Return the recipe with the fixed values and these, by dotted keys.

        Raises:
            CharlmError: the file of the recipe cannot be read, or the values are not valid together.

        """
        return load_config(self.recipe, overrides={**self.fixed, **(values or {})})

    def describe(self) -> dict[str, Any]:
        """Return what makes two searches the same, for JSON: every setting, and the ranges."""
        ranges = {key: distribution_to_json(one) for key, one in self.search.items()}
        return {"recipe": self.config().model_dump(mode="json"), "search": ranges}


def load_space(path: Path) -> Space:
    """Read the space of a search from a YAML file.

    Args:
        path: A file of at most 100,000 bytes, UTF-8. The path of a recipe in it is relative to its folder.

    Raises:
        CharlmError: the file cannot be read or is not of the form above, the recipe cannot be read, a key or a value at
            an end of a range is not valid, or a range leaves out the value of the recipe.

    """
    try:
        text = read_file(path, limit=MAX_CONFIG_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: cannot be read as a search space: not UTF-8 text") from None
    sections = _check_sections(parse_yaml(text, origin=str(path)), path)
    recipe = sections.get("recipe", "default")
    if not isinstance(recipe, str):
        raise CharlmError(f"{path}: recipe: found {shorten(recipe)}; must be the name of a recipe or a YAML file")
    is_file = Path(recipe).suffix in {".yaml", ".yml"}
    ranges = {key: _parse_range(f"{path}: search: {key}", value) for key, value in sections["search"].items()}
    found = path.parent / recipe if is_file else find_recipe(recipe)
    space = Space(path, found, fixed=sections.get("fixed") or {}, search=ranges)
    _check_keys(space)
    _check_recipe(space)
    return space


def _check_sections(values: Any, path: Path) -> dict[str, Any]:
    """Return the sections of the file, with mappings whose keys are texts in `search` and `fixed`."""
    if not isinstance(values, dict):
        raise CharlmError(f"{path}: holds {shorten(values)}; a search space is a mapping with the key search")
    for key in values:
        if key not in {"recipe", "fixed", "search"}:
            near = nearest(str(key), ["recipe", "fixed", "search"])
            hint = f"did you mean {near}?" if near else "there are recipe, fixed, search"
            raise CharlmError(f"{path}: {key}: unknown key; {hint}")
    for name in ("search", "fixed"):
        section = values.get(name)
        if section is None and name == "fixed":
            continue
        if not isinstance(section, dict) or not all(isinstance(key, str) for key in section):
            raise CharlmError(f"{path}: {name}: found {shorten(section)}; must be a mapping of dotted keys")
    if not values["search"]:
        raise CharlmError(f"{path}: search: is empty; must have a setting with its range")
    return values


def _parse_range(origin: str, value: Any) -> Range:
    kinds = OPTIONS.keys() & value.keys() if isinstance(value, dict) else set[str]()
    if len(kinds) != 1:
        raise CharlmError(f"{origin}: found {shorten(value)}; must be {FORMS}")
    (kind,) = kinds
    for name in value.keys() - {kind} - OPTIONS[kind]:
        raise CharlmError(f"{origin}: {name}: found {shorten(value[name])}; there is no such key here")
    try:
        if kind == "categorical":
            return _categorical(value[kind])
        return _numbers(kind, value[kind], log=value.get("log", False), step=value.get("step", 1))
    except ValueError as error:
        raise CharlmError(f"{origin}: {kind}: found {shorten(value[kind])}; {error}") from None


def _categorical(choices: Any) -> CategoricalDistribution:
    if not isinstance(choices, list) or not 1 <= len(choices) <= MAX_CHOICES:
        raise ValueError(f"must be a list of 1 to {MAX_CHOICES} values")
    if any(isinstance(choice, list | dict) for choice in choices):
        raise ValueError("must be texts, numbers, true, false or null")
    if len({(type(choice), choice) for choice in choices}) < len(choices):
        raise ValueError("a value occurs twice")
    return CategoricalDistribution(choices)


def _numbers(kind: str, bounds: Any, *, log: Any, step: Any) -> IntDistribution | FloatDistribution:
    types, name = ({int}, "whole numbers") if kind == "int" else ({int, float}, "numbers")
    if not isinstance(bounds, list) or len(bounds) != 2 or any(type(bound) not in types for bound in bounds):
        raise ValueError(f"must be two {name}, [low, high]")
    low, high = bounds
    if not low < high or not math.isfinite(high - low):
        raise ValueError("must be finite numbers, the first one less than the second, and not too far apart")
    if type(log) is not bool:
        raise ValueError("log must be true or false")
    if log and low <= 0:
        raise ValueError("log needs numbers above 0")
    if kind == "float":
        return FloatDistribution(low, high, log=log)
    if type(step) is not int or step < 1 or (log and step != 1):
        raise ValueError("step must be a whole number, 1 or more, and 1 with log")
    if (high - low) % step:
        raise ValueError(
            f"the numbers must be a multiple of step apart, for instance {low} and {high - (high - low) % step}"
        )
    return IntDistribution(low, high, log=log, step=step)


def contains(one: Range, value: Any) -> bool:
    """Return whether a value is one of those that a range tries."""
    if isinstance(one, CategoricalDistribution):
        return any(choice == value and isinstance(choice, bool) == isinstance(value, bool) for choice in one.choices)
    if isinstance(one, FloatDistribution):
        return type(value) in {int, float} and one.low <= value <= one.high
    return type(value) is int and one.low <= value <= one.high and (value - one.low) % one.step == 0


def _check_keys(space: Space) -> None:
    """Check every key, the fixed values, and every range at its ends, each on its own."""
    for section, keys, refused in (
        ("fixed", space.fixed, DECIDED_BY_THE_SEARCH),
        ("search", space.search, {**DECIDED_BY_THE_SEARCH, **NOT_SEARCHED}),
    ):
        for key in keys:
            for name, reason in refused.items():
                if key == name or key.startswith(f"{name}."):
                    raise CharlmError(f"{space.path}: {section}: {key}: {reason}; leave it out")
    if both := sorted(space.fixed.keys() & space.search.keys()):
        raise CharlmError(f"{space.path}: {both[0]}: is in fixed and in search; leave it in one of them")
    for section, values in _examples(space):
        try:
            space.config(values)
        except CharlmError as error:
            message = str(error)
            if message.startswith("--set"):
                message = f"{space.path}: {section}: {message.removeprefix('--set').lstrip(': ')}"
            raise CharlmError(message) from None


def values_of_recipe(space: Space) -> dict[str, Any]:
    """Return the values that the recipe has, of the settings that are searched: the first trial."""
    settings = flatten(space.config())
    return {key: settings[key] for key in space.search if key in settings}


def _check_recipe(space: Space) -> None:
    """Check that the recipe is in the space: the search begins with it, so that its result is never worse."""
    values = values_of_recipe(space)
    for key, one in space.search.items():
        if key not in values:
            raise CharlmError(
                f"{space.path}: search: {key}: {space.recipe.name} does not set it, and a search begins with the "
                f"recipe; name a recipe that sets it"
            )
        if not contains(one, values[key]):
            raise CharlmError(
                f"{space.path}: search: {key}: leaves out {show_value(values[key])}, the value of {space.recipe.name}, "
                f"and a search begins with the recipe; widen the range, or name another recipe"
            )


def _examples(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the fixed values, and the ends or all choices of each range."""
    yield "fixed", {}
    for key, one in space.search.items():
        for value in one.choices if isinstance(one, CategoricalDistribution) else (one.low, one.high):
            yield "search", {key: value}
