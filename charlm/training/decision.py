"""How a run is trained: one decision, which `train`, `plan`, `tune` and teachers share.

`decide` chooses the recipe, the length, the number of evaluations and the precision from the size of the text, what the
user gave, the time limit and the costs on this machine. It reads no text, trains nothing and looks at no clock.

The rule for a time limit comes from a measured grid: tests/bench/grid.py, docs/recipes.md.
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
from charlm.wording import counted

MEMORIZED_CHARACTERS = 2_000
"""A shorter text can only be memorised."""
FEWEST_CHARACTERS = 20
"""A shorter text is not trained on: there is nothing to learn."""
NGRAM_SHARE = 0.2
"""The largest share of a time limit in which n-grams are counted; n-grams that take longer are left out."""
USED_SHARE = 0.96
"""The share of a time limit that is planned for; the rest is for what is not measured, such as the end of the process.
"""
FEW_STEPS = 200
"""With fewer steps, a network learns little more than how often each character occurs."""


@dataclass(frozen=True)
class UserSettings:
    """Recipe, settings and time limit that the user has chosen; all are kept, except for n-grams that do not fit into the time or the memory."""

    recipe: str | None = None
    """Name or file of a recipe; None = the decision chooses one."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings that replace those of the recipe, by sections as in a YAML file."""
    architecture: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the network whose weights training begins with, by dotted keys; empty = random weights."""
    minutes: float | None = None
    """The time limit of the whole command, in minutes."""

    @property
    def length_key(self) -> str | None:
        """The setting that gives the length of the run; None if no setting does."""
        training = self.overrides.get("training")
        if not isinstance(training, Mapping):
            return None
        return next(
            (f"training.{name}" for name in ("epochs", "steps") if training.get(name) is not None),
            None,
        )

    def sets(self, key: str) -> bool:
        """Return whether a setting of the section `training` is among the overrides."""
        training = self.overrides.get("training")
        return isinstance(training, Mapping) and key in training

    def config(self, recipe: str | None) -> Config:
        """Return the config that a recipe and everything given make together.

        Args:
            recipe: A name in configs/ or a YAML file; None = the defaults.

        Raises:
            CharlmError: the recipe cannot be read, or a key or value is not valid.

        """
        others = merge(nest(self.architecture.items()), self.overrides)
        if self.length_key or self.minutes:
            others = merge({"training": {"earlier_lengths": []}}, others)
        if recipe is None:
            return parse_config(others, origin="override")
        path = find_recipe(recipe)
        config = load_config(path, overrides=others)
        return config.model_copy(update={"recipe": config.recipe or path.stem})

    def config_of(self, config: Config) -> Config:
        """Return a config with the overrides of the user; raises CharlmError if one is not valid."""
        return parse_config(
            merge(config.model_dump(mode="json"), self.overrides), origin="override"
        )

    def check(self) -> Config:
        """Check everything that can be checked before the text is read; return a config with the corpus settings.

        Raises:
            CharlmError: a recipe, key or value is not valid, for any recipe that may be chosen; or the minutes are
                given together with a length or teachers.

        """
        self.check_minutes()
        minutes = self.minutes
        config = self.config(self.recipe) if self.recipe is not None else self._any_config()
        if minutes is not None and config.training.used_teachers.seeds:
            raise CharlmError(
                f"minutes {minutes:g}: the recipe trains teachers first, for as long as they need; leave them out: "
                f"training.teachers=null"
            )
        return config

    def check_minutes(self) -> None:
        """Raise CharlmError if both a time limit and a length are user."""
        minutes = self.minutes
        if minutes is not None and self.length_key:
            raise CharlmError(
                f"minutes {minutes:g}: sets the length, and so does {self.length_key}; leave one of them out"
            )

    def _any_config(self) -> Config:
        """Return the config of the first recipe that takes the overrides; raise the first error if none does."""
        problems: list[CharlmError] = []
        for recipe in CHOSEN:
            try:
                return self.config(recipe)
            except CharlmError as error:
                problems.append(error)
        raise problems[0]


@dataclass(frozen=True)
class Choice:
    """A recipe that may be chosen without being named, and when."""

    recipe: str | None
    """A name in configs/, or whatever the user named."""
    reason: str
    """Why, for the user; "" = the user named it."""
    fewest_epochs: float = 0.0
    """With a time limit, it is chosen if it reads the training text at least so often."""
    fewest_characters: int = 0
    """With a time limit, it is chosen if it reads at least so many characters, repetitions counted."""
    minutes: float | None = None
    """The time limit if the user gave none; None = the length in the recipe."""
    better: str | None = None
    """A recipe that scores better and takes longer, or None."""


MEMORIZE = Choice(
    "memorize",
    f"a text below {MEMORIZED_CHARACTERS:,} characters can only be memorised: it is trained "
    "without a validation part, until it can be recited",
)
QUICK = Choice("quick", "two layers and small batches learn the most in so short a time")
CHOICES: Mapping[float, tuple[Choice, ...]] = {
    60_000: (
        Choice(
            "small",
            "a narrow network and n-grams delay that so short a text is memorised",
            fewest_epochs=8,
        ),
        QUICK,
    ),
    500_000: (
        Choice(
            "default",
            "dropout and n-grams keep the network from memorising such a text",
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
            "such a long text is barely memorised: wide layers, no dropout",
            fewest_characters=16_000_000,
            minutes=10,
        ),
        Choice(
            "shakespeare",
            "four narrow layers read more of such a long text in this time",
            fewest_characters=1_800_000,
        ),
        QUICK,
    ),
}
"""The recipes for a text with fewer characters of training text than the key, the best one first.

