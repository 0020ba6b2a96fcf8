"""The YAML file of a search: a recipe, values that replace some of its own, and settings with the ranges to search.

    recipe: default                  # left out: the recipe that suits the text
    fixed: {model.layers: 2}
    search:
      model.units: {int: [128, 512], step: 64}
      training.optimizer.learning_rate: {float: [1e-3, 1e-2], log: true}
      model.rnn.activation: {categorical: [tanh, relu]}

Ranges are Optuna's distributions. Keys and values are checked here, before anything is trained.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.trial import Trial
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charlm.config.file import flatten, load_config, nest, parse_overrides
from charlm.config.recipes import DEFAULT_RECIPE, find_recipe, suited_recipe
from charlm.config.schema import Config, merge
from charlm.config.validation import explain
from charlm.config.yaml import read_yaml, show_value
from charlm.errors import CharlmError, short_repr

Range = IntDistribution | FloatDistribution | CategoricalDistribution
FORMS = "{int: [low, high]}, {float: [low, high]} or {categorical: [value, ...]}"
OPTIONS: Mapping[str, Mapping[str, type]] = {
    "int": {"step": int, "log": bool},
    "float": {"log": bool},
    "categorical": {},
}
"""What may stand beside each kind of range, and its type."""
TYPES: Mapping[str, set[type]] = {
    "int": {int},
    "float": {int, float},
    "categorical": {str, int, float, bool, type(None)},
}
"""The types of the values of each kind of range."""

_LENGTH = "how long a trial trains is --trial-minutes"
DECIDED_BY_THE_SEARCH = {
    "training.epochs": _LENGTH,
    "training.steps": _LENGTH,
    "training.early_stopping": "a search ends hopeless trials itself",
    "training.evaluations": "a search evaluates its trials itself",
}
"""Settings that a space must not name, with the reason."""
NOT_SEARCHED = {
    "corpus": "losses on another text, or on the same text with other characters, do not compare",
    "seed": "the best seed is luck, not a better recipe",
    "sampling": "it does not change the loss",
}
"""Settings that may be fixed but not searched, with the reason; those inside them are meant, too."""


@dataclass(frozen=True)
class Space:
    """What is searched."""

    path: Path
    """The file it was read from."""
    recipe: Path
    """The file of the recipe."""
    is_advised: bool
    """Whether the file names no recipe, so that `for_text` takes the one that suits the text."""
    fixed: Mapping[str, Any]
    """Values that replace those of the recipe, by sections as in a YAML file."""
    search: Mapping[str, Range]
    """The settings that are searched, by dotted keys."""

    def for_text(self, training_characters: int) -> "Space":
        """Return the space for a text with so much training text: if it names no recipe, over the one that suits.

        Raises:
            CharlmError: a range leaves out the value of that recipe.

        """
        if not self.is_advised:
            return self
        space = replace(self, recipe=find_recipe(suited_recipe(training_characters).recipe))
        _check_recipe(space)
        return space

    def overrides(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fixed values and these, which have dotted keys, by sections as in a YAML file."""
        return merge(self.fixed, nest(values.items()))

    def config(self, values: Mapping[str, Any] | None = None) -> Config:
        """Return the recipe with the fixed values and these, by dotted keys.

        Raises:
            CharlmError: the file of the recipe cannot be read, or the values are not valid together.

        """
        return load_config(self.recipe, overrides=self.overrides(values or {}))

    def values(self) -> dict[str, Any]:
        """Return the values that the recipe has, of the settings that are searched: the first trial."""
        settings = flatten(self.config())
        return {key: settings[key] for key in self.search if key in settings}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Return the values that Optuna proposes for a trial, by dotted keys."""
        found: dict[str, Any] = {}
        for key, one in self.search.items():
            if isinstance(one, CategoricalDistribution):
                found[key] = trial.suggest_categorical(key, one.choices)
            elif isinstance(one, IntDistribution):
                found[key] = trial.suggest_int(key, one.low, one.high, step=one.step, log=one.log)
            else:
                found[key] = trial.suggest_float(key, one.low, one.high, log=one.log)
        return found

    def describe(self) -> dict[str, Any]:
        """Return what makes two searches the same, for JSON: every setting, and the ranges."""
        ranges = {key: distribution_to_json(one) for key, one in self.search.items()}
        return {"recipe": self.config().model_dump(mode="json"), "search": ranges}


class _File(BaseModel):
    """The sections of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipe: str | None = None
    fixed: dict[str, Any] = {}
    search: Annotated[dict[str, Any], Field(min_length=1)]


