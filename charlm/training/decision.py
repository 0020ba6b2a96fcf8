"""The decision on how a run is trained, shared by `train`, `plan`, `tune` and teachers.

`decide` chooses the recipe, the length, the number of evaluations and the precision. It needs the
size of the text, the user's settings, the time limit and the costs on this machine. It reads no
text, trains nothing and uses no clock.

The choice of a recipe for a time limit was measured, see tests/bench/grid.py and docs/recipes.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from charlm.config.file import load_config, nest, parse_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, TrainingConfig, merge
from charlm.errors import CharlmError
from charlm.events import BatchesReduced, Decided, FewSteps, NgramsLeftOut
from charlm.hardware import FastPrecision
from charlm.text.batches import Batches, fit_batches
from charlm.training.costs import EVALUATION_SHARE, Costs, CostsOf, TextFacts, estimate_costs
from charlm.training.schedule import make_schedule, mean_growth
from charlm.training.soft_targets import DTYPE, MEMORY_SHARE
from charlm.training.suggestion import FEW_STEPS
from charlm.wording import counted

MEMORIZED_CHARACTERS = 2_000
"""Length below which a text can only be memorised."""
FEWEST_CHARACTERS = 20
"""Length below which a text is refused, since a network can learn nothing from it."""
NGRAM_SHARE = 0.2
"""Largest share of a time limit for counting n-grams; if it is too short, n-grams are left out."""
USED_SHARE = 0.96
"""Share of a time limit that is planned; the rest is for unmeasured work, such as the exit."""


@dataclass(frozen=True)
class UserSettings:
    """Recipe, settings and time limit that the user has chosen.

    All choices are kept, except for n-grams if there is not enough time or memory for them.
    """

    recipe: str | None = None
    """Name or file of a recipe; None = choose a recipe."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings that replace the values in the recipe, nested by section as in a YAML file."""
    architecture: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the network with the initial weights, by dotted keys; empty = random weights."""
    minutes: float | None = None
    """Time limit of the whole command."""

    @property
    def training(self) -> Mapping[str, Any]:
        """The section `training` of the overrides; empty if it is missing or not valid."""
        training = self.overrides.get("training")
        return training if isinstance(training, Mapping) else {}

    @property
    def length_key(self) -> str | None:
        """Key of the override that gives the length of the run, or None."""
        for name in ("epochs", "steps"):
            if self.training.get(name) is not None:
                return f"training.{name}"
        return None

    def config(self, recipe: str | None) -> Config:
        """Return the config of a recipe (None = the defaults) with the user's settings.

        Raises:
            CharlmError: The recipe cannot be read, or a key or value is not valid.

        """
        settings = merge(nest(self.architecture.items()), self.overrides)
        if self.length_key or self.minutes:
            settings = merge({"training": {"earlier_lengths": []}}, settings)
        if recipe is None:
            return parse_config(settings, origin="override")
        path = find_recipe(recipe)
        config = load_config(path, overrides=settings)
        return config.model_copy(update={"recipe": config.recipe or path.stem})

    def config_of(self, config: Config) -> Config:
        """Return a config with the user's overrides; raises CharlmError for an invalid override."""
        settings = merge(config.model_dump(mode="json"), self.overrides)
        return parse_config(settings, origin="override")

    def check(self) -> Config:
        """Check what can be checked before the text is read; return a config for reading the text.

        Raises:
            CharlmError: No recipe that may be chosen accepts the overrides, or a time limit is
                combined with a length or with teachers.

        """
        self.check_minutes()
        config = self._first_valid_config()
        if self.minutes is not None and config.training.used_teachers.seeds:
            raise CharlmError(
                f"minutes {self.minutes:g}: a time limit cannot be combined with teachers, which "
                "are trained first; leave out the limit, or set training.teachers=null"
            )
        return config

    def check_minutes(self) -> None:
        """Raise CharlmError if the user has given both a time limit and a length."""
        if self.minutes is not None and self.length_key:
            raise CharlmError(
                f"minutes {self.minutes:g}: {self.length_key} sets the length too; leave "
                f"out one of the two"
            )

    def _first_valid_config(self) -> Config:
        """Return the config of the user's recipe, or of the first recipe that the overrides fit."""
        problems: list[CharlmError] = []
        for recipe in CHOSEN if self.recipe is None else (self.recipe,):
            try:
                return self.config(recipe)
            except CharlmError as error:
                problems.append(error)
        raise problems[0]


@dataclass(frozen=True)
class Choice:
    """A recipe that may be chosen, and the condition for it."""

    recipe: str | None
    """Name in configs/, or the recipe that the user named."""
    reason: str
    """Explanation for the user; "" if the user named the recipe."""
    fewest_epochs: float = 0.0
    """Number of passes over the training text that must fit into a time limit."""
    fewest_characters: int = 0
    """Number of characters, over all epochs, that must fit into a time limit."""
    minutes: float | None = None
    """Time limit if the user gave none; None = train for the length in the recipe."""
    better: str | None = None
    """Recipe with a lower loss that takes longer, or None."""


