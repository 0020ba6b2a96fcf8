"""Search spaces: YAML files with a recipe, fixed settings, and ranges to search.

    recipe: default                  # default: the recipe that suits the text
    fixed: {model.layers: 2}
    search:
      model.units: {int: [128, 512], step: 64}
      training.optimizer.learning_rate: {float: [1e-3, 1e-2], log: true}
      model.rnn.activation: {categorical: [tanh, relu]}

Ranges become Optuna distributions. All keys and values are checked before anything is trained.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charlm.checks import check_path, check_range
from charlm.config.file import (
    dotted,
    explain_all,
    flatten,
    nest,
    parse_config,
    parse_overrides,
    read_config,
    read_yaml,
)
from charlm.config.recipes import YAML_SUFFIXES, find_recipe
from charlm.config.schema import DECIDED_BY_THE_SEARCH, Config, merge
from charlm.errors import CharlmError, several_problems
from charlm.wording import short_repr

Range = IntDistribution | FloatDistribution | CategoricalDistribution

NOT_SEARCHED = {
    "corpus": "losses on different texts or vocabularies cannot be compared",
    "seed": "the best seed is luck, not a better recipe",
    "sampling": "it does not change the loss",
}
"""Settings and sections that can be fixed but not searched, with the reason."""
_NOT_IN_SEARCH = {**DECIDED_BY_THE_SEARCH, **NOT_SEARCHED}


@dataclass(frozen=True)
class Space:
    """A search space."""

    path: Path
    """Path of the YAML file."""
    recipe: Path
    """Path of the recipe."""
    is_advised: bool
    """Whether the file names no recipe, so that the recipe depends on the text."""
    fixed: Mapping[str, Any]
    """Settings that replace settings of the recipe, by sections."""
    search: Mapping[str, Range]
    """Range of each searched setting, by dotted keys."""

    def overrides(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fixed settings and `values`, by dotted keys, together by sections."""
        return merge(self.fixed, nest(values.items()))

    @cached_property
    def recipe_values(self) -> Mapping[str, Any]:
        """Settings of the recipe, read only once because a space may have thousands of values."""
        values = read_config(self.recipe)
        parse_config(values, origin=str(self.recipe))
        return values

    def config(self, values: Mapping[str, Any] | None = None) -> Config:
        """Return the recipe with the fixed settings and values by dotted keys.

        Raises:
            CharlmError: The recipe cannot be read, or the values are not valid together.

        """
        settings = merge(self.recipe_values, self.overrides(values or {}))
        if values:
            return parse_config(settings, origin=f"{self.path}: search")
        return parse_config(settings, origin=f"{self.path}: fixed")

    def values(self) -> dict[str, Any]:
        """Return the searched settings of the recipe that are inside their ranges."""
        settings = flatten(self.config())
        inside = {}
        for key, distribution in self.search.items():
            if _contains(distribution, settings.get(key)):
                inside[key] = settings[key]
        return inside

    def describe(self) -> dict[str, Any]:
        """Return settings and ranges as plain data, for comparison with another search."""
        ranges = {key: distribution_to_json(value) for key, value in self.search.items()}
        return {"recipe": self.config().model_dump(mode="json"), "search": ranges}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    recipe: str | None = None
    fixed: dict[str, Any] = {}
    search: Annotated[dict[str, Any], Field(min_length=1)]


def load_space(path: Path) -> Space:
    """Read a search space from a YAML file.

    Args:
        path: YAML file, UTF-8, of at most 100,000 bytes. The path of a recipe file is relative to
            the folder of the search space.

    Raises:
        CharlmError: The file or the recipe cannot be read, or keys, fixed values or the ends of
            ranges are invalid; the message describes every problem. The ends are checked only if
            the fixed values are valid.

    """
    try:
        sections = _File.model_validate(read_yaml(path))
    except ValidationError as error:
        raise explain_all(error, _File, origin=str(path)) from None
    problems = []
    ranges = {}
    for key, value in sections.search.items():
        try:
            ranges[key] = _parse_range(value)
        except CharlmError as error:
            problems.append(f"search: {key}: {error}")
    name = "default" if sections.recipe is None else sections.recipe
    check_path(f"{path}: recipe", name)
    recipe = path.parent / name if Path(name).suffix in YAML_SUFFIXES else find_recipe(name)
    fixed = parse_overrides(sections.fixed)
    space = Space(path, recipe, sections.recipe is None, fixed, ranges)
    problems += _refused_keys(space)
    problems += _wrong_fixed(space) or _wrong_ends(space)
    if problems:
        raise several_problems(str(path), problems, count=len(problems))
    return space


