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

from charlm.checks import check_flag, check_number, check_path, check_whole
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
    "corpus": "losses on another text, or on the same text with other characters, do not compare",
    "seed": "the best seed is luck, not a better recipe",
    "sampling": "it does not change the loss",
}
"""Settings that may be fixed but not searched, with the reason; those inside them are meant, too."""
_NOT_IN_SEARCH = {**DECIDED_BY_THE_SEARCH, **NOT_SEARCHED}


@dataclass(frozen=True)
class Space:
    """What is searched."""

    path: Path
    """The file it was read from."""
    recipe: Path
    """The file of the recipe."""
    is_advised: bool
    """Whether the file names no recipe, so that the search takes the one that suits the text."""
    fixed: Mapping[str, Any]
    """Values that replace those of the recipe, by sections as in a YAML file."""
    search: Mapping[str, Range]
    """The settings that are searched, by dotted keys."""

    def overrides(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fixed values and these, which have dotted keys, by sections as in a YAML file."""
        return merge(self.fixed, nest(values.items()))

    @cached_property
    def recipe_values(self) -> Mapping[str, Any]:
        """The values of the recipe; its file is read once, since a space may have thousands of values to check."""
        values = read_config(self.recipe)
        parse_config(values, origin=str(self.recipe))
        return values

    def config(self, values: Mapping[str, Any] | None = None) -> Config:
        """Return the recipe with the fixed values and these, by dotted keys.

        Raises:
            CharlmError: the file of the recipe cannot be read, or the values are not valid together.

        """
        settings = merge(self.recipe_values, self.overrides(values or {}))
        if values:
            return parse_config(settings, origin=f"{self.path}: search", spelling="key")
        return parse_config(settings, origin=f"{self.path}: fixed")

    def values(self) -> dict[str, Any]:
        """Return the values of the recipe that are searched and in their ranges: where the search begins."""
        settings = flatten(self.config())
        return {
            key: settings[key]
            for key, one in self.search.items()
            if _contains(one, settings.get(key))
        }

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
        CharlmError: the file cannot be read or is not of the form above, the recipe cannot be read, or keys or values
            at the ends of ranges are not valid; the message describes each of them. Ends are checked only if the fixed
            values are valid.

    """
    try:
        sections = _File.model_validate(read_yaml(path))
    except ValidationError as error:
        raise explain_all(error, _File, origin=str(path)) from None
    parsed = {key: _parse_range(value) for key, value in sections.search.items()}
    wrong_ranges = [
        f"search: {key}: {problem}" for key, problem in parsed.items() if isinstance(problem, str)
    ]
    ranges = {key: one for key, one in parsed.items() if not isinstance(one, str)}
    name = "default" if sections.recipe is None else sections.recipe
    check_path(f"{path}: recipe", name)
    recipe = path.parent / name if Path(name).suffix in YAML_SUFFIXES else find_recipe(name)
    space = Space(
        path, recipe, sections.recipe is None, fixed=parse_overrides(sections.fixed), search=ranges
    )
    problems = [*wrong_ranges, *_refused_keys(space), *(_wrong_fixed(space) or _wrong_ends(space))]
    if problems:
        raise several_problems(str(path), problems, count=len(problems))
    return space


def _parse_range(value: Any) -> Range | str:
    """Return a range, or a message if it is not valid."""
    problem = "must be {int: [low, high]}, {float: [low, high]} or {categorical: [value, ...]}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # with one, Optuna would change the range
            match value:
                case {"int": [low, high], **options} if {type(low), type(high)} == {int}:
                    return IntDistribution(low, high, **_check_options(options, is_whole=True))
                case {"float": [low, high], **options} if {type(low), type(high)} <= {int, float}:
                    return FloatDistribution(low, high, **_check_options(options, is_whole=False))
                case {"categorical": [*choices]} if len(value) == 1:
                    return CategoricalDistribution(choices)
    except CharlmError as error:
        return str(error)
    except (ValueError, Warning) as error:
        problem = str(error).splitlines()[0]
    except ArithmeticError:  # the number of steps has more digits than a decimal number
        problem = "the step is too small for the range"
    return f"found {short_repr(value)}; {problem}"


def _check_options(options: Mapping[Any, Any], *, is_whole: bool) -> dict[str, Any]:
    """Return the options of a range, `step` and `log`; raises CharlmError if there is another one or a wrong value."""
    checked: dict[str, Any] = {}
    for name, found in options.items():
        if name == "step" and is_whole:
            checked[name] = check_whole(name, found, least=1)
        elif name == "step":
            checked[name] = check_number(name, found, least=0, above=True)
        elif name == "log":
            check_flag(name, found)
            checked[name] = found
        else:
            raise CharlmError(f"{name}: there is no such option; a range may have step and log")
    return checked


def _contains(one: Range, value: Any) -> bool:
    if isinstance(one, CategoricalDistribution):
        return value in one.choices
    return type(value) in {int, float} and one.low <= value <= one.high


def _refused_keys(space: Space) -> Iterator[str]:
    """Yield a message for each key that a space must not have."""
    fixed = [key for key, _ in dotted(space.fixed)]
    for section, keys, refused in (
        ("fixed", fixed, DECIDED_BY_THE_SEARCH),
        ("search", space.search, _NOT_IN_SEARCH),
    ):
        for key in keys:
            if reason := _reason_against(key, refused):
                yield f"{section}: {key}: {reason}; leave it out"
    for key in sorted({*fixed} & space.search.keys()):
        yield f"{key}: is in fixed and in search; leave it in one of them"


def _reason_against(key: str, refused: Mapping[str, str]) -> str | None:
    """Return why a setting, or the section that it is in, is refused; None if it is not."""
    return next(
        (reason for name, reason in refused.items() if f"{key}.".startswith(f"{name}.")), None
    )


def _wrong_fixed(space: Space) -> list[str]:
    """Return a message for each fixed value that is not valid; raises CharlmError if the recipe is not."""
    values = merge(space.recipe_values, space.fixed)
    try:
        parse_config(values, origin="fixed")
    except CharlmError as error:
        first, *others = error.lines
        return [f"fixed: {problem}" for problem in others] or [first]
    return []


def _wrong_ends(space: Space) -> Iterator[str]:
    """Yield a message for each range with an end that is not valid; each end is checked on its own.

    A range of a setting that must not be searched is left out: it has its own message.
    """
    searched = {
        key: one for key, one in space.search.items() if not _reason_against(key, _NOT_IN_SEARCH)
    }
    for key, one in searched.items():
        for end in one.choices if isinstance(one, CategoricalDistribution) else (one.low, one.high):
            try:
                space.config({key: end})
            except CharlmError as error:
                yield str(error).removeprefix(f"{space.path}: ")
                break