MEMORIZE = Choice(
    "memorize",
    f"a text below {MEMORIZED_CHARACTERS:,} characters can only be memorised: training uses all "
    "of it, and ends when the network recites it",
)
QUICK = Choice("quick", "two layers and small batches learn the most in such a short time")
Choices = Mapping[float, tuple[Choice, ...]]
"""Recipes for texts whose training part has fewer characters than the key, the best recipe first.

Without a time limit, the first recipe is chosen; with a time limit, the first recipe that reads
enough characters in that time.
"""
CHOICES: Choices = {
    60_000: (
        Choice(
            "small",
            "a narrow network and n-grams keep the network from memorising such a short text "
            "too soon",
            fewest_epochs=8,
        ),
        QUICK,
    ),
    500_000: (
        Choice(
            "default",
            "dropout and n-grams keep the network from memorising a text of this size",
            fewest_epochs=8,
        ),
        QUICK,
    ),
    2_000_000: (
        Choice(
            "shakespeare",
            "four narrow layers learn a text of about a million characters in minutes",
            fewest_characters=1_800_000,
            better="shakespeare-15m",
        ),
        QUICK,
    ),
    math.inf: (
        Choice(
            "5mb",
            "a text of this size is too long to memorise, so wide layers need no dropout",
            fewest_characters=16_000_000,
            minutes=10,
        ),
        Choice(
            "shakespeare",
            "four narrow layers read more of such a long text in this time than wide layers",
            fewest_characters=1_800_000,
        ),
        QUICK,
    ),
}
CHOSEN = (
    "default",
    *dict.fromkeys(choice.recipe for choices in CHOICES.values() for choice in choices),
)
"""Recipes that may be chosen. Overrides must fit at least one, tried in this order."""


@dataclass(frozen=True)
class Decision:
    """A decision on how a run is trained."""

    recipe: str | None
    """Name of the recipe; None if the run has none."""
    config: Config
    """Every setting, with the length, the evaluations and the precision decided."""
    steps: int
    """Length of the run."""
    evaluations: int
    precision: FastPrecision
    """Number format of the matrix products, and the reason for it."""
    reason: str
    """Explanation for the user of why this recipe was chosen; "" if the user named it."""
    notes: tuple[NgramsLeftOut | FewSteps, ...]
    """Other decisions that the user should know about."""
    minutes: float | None
    """Time limit; None = the run has the length in its config."""
    better: str | None
    """Recipe with a lower loss that takes longer, or None."""

    def event(self, batches: Batches) -> Decided:
        """Return the event of this decision, for a run that reads the given batches."""
        return Decided(
            recipe=self.recipe,
            reason=self.reason,
            better=self.better,
            minutes=self.minutes,
            steps=self.steps,
            epochs=make_schedule(self.config.training, batches).epochs(self.steps),
            evaluations=self.evaluations,
        )


def decide(
    text: TextFacts,
    user: UserSettings,
    *,
    precision: FastPrecision,
    costs_of: CostsOf = estimate_costs,
    spent_seconds: float = 0.0,
    memory_bytes: int | None = None,
    kept: str | None = None,
    tolerance: float = math.inf,
    choices: Choices = CHOICES,
) -> Decision:
    """Decide how a run is trained.

    Args:
        text: Size of the text.
        user: Choices of the user.
        precision: Fastest number format of this processor.
        costs_of: Function that returns the costs of a run on this machine.
        spent_seconds: Time of the command until now.
        memory_bytes: Memory of this machine; None = unknown.
        kept: Recipe that was chosen before; None = choose freely.
        tolerance: Factor by which costs may be wrong before that recipe is replaced.
        choices: Recipes to choose from.

    Raises:
        CharlmError: The text is too short, or `UserSettings.config` raises it.

    """
    _check_length(text)
    choice = _choose(
        text,
        user,
        costs_of,
        choices,
        spent_seconds=spent_seconds,
        kept=kept,
        tolerance=tolerance,
    )
    minutes = _minutes(user, choice)
    config = user.config(choice.recipe)
    settings = config.training
    costs = costs_of(config, text)
    notes: list[NgramsLeftOut | FewSteps] = []
    if settings.precision == "auto":
        settings = settings.model_copy(update={"precision": precision.name})
    else:
        precision = FastPrecision(settings.precision, "set by the recipe or the user")
    if minutes is None and not choice.reason:
        memory_bytes = None  # n-grams that the user asked for are refused later, not left out
    problem = _ngram_problem(settings, text, costs, minutes=minutes, memory_bytes=memory_bytes)
    if problem is not None:
        notes.append(problem)
        settings = settings.model_copy(update={"ngram_weight": 0.0})
        costs = replace(costs, ngram_seconds=0.0)
    if minutes is not None:
        left = _seconds_left(minutes, spent_seconds, costs)
        settings = _fit_length(settings, user, costs, left)
        notes += _few_steps(settings, costs, 60 * minutes - left)
    config = config.model_copy(update={"training": settings})
    return Decision(
        recipe=config.recipe,
        config=config,
        steps=make_schedule(settings, batches_of(config, text.training)[0]).total,
        evaluations=settings.evaluations,
        precision=precision,
        reason=choice.reason,
        notes=tuple(notes),
        minutes=minutes,
        better=None if user.minutes else choice.better,
    )