def _parse_range(value: Any) -> Range:
    """Return a range; raises CharlmError if it is invalid."""
    problem = "must be {int: [low, high]}, {float: [low, high]} or {categorical: [value, ...]}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna warns when it changes a range
            match value:
                case {"int": [low, high], **options} if {type(low), type(high)} == {int}:
                    return IntDistribution(low, high, **_check_options(options, is_whole=True))
                case {"float": [low, high], **options} if {type(low), type(high)} <= {int, float}:
                    return FloatDistribution(low, high, **_check_options(options, is_whole=False))
                case {"categorical": [*choices]} if len(value) == 1:
                    return CategoricalDistribution(choices)
    except (ValueError, Warning) as error:
        problem = str(error).splitlines()[0]
    except ArithmeticError:  # the number of steps has more digits than a decimal number
        problem = "the step is too small for the range"
    raise CharlmError(f"found {short_repr(value)}; {problem}")


def _check_options(options: Mapping[Any, Any], *, is_whole: bool) -> dict[str, Any]:
    """Return the checked options `step` and `log` of a range; raises CharlmError."""
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if name == "step" and is_whole:
            check_range(name, value, 1)
            checked[name] = value
        elif name == "step":
            check_range(name, value, 0, above=True)
            checked[name] = value
        elif name == "log":
            checked[name] = value
        else:
            raise CharlmError(f"{name}: there is no such option; a range may have step and log")
    return checked


def _contains(distribution: Range, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return type(value) in {int, float} and distribution.low <= value <= distribution.high


def _refused_keys(space: Space) -> Iterator[str]:
    """Yield a message for each key that is not allowed in its section."""
    fixed = [key for key, _ in dotted(space.fixed)]
    for section, keys, refused in (
        ("fixed", fixed, DECIDED_BY_THE_SEARCH),
        ("search", space.search, _NOT_IN_SEARCH),
    ):
        for key in keys:
            reason = _reason_against(key, refused)
            if reason is not None:
                yield f"{section}: {key}: {reason}; leave it out"
    for key in sorted({*fixed} & space.search.keys()):
        yield f"{key}: is in both fixed and search; remove it from one of them"


def _reason_against(key: str, refused: Mapping[str, str]) -> str | None:
    """Return the reason why a setting or its section is refused, or None."""
    for name, reason in refused.items():
        if f"{key}.".startswith(f"{name}."):
            return reason
    return None


def _wrong_fixed(space: Space) -> list[str]:
    """Return a message for each invalid fixed value; raises CharlmError for an invalid recipe."""
    values = merge(space.recipe_values, space.fixed)
    try:
        parse_config(values, origin="fixed")
    except CharlmError as error:
        first, *others = error.lines
        return [f"fixed: {problem}" for problem in others] or [first]
    return []


def _wrong_ends(space: Space) -> list[str]:
    """Return a message for each range with an invalid end; each end is checked separately."""
    problems = []
    for key, distribution in space.search.items():
        if _reason_against(key, _NOT_IN_SEARCH):  # already has a message
            continue
        if isinstance(distribution, CategoricalDistribution):
            values: Iterable[Any] = distribution.choices
        else:
            values = (distribution.low, distribution.high)
        for value in values:
            try:
                space.config({key: value})
            except CharlmError as error:
                problems.append(str(error).removeprefix(f"{space.path}: "))
                break
    return problems