def load_space(path: Path) -> Space:
    """Read the space of a search from a YAML file.

    Args:
        path: A file of at most 100,000 bytes, UTF-8. The path of a recipe in it is relative to its folder.

    Raises:
        CharlmError: the file cannot be read or is not of the form above, the recipe cannot be read, a key or a value at
            an end of a range is not valid, or a range leaves out the value of the recipe.

    """
    try:
        sections = _File.model_validate(read_yaml(path))
    except ValidationError as error:
        raise CharlmError(f"{path}: {explain(error, _File)}") from None
    ranges = {key: _parse_range(f"{path}: search: {key}", value) for key, value in sections.search.items()}
    name = DEFAULT_RECIPE if sections.recipe is None else sections.recipe
    recipe = path.parent / name if Path(name).suffix in {".yaml", ".yml"} else find_recipe(name)
    fixed = parse_overrides(sections.fixed)
    space = Space(path, recipe, sections.recipe is None, fixed=fixed, search=ranges)
    _check_keys(space)
    _check_recipe(space)
    return space


def _parse_range(origin: str, value: Any) -> Range:
    kinds = OPTIONS.keys() & value.keys() if isinstance(value, dict) else set[str]()
    if len(kinds) != 1 or not value.keys() <= kinds | OPTIONS[min(kinds)].keys():
        raise CharlmError(f"{origin}: found {short_repr(value)}; must be {FORMS}")
    kind = min(kinds)
    values, options = value[kind], {name: option for name, option in value.items() if name != kind}
    is_wrong = any(type(option) is not OPTIONS[kind][name] for name, option in options.items())
    if (
        is_wrong
        or not isinstance(values, list)
        or (kind != "categorical" and len(values) != 2)
        or {*map(type, values)} - TYPES[kind]
    ):
        raise CharlmError(f"{origin}: found {short_repr(value)}; must be {FORMS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # with one, Optuna would change the range
            if kind == "categorical":
                return CategoricalDistribution(values)
            return (IntDistribution if kind == "int" else FloatDistribution)(*values, **options)
    except (ValueError, TypeError, Warning) as error:
        raise CharlmError(f"{origin}: found {short_repr(value)}; {str(error).splitlines()[0]}") from None


def _contains(one: Range, value: Any) -> bool:
    if isinstance(one, CategoricalDistribution):
        return value in one.choices
    return type(value) in {int, float} and one.low <= value <= one.high


def _check_keys(space: Space) -> None:
    """Check every key, the fixed values, and every range at its ends, each on its own."""
    fixed = [*_dotted(space.fixed)]
    for section, keys, refused in (
        ("fixed", fixed, DECIDED_BY_THE_SEARCH),
        ("search", space.search, {**DECIDED_BY_THE_SEARCH, **NOT_SEARCHED}),
    ):
        for key in keys:
            for name, reason in refused.items():
                if key == name or key.startswith(f"{name}."):
                    raise CharlmError(f"{space.path}: {section}: {key}: {reason}; leave it out")
    if both := sorted({*fixed} & space.search.keys()):
        raise CharlmError(f"{space.path}: {both[0]}: is in fixed and in search; leave it in one of them")
    for section, values in _examples(space):
        try:
            space.config(values)
        except CharlmError as error:
            message = str(error)
            if message.startswith("override"):
                message = f"{space.path}: {section}: {message.removeprefix('override').lstrip(': ')}"
            raise CharlmError(message) from None


def _dotted(values: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the dotted keys of nested mappings, those of the sections included."""
    for key, value in values.items():
        yield f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{key}.")


def _check_recipe(space: Space) -> None:
    """Check that the recipe is in the space: the search begins with it."""
    values = space.values()
    for key, one in space.search.items():
        if key not in values or not _contains(one, values[key]):
            found = f"leaves out {show_value(values[key])}, the value of" if key in values else "is not set by"
            raise CharlmError(
                f"{space.path}: search: {key}: {found} {space.recipe.name}, and a search begins with the recipe; "
                f"widen the range, or name another recipe"
            )


def _examples(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the fixed values, and the ends or all choices of each range."""
    yield "fixed", {}
    for key, one in space.search.items():
        for value in one.choices if isinstance(one, CategoricalDistribution) else (one.low, one.high):
            yield "search", {key: value}