Without a time limit the first is chosen; with one, the first that reads enough in that time.
"""
CHOSEN = (
    "default",
    *dict.fromkeys(choice.recipe for choices in CHOICES.values() for choice in choices),
)
"""Every recipe that may be chosen, in the order in which overrides are checked against them."""


@dataclass(frozen=True)
class Decision:
    """How a run is trained."""

    recipe: str | None
    """The name of the recipe; None = the run has none."""
    config: Config
    """Every setting, with the length, the evaluations and the precision decided."""
    steps: int
    """The length of the run."""
    evaluations: int
    precision: FastPrecision
    """The number format of the products, and why."""
    reason: str
    """Why this recipe, for the user; "" = the user named it."""
    notes: tuple[NgramsLeftOut | FewSteps, ...]
    """What else was decided for the user."""
    minutes: float | None
    """The time limit; None = the run is as long as its config says."""
    better: str | None
    """A recipe that scores better and takes longer, or None."""

    def event(self, batches: Batches) -> Decided:
        """Return the decision as an event.

        Args:
            batches: How the training text is cut into windows.

        """
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
) -> Decision:
    """Decide how a run is trained.

    Args:
        text: The size of the text.
        user: What the user gave.
        costs_of: Returns the costs of a run on this machine.
        precision: The number format that this processor multiplies faster.
        spent_seconds: How much of the time limit is over; what has been spent is not in the costs.
        memory_bytes: The memory of this machine; None = unknown.
        kept: The recipe that was chosen before; None = choose freely.
        tolerance: By which factor the costs may be wrong before another recipe replaces that one.

    Raises:
        CharlmError: the text is too short, or as `UserSettings.config`.

    """
    characters = (
        text.training + text.validation - (2 if text.is_memorized else 0)
    )  # without the end_of_text ids
    if characters < FEWEST_CHARACTERS:
        raise CharlmError(
            f"the text has {counted(characters, 'character')}; expected at least {FEWEST_CHARACTERS}"
        )
    choice = _choose(
        text, user, costs_of, spent_seconds=spent_seconds, kept=kept, tolerance=tolerance
    )
    config = user.config(choice.recipe)
    settings = config.training
    decided = precision
    if settings.precision == "auto":
        settings = settings.model_copy(update={"precision": precision.name})
    else:
        decided = FastPrecision(settings.precision, "as the recipe or a setting asks for")
    minutes = _minutes(user, choice)
    costs = costs_of(config, text)
    notes: list[NgramsLeftOut | FewSteps] = []
    problem = None
    if settings.ngram_weight:
        is_strict = (
            not choice.reason and minutes is None
        )  # what was asked for is refused instead, elsewhere
        memory = None if is_strict else memory_bytes
        problem = _ngram_problem(text, costs.ngram_seconds, minutes=minutes, memory_bytes=memory)
    if problem is not None:
        notes.append(problem)
        settings = settings.model_copy(update={"ngram_weight": 0.0})
        costs = replace(costs, ngram_seconds=0.0)
    if minutes is not None:
        left = USED_SHARE * 60 * minutes - spent_seconds - costs.start_seconds
        settings = _fitted(settings, user, costs, left)
        notes += _few_steps(settings, costs, 60 * minutes - left)
    config = config.model_copy(update={"training": settings})
    return Decision(
        recipe=config.recipe,
        config=config,
        steps=make_schedule(settings, batches_of(config, text.training)[0]).total,
        evaluations=settings.evaluations,
        precision=decided,
        reason=choice.reason,
        notes=tuple(notes),
        minutes=minutes,
        better=None if user.minutes else choice.better,
    )


def _minutes(user: UserSettings, choice: Choice) -> float | None:
    """Return the time limit of a run; None = it has none."""
    if user.minutes is not None:
        return user.minutes
    return None if user.length_key else choice.minutes


def _choose(
    text: TextFacts,
    user: UserSettings,
    costs_of: CostsOf,
    *,
    spent_seconds: float,
    kept: str | None,
    tolerance: float,
) -> Choice:
    """Return the recipe that the user named, or the one with the lowest expected loss."""
    if user.recipe is not None:
        return Choice(user.recipe, "")
    if text.is_memorized:
        return MEMORIZE
    choices = next(choices for limit, choices in CHOICES.items() if text.training < limit)
    minutes = _minutes(user, choices[0])
    if minutes is None:
        return choices[0]
    factor = 1.0 if kept is None else tolerance
    for choice in choices:
        if choice.recipe == kept:
            factor = 1 / tolerance
        characters = _characters_within(
            user.config(choice.recipe), text, costs_of, minutes, spent_seconds
        )
        fewest = max(choice.fewest_characters, choice.fewest_epochs * text.training)
        if fewest == 0 or characters >= factor * fewest:
            break
    return replace(choice, minutes=choices[0].minutes)


def _characters_within(
    config: Config, text: TextFacts, costs_of: CostsOf, minutes: float, spent_seconds: float
) -> float:
    """Return how many characters a recipe reads within a time limit, repetitions counted."""
    costs = costs_of(config, text)
    if costs.ngram_seconds > NGRAM_SHARE * 60 * minutes:
        costs = replace(costs, ngram_seconds=0.0)  # they are left out
    left = USED_SHARE * 60 * minutes - spent_seconds - costs.start_seconds
    settings = config.training
    settings = settings.model_copy(update={"evaluations": costs.evaluations_within(settings, left)})
    batches, _ = batches_of(config, text.training)
    steps = costs.steps_within(settings, left)
    return steps * mean_growth(settings) * batches.characters_per_step


def _ngram_problem(
    text: TextFacts, seconds: float, *, minutes: float | None, memory_bytes: int | None
) -> NgramsLeftOut | None:
    """Return why a run does without the n-grams that its recipe asks for; None = it has them."""
    if minutes is not None and seconds > NGRAM_SHARE * 60 * minutes:
        return NgramsLeftOut(seconds=seconds, memory_bytes=None)
    needed = DTYPE.itemsize * text.training * text.vocabulary
    if memory_bytes is not None and needed > MEMORY_SHARE * memory_bytes:
        return NgramsLeftOut(seconds=None, memory_bytes=needed)
    return None


def _fitted(
    settings: TrainingConfig, user: UserSettings, costs: Costs, left: float
) -> TrainingConfig:
    """Return settings with the steps and evaluations that fit into the seconds that are left."""
    if not user.sets("evaluations"):
        settings = settings.model_copy(
            update={"evaluations": costs.evaluations_within(settings, left)}
        )
    steps = max(1, costs.steps_within(settings, left))
    if user.minutes is None:
        steps = max(steps, FEW_STEPS)
    return settings.with_steps(steps)


def _few_steps(settings: TrainingConfig, costs: Costs, spent_seconds: float) -> list[FewSteps]:
    """Return a note that says how much time would allow enough steps; none if there are enough."""
    steps = settings.steps or 0
    if steps >= FEW_STEPS:
        return []
    evaluations = settings.evaluations * costs.evaluation_seconds
    others = (
        costs.run_seconds(settings, FEW_STEPS)
        - min(FEW_STEPS, settings.evaluations) * costs.evaluation_seconds
    )
    needed = (
        spent_seconds + max(others + evaluations, others / (1 - EVALUATION_SHARE))
    ) / USED_SHARE
    return [FewSteps(steps, enough=FEW_STEPS, enough_minutes=math.ceil(needed / 6) / 10)]


def batches_of(config: Config, training_characters: int) -> tuple[Batches, BatchesReduced | None]:
    """Return how a training text is cut into windows, and what was reduced for a short one, see `fit_batches`."""
    settings = config.training
    return fit_batches(
        training_characters,
        batch_size=settings.batch_size,
        sequence_length=settings.sequence_length,
        seed=config.seed if settings.data_seed is None else settings.data_seed,
        shuffle=settings.shuffle,
    )
