"""The YAML file of a search: a recipe, values that replace some of its own, and settings with the ranges to search.

    recipe: default
    fixed: {model.layers: 2}
    search:
      model.units: {int: [128, 512], step: 64}
      training.optimizer.learning_rate: {float: [1e-3, 1e-2], log: true}
      model.rnn.activation: {categorical: [tanh, relu]}

Keys and values are checked here, before anything is trained.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charlm.config.file import load_config
from charlm.config.mistakes import demand
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.config.yaml import MAX_CONFIG_BYTES, parse_yaml
from charlm.errors import CharlmError, nearest, shorten
from charlm.storage.reading import read_file

Value = str | int | float | bool | None
"""Of a setting that is searched."""
Bounds = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

_LENGTH = "how long a trial trains is --trial-minutes"
_WATCHED = "a search evaluates its trials itself"
DECIDED_BY_THE_SEARCH = {
    "training.epochs": _LENGTH,
    "training.steps": _LENGTH,
    "training.max_minutes": _LENGTH,
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


class IntRange(BaseModel):
    """Whole numbers from a lowest to a highest."""

    model_config = Bounds
    kind: ClassVar[str] = "int"

    bounds: Annotated[tuple[int, int], Field(strict=False, alias="int")]
    """The lowest and the highest."""
    step: Annotated[int, Field(ge=1)] = 1
    """The distance of two numbers that are tried; must be 1 with `log`."""
    log: bool = False
    """Whether the logarithm is searched: as many tries from 10 to 100 as from 100 to 1000."""

    @model_validator(mode="after")
    def _check(self) -> "IntRange":
        _check_bounds(*self.bounds, log=self.log)
        if self.log and self.step != 1:
            raise ValueError("step must be 1 with log")
        low, high = self.bounds
        if (high - low) % self.step:
            raise ValueError(
                f"the numbers must be a multiple of step apart, for instance {high - (high - low) % self.step}"
            )
        return self

    def examples(self) -> tuple[int, ...]:
        """Return the ends of the range."""
        return self.bounds

    def has(self, value: Any) -> bool:
        """Return whether a value is one of those that can be tried."""
        low, high = self.bounds
        return type(value) is int and low <= value <= high and (value - low) % self.step == 0


class FloatRange(BaseModel):
    """Numbers from a lowest to a highest."""

    model_config = Bounds
    kind: ClassVar[str] = "float"

    bounds: Annotated[tuple[float, float], Field(strict=False, alias="float")]
    """The lowest and the highest."""
    log: bool = False
    """Whether the logarithm is searched."""

    @model_validator(mode="after")
    def _check(self) -> "FloatRange":
        _check_bounds(*self.bounds, log=self.log)
        return self

    def examples(self) -> tuple[float, ...]:
        """Return the ends of the range."""
        return self.bounds

    def has(self, value: Any) -> bool:
        """Return whether a value is one of those that can be tried."""
        return type(value) in {int, float} and self.bounds[0] <= value <= self.bounds[1]


class Categorical(BaseModel):
    """Some values without an order."""

    model_config = Bounds
    kind: ClassVar[str] = "categorical"

    choices: Annotated[tuple[Value, ...], Field(strict=False, min_length=1, max_length=100, alias="categorical")]

    @model_validator(mode="after")
    def _check(self) -> "Categorical":
        if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
            raise ValueError("a value occurs twice")
        return self

    def examples(self) -> tuple[Value, ...]:
        """Return all values."""
        return self.choices

    def has(self, value: Any) -> bool:
        """Return whether a value is one of those that can be tried."""
        return any(type(choice) is type(value) and choice == value for choice in self.choices)


Range = IntRange | FloatRange | Categorical
RANGES: tuple[type[Range], ...] = (IntRange, FloatRange, Categorical)


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
        ranges = {key: one.model_dump(mode="json", by_alias=True) for key, one in self.search.items()}
        return {"recipe": self.config().model_dump(mode="json"), "search": ranges}


def load_space(path: Path) -> Space:
    """Read the space of a search from a YAML file.

    Args:
        path: A file of at most 100,000 bytes, UTF-8. The path of a recipe in it is relative to its folder.

    Raises:
        CharlmError: the file cannot be read or is not of the form above, the recipe cannot be read, or a key or a value
            at an end of a range is not valid.

    """
    try:
        text = read_file(path, limit=MAX_CONFIG_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: cannot be read as a search space: not UTF-8 text") from None
    values = parse_yaml(text, origin=str(path))
    sections = _check_sections(values, path)
    recipe = sections.get("recipe", "default")
    if not isinstance(recipe, str):
        raise CharlmError(f"{path}: recipe: found {shorten(recipe)}; must be the name of a recipe or a YAML file")
    is_file = Path(recipe).suffix in {".yaml", ".yml"}
    ranges = {key: _parse_range(f"{path}: search: {key}", value) for key, value in sections["search"].items()}
    found = path.parent / recipe if is_file else find_recipe(recipe)
    space = Space(path, found, fixed=sections.get("fixed") or {}, search=ranges)
    _check_keys(space)
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
    forms = "{int: [low, high]}, {float: [low, high]} or {categorical: [value, ...]}"
    kinds = [kind for kind in RANGES if isinstance(value, dict) and kind.kind in value]
    if len(kinds) != 1:
        raise CharlmError(f"{origin}: found {shorten(value)}; must be {forms}")
    try:
        return kinds[0].model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(
            f"{part}: " for part in first["loc"] if part not in {"str", "int", "float", "bool"} or part == kinds[0].kind
        )
        raise CharlmError(f"{origin}: {place}found {shorten(first['input'])}; {demand(first)}") from None


def _check_bounds(low: float, high: float, *, log: bool) -> None:
    if not low < high:
        raise ValueError("the first number must be less than the second")
    if log and low <= 0:
        raise ValueError("log needs numbers above 0")
    if math.isinf(high - low):
        raise ValueError("the numbers are too far apart")


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


def _examples(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "fixed", {}
    for key, one in space.search.items():
        for value in one.examples():
            yield "search", {key: value}