def _check_length(text: TextFacts) -> None:
    characters = text.training + text.validation
    if text.is_memorized:
        characters -= 2  # the end_of_text ids
    if characters < FEWEST_CHARACTERS:
        raise CharlmError(
            f"the text has {counted(characters, 'character')}; expected at least "
            f"{FEWEST_CHARACTERS}"
        )


def _minutes(user: UserSettings, choice: Choice) -> float | None:
    if user.minutes is not None:
        return user.minutes
    return None if user.length_key else choice.minutes


def _seconds_left(minutes: float, spent_seconds: float, costs: Costs) -> float:
    """Return the seconds of a time limit that remain after the start of a run."""
    return USED_SHARE * 60 * minutes - spent_seconds - costs.start_seconds


def _choose(
    text: TextFacts,
    user: UserSettings,
    costs_of: CostsOf,
    choices: Choices,
    *,
    spent_seconds: float,
    kept: str | None,
    tolerance: float,
) -> Choice:
    """Return the recipe that the user named, or the recipe with the lowest expected loss."""
    if user.recipe is not None:
        return Choice(user.recipe, "")
    if text.is_memorized:
        return MEMORIZE
    suitable = next(suitable for limit, suitable in choices.items() if text.training < limit)
    minutes = _minutes(user, suitable[0])
    if minutes is None:
        return suitable[0]
    factor = 1.0 if kept is None else tolerance
    for choice in suitable:
        if choice.recipe == kept:
            factor = 1 / tolerance
        fewest = max(choice.fewest_characters, choice.fewest_epochs * text.training)
        config = user.config(choice.recipe)
        characters = _characters_within(config, text, costs_of, minutes, spent_seconds)
        if fewest == 0 or characters >= factor * fewest:
            break
    return replace(choice, minutes=suitable[0].minutes)


def _characters_within(
    config: Config, text: TextFacts, costs_of: CostsOf, minutes: float, spent_seconds: float
) -> float:
    """Return how many characters a recipe can read, over all epochs."""
    costs = costs_of(config, text)
    if costs.ngram_seconds > NGRAM_SHARE * 60 * minutes:
        costs = replace(costs, ngram_seconds=0.0)  # n-grams would be left out
    left = _seconds_left(minutes, spent_seconds, costs)
    evaluations = costs.evaluations_within(config.training, left)
    settings = config.training.model_copy(update={"evaluations": evaluations})
    batches, _ = batches_of(config, text.training)
    return costs.steps_within(settings, left) * mean_growth(settings) * batches.characters_per_step


def _ngram_problem(
    settings: TrainingConfig,
    text: TextFacts,
    costs: Costs,
    *,
    minutes: float | None,
    memory_bytes: int | None,
) -> NgramsLeftOut | None:
    """Return why the n-grams of a recipe must be left out, or None."""
    if not settings.ngram_weight:
        return None
    if minutes is not None and costs.ngram_seconds > NGRAM_SHARE * 60 * minutes:
        return NgramsLeftOut(seconds=costs.ngram_seconds, memory_bytes=None)
    needed_bytes = DTYPE.itemsize * text.training * text.vocabulary
    if memory_bytes is not None and needed_bytes > MEMORY_SHARE * memory_bytes:
        return NgramsLeftOut(seconds=None, memory_bytes=needed_bytes)
    return None


def _fit_length(
    settings: TrainingConfig, user: UserSettings, costs: Costs, left: float
) -> TrainingConfig:
    """Return settings with the steps and evaluations that fit into the seconds left."""
    if "evaluations" not in user.training:
        evaluations = costs.evaluations_within(settings, left)
        settings = settings.model_copy(update={"evaluations": evaluations})
    fewest = FEW_STEPS if user.minutes is None else 1
    return settings.with_steps(max(fewest, costs.steps_within(settings, left)))


def _few_steps(settings: TrainingConfig, costs: Costs, spent_seconds: float) -> list[FewSteps]:
    """Return a note with the time that would allow enough steps; none if there are enough."""
    steps = settings.steps or 0
    if steps >= FEW_STEPS:
        return []
    seconds = costs.seconds_without_evaluations(settings, FEW_STEPS)
    evaluations = settings.evaluations * costs.evaluation_seconds
    seconds = max(seconds + evaluations, seconds / (1 - EVALUATION_SHARE))
    minutes = math.ceil((spent_seconds + seconds) / USED_SHARE / 6) / 10
    return [FewSteps(steps, enough=FEW_STEPS, enough_minutes=minutes)]


def batches_of(config: Config, training_characters: int) -> tuple[Batches, BatchesReduced | None]:
    """Return the batches of a training text, and an event if it is too short for the settings."""
    settings = config.training
    return fit_batches(
        training_characters,
        batch_size=settings.batch_size,
        sequence_length=settings.sequence_length,
        seed=config.seed if settings.data_seed is None else settings.data_seed,
        shuffle=settings.shuffle,
    )
