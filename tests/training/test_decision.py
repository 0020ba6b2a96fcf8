"""Decisions on how a run is trained, made without reading a text or training anything."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charlm.config.file import flatten, load_config, parse_overrides
from charlm.config.recipes import find_recipe, recipe_names
from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.events import FewSteps, NgramsLeftOut
from charlm.hardware import FastPrecision
from charlm.training.costs import Costs, CostsOf, TextFacts, estimate_costs, fixed_share
from charlm.training.decision import Choice, Decision, UserSettings, batches_of, decide
from charlm.training.schedule import make_schedule

FLOAT32 = FastPrecision("float32", "this processor has no instructions that multiply bfloat16")
BFLOAT16 = FastPrecision("bfloat16", "this processor multiplies it in tiles")
MUON_CHARACTERS = 300_000
"""Characters of a text whose recipe uses Muon."""
COSTS = Costs(step_seconds=0.1, evaluation_seconds=1.0, start_seconds=3.0, end_seconds=2.0)
MOMENTUM = "training.optimizer.momentum=0.9"
"""A setting that recipes with Muon accept and recipes with Adam refuse."""

each_length = pytest.mark.parametrize(
    "minutes",
    [
        None,
        0.1,
        pytest.param(1.0, marks=pytest.mark.slow),
        pytest.param(10.0, marks=pytest.mark.slow),
        60.0,
    ],
)
each_size = pytest.mark.parametrize(
    "characters",
    [
        1_000,
        50_000,
        pytest.param(400_000, marks=pytest.mark.slow),
        1_000_000,
        10_000_000,
        pytest.param(200_000_000, marks=pytest.mark.slow),
    ],
)
each_slowness = pytest.mark.parametrize(
    "slowness", [pytest.param(0.2, marks=pytest.mark.slow), 1.0, 8.0]
)
each_recipe = pytest.mark.parametrize("recipe", ["tiny", "default", "5mb"])
each_evaluations = pytest.mark.parametrize(
    "evaluations", [[], ["training.evaluations=5"]], ids=["automatic", "set by the user"]
)


def text_of(characters: int) -> TextFacts:
    """Return the facts of a text, a tenth of which is validation text."""
    validation = characters // 10
    return TextFacts(characters - validation, validation, vocabulary=60)


def costs_on(slowness: float) -> CostsOf:
    """Return the costs on a machine with a slowness relative to the one that was measured."""
    return lambda config, text: estimate_costs(config, text, slowness=slowness)


def user_settings(
    *settings: str,
    recipe: str | None = None,
    minutes: float | None = None,
) -> UserSettings:
    return UserSettings(recipe=recipe, overrides=parse_overrides(settings), minutes=minutes)


def decide_on(
    text: int | TextFacts,
    *settings: str,
    recipe: str | None = None,
    minutes: float | None = None,
    **options: Any,
) -> Decision:
    """Decide how a run on a text, or on a text of some characters, is trained."""
    facts = text_of(text) if isinstance(text, int) else text
    user = user_settings(*settings, recipe=recipe, minutes=minutes)
    return decide(facts, user, **{"precision": FLOAT32, **options})


def decide_within(
    minutes: float | None,
    *settings: str,
    text: int | TextFacts = 100_000,
    costs: Costs = COSTS,
    **options: Any,
) -> Decision:
    """Decide about a run with a time limit whose costs, except for n-grams, are always the same."""

    def costs_of(config: Config, _text: TextFacts) -> Costs:
        return costs if config.training.ngram_weight else replace(costs, ngram_seconds=0.0)

    return decide_on(text, *settings, minutes=minutes, costs_of=costs_of, **options)


def characters_read(decision: Decision, characters: int) -> int:
    """Return how many characters a run on a text reads, over all epochs."""
    batches, _ = batches_of(decision.config, text_of(characters).training)
    return make_schedule(decision.config.training, batches).characters(decision.steps)


def seconds_of(decision: Decision, characters: int, costs: Costs) -> float:
    """Return the time of a run after its start; part of a step's time is fixed."""
    settings = decision.config.training
    full_step = settings.batch_size * settings.sequence_length
    full_steps = characters_read(decision, characters) / full_step
    fixed = fixed_share(settings)
    steps = (fixed * decision.steps + (1 - fixed) * full_steps) * costs.step_seconds
    evaluations = decision.evaluations * costs.evaluation_seconds
    ngram_seconds = costs.ngram_seconds if settings.ngram_weight else 0.0
    return steps + evaluations + ngram_seconds + costs.end_seconds


# The recipe


SMALL = Choice(
    "small",
    "a narrow network and n-grams keep the network from memorising such a short text too soon",
)
DEFAULT = Choice(
    "default", "dropout and n-grams keep the network from memorising a text of this size"
)
SHAKESPEARE = Choice(
    "shakespeare",
    "four narrow layers learn a text of about a million characters in minutes",
    better="shakespeare-15m",
)
WIDE = Choice(
    "5mb",
    "a text of this size is too long to memorise, so wide layers need no dropout",
    minutes=10,
)
NARROW = Choice(
    "shakespeare",
    "four narrow layers read more of such a long text in this time than wide layers",
)
QUICK = Choice("quick", "two layers and small batches learn the most in such a short time")


def facts_of(training: int) -> TextFacts:
    """Return the facts of a text with some characters of training text."""
    return TextFacts(training=training, validation=100, vocabulary=60)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (59_999, SMALL),
        (60_000, DEFAULT),
        (499_999, DEFAULT),
        (500_000, SHAKESPEARE),
        (1_999_999, SHAKESPEARE),
        (2_000_000, WIDE),
    ],
)
def test_the_recipe_follows_from_the_size_of_the_training_text(
    training: int, expected: Choice
) -> None:
    decision = decide_on(facts_of(training), costs_of=costs_on(0.01))
    assert decision.recipe == expected.recipe
    assert decision.reason == expected.reason
    assert decision.better == expected.better
    assert decision.minutes == expected.minutes


@pytest.mark.parametrize(
    ("training", "minutes", "step_seconds", "expected"),
    [
        pytest.param(51_200, 1, 0.0719, SMALL, id="8 epochs of small are 800 steps"),
        pytest.param(51_200, 1, 0.0721, QUICK, id="fewer epochs of small"),
        pytest.param(102_400, 1, 0.0719, DEFAULT, id="8 epochs of default are 800 steps"),
        pytest.param(102_400, 1, 0.0721, QUICK, id="fewer epochs of default"),
        pytest.param(900_000, 1, 0.2617, SHAKESPEARE, id="1,800,000 characters are 220 steps"),
        pytest.param(900_000, 1, 0.2620, QUICK, id="fewer characters of shakespeare"),
        pytest.param(9_000_000, 10, 0.2946, WIDE, id="16,000,000 characters are 1,954 steps"),
        pytest.param(9_000_000, 10, 0.2950, NARROW, id="fewer characters of 5mb"),
        pytest.param(9_000_000, 1, 0.2617, NARROW, id="1,800,000 characters of a long text"),
        pytest.param(9_000_000, 1, 0.2620, QUICK, id="fewer characters of a long text"),
    ],
)
def test_a_recipe_needs_time_to_read_enough_characters(
    training: int, minutes: float, step_seconds: float, expected: Choice
) -> None:
    """96% of the time limit is for steps; their windows do not grow."""
    costs = Costs(step_seconds, evaluation_seconds=0.0)
    setting = "training.growing_windows=false"
    decision = decide_within(minutes, setting, text=facts_of(training), costs=costs)
    assert decision.recipe == expected.recipe
    assert decision.reason == expected.reason
    assert decision.better is None


@each_slowness
@each_length
@each_size
@each_recipe
def test_a_named_recipe_is_never_replaced(
    recipe: str,
    characters: int,
    minutes: float | None,
    slowness: float,
) -> None:
    decision = decide_on(characters, recipe=recipe, minutes=minutes, costs_of=costs_on(slowness))
    named = load_config(find_recipe(recipe))
    assert (decision.recipe, decision.reason, decision.better) == (recipe, "", None)
    assert decision.config.model == named.model
    assert decision.config.training.optimizer == named.training.optimizer


@pytest.mark.parametrize("recipe", recipe_names())
def test_without_minutes_a_named_recipe_keeps_all_of_its_settings(recipe: str) -> None:
    decision = decide_on(1_000_000, "training.precision=float32", recipe=recipe)
    named = load_config(find_recipe(recipe), overrides="training.precision=float32")
    assert decision.config == named.model_copy(update={"recipe": recipe})
    assert decision.minutes is None


@each_slowness
@each_length
@each_size
def test_settings_of_the_user_are_kept(
    characters: int,
    minutes: float | None,
    slowness: float,
) -> None:
    settings = ["training.batch_size=24", "model.units=200", "seed=7"]
    decision = decide_on(characters, *settings, minutes=minutes, costs_of=costs_on(slowness))
    config = decision.config
    assert (config.training.batch_size, config.model.units, config.seed) == (24, 200, 7)


THREE_RECIPES = {
    math.inf: (
        Choice("default", "the best", fewest_epochs=4.0, minutes=20.0),
        Choice("small", "the second", fewest_epochs=2.0),
        Choice("tiny", "the last", fewest_epochs=1.0),
    )
}
"""Recipes with 87, 175 and 703 steps in an epoch of 100,000 characters."""


@pytest.mark.parametrize(
    ("minutes", "recipe"),
    [
        pytest.param(10.0, "default", id="four epochs of the best fit"),
        pytest.param(1.0, "small", id="two epochs of the second fit"),
        pytest.param(0.3, "tiny", id="no epoch fits"),
        pytest.param(None, "default", id="the time limit of the best"),
    ],
)
def test_with_a_time_limit_the_first_recipe_with_enough_epochs_is_chosen(
    minutes: float | None,
    recipe: str,
) -> None:
    """Four epochs of the best take 70 s, two of the second 35 s, one of the last 70 s."""
    step_seconds = {256: 0.2, 192: 0.1, 16: 0.1}

    def costs_of(config: Config, _text: TextFacts) -> Costs:
        return Costs(step_seconds=step_seconds[config.model.units], evaluation_seconds=0.1)

    decision = decide_on(100_000, minutes=minutes, costs_of=costs_of, choices=THREE_RECIPES)
    assert decision.recipe == recipe


def test_n_grams_that_are_left_out_do_not_count_against_a_recipe() -> None:
    """Four epochs of the best recipe take 35 s without its n-grams, which would take hours."""
    costs = Costs(step_seconds=0.1, evaluation_seconds=0.0, ngram_seconds=1e4)
    decision = decide_within(1, costs=costs, choices=THREE_RECIPES)
    assert decision.recipe == "default"
    assert decision.config.training.ngram_weight == 0


KEPT = [
    pytest.param("default", 0.001, "the best", id="the best, without any time"),
    pytest.param("small", 60, "the second", id="the second, with time for the best"),
    pytest.param("tiny", 60, "the last", id="the last, with time for the best"),
]


@pytest.mark.parametrize(("kept", "minutes", "reason"), KEPT)
def test_a_recipe_that_is_kept_is_not_replaced(kept: str, minutes: float, reason: str) -> None:
    decision = decide_within(minutes, kept=kept, choices=THREE_RECIPES)
    assert (decision.recipe, decision.reason) == (kept, reason)


@pytest.mark.parametrize(
    ("kept", "epochs", "expected"),
    [
        pytest.param("default", 3.1, "default", id="a little too few epochs of the best"),
        pytest.param("default", 3.0, "tiny", id="far too few epochs of the best"),
        pytest.param("small", 3.1, "small", id="a little too few epochs of the second"),
        pytest.param("small", 3.0, "tiny", id="far too few epochs of the second"),
        pytest.param("small", 5.1, "small", id="a few more epochs than the best needs"),
        pytest.param("small", 5.3, "default", id="many more epochs than the best needs"),
        pytest.param(None, 4.1, "default", id="nothing was chosen before"),
        pytest.param(None, 3.9, "tiny", id="too few epochs of both"),
    ],
)
def test_a_recipe_is_replaced_only_if_its_costs_were_wrong_by_more_than_the_tolerance(
    kept: str | None, epochs: float, expected: str
) -> None:
    """The limit of 4 epochs of the best becomes 3.08 or 5.2; two of the second take as long."""
    steps = epochs * 90_000 / (16 * 64)
    costs = Costs(step_seconds=57.6 / steps, evaluation_seconds=0.0)
    decision = decide_within(1, costs=costs, kept=kept, tolerance=1.3, choices=THREE_RECIPES)
    assert decision.recipe == expected


def test_no_better_recipe_is_proposed_within_a_time_limit_of_the_user() -> None:
    decision = decide_on(1_000_000, minutes=60)
    assert (decision.recipe, decision.better) == ("shakespeare", None)


# Texts that are too short


@pytest.mark.parametrize(
    ("characters", "length"),
    [(0, "0 characters"), (1, "1 character"), (19, "19 characters")],
)
def test_a_text_below_20_characters_is_refused(characters: int, length: str) -> None:
    with pytest.raises(CharlmError, match=f"the text has {length}; expected at least 20"):
        decide_on(characters)


MEMORIZED = TextFacts(training=902, validation=0, vocabulary=60, is_memorized=True)


def test_a_text_that_is_to_be_recited_is_memorised() -> None:
    decision = decide_on(MEMORIZED)
    assert decision.recipe == "memorize"
    assert decision.reason == (
        "a text below 2,000 characters can only be memorised: training uses all of it, and ends "
        "when the network recites it"
    )
    assert decision.config.training.until_recited


def test_a_text_can_be_memorised_within_a_time_limit() -> None:
    decision = decide_within(1, text=MEMORIZED)
    assert (decision.recipe, decision.minutes) == ("memorize", 1)


# Checks before the text is read


def test_an_override_that_only_some_recipes_accept_is_accepted_without_a_recipe() -> None:
    assert user_settings(MOMENTUM).check().training.optimizer.momentum == 0.9


def test_an_override_that_the_chosen_recipe_accepts_is_used() -> None:
    optimizer = decide_on(MUON_CHARACTERS, MOMENTUM).config.training.optimizer
    assert (optimizer.name, optimizer.momentum) == ("muon", 0.9)


def test_an_override_that_the_named_recipe_does_not_accept_is_refused() -> None:
    with pytest.raises(CharlmError, match="adam has no momentum"):
        user_settings(MOMENTUM, recipe="tiny").check()


@pytest.mark.parametrize("recipe", [None, "tiny"])
def test_an_unknown_key_is_refused(recipe: str | None) -> None:
    with pytest.raises(CharlmError, match=r"training\.step: .* did you mean training\.steps=5\?"):
        user_settings("training.step=5", recipe=recipe).check()


def test_a_recipe_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CharlmError, match=r"^tinny: .* did you mean tiny\?"):
        user_settings(recipe="tinny").check()


@pytest.mark.parametrize("key", ["steps", "epochs"])
def test_minutes_with_another_length_are_refused(key: str) -> None:
    user = user_settings(f"training.{key}=5", minutes=3)
    message = rf"^minutes 3: training\.{key} sets the length too; "
    with pytest.raises(CharlmError, match=message):
        user.check()


def test_minutes_without_another_length_are_accepted() -> None:
    user_settings("training.early_stopping=5", minutes=3).check()


def test_the_length_is_not_a_key_that_is_null() -> None:
    user = user_settings("training.epochs=null", "training.steps=7")
    assert user.length_key == "training.steps"


def test_minutes_with_teachers_are_refused() -> None:
    teachers = "training.teachers={recipe: tiny, seeds: [2]}"
    with pytest.raises(CharlmError, match=r"^minutes 3: .* training\.teachers=null$"):
        user_settings(teachers, minutes=3).check()


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(
            {"teachers": {"recipe": "tiny", "seeds": [2]}, "teacher_weight": 0},
            id="teachers without weight",
        ),
        pytest.param({"teachers": {"models": ["a.safetensors"]}}, id="trained models"),
    ],
)
def test_minutes_with_teachers_that_are_not_trained_are_accepted(
    training: Mapping[str, Any],
) -> None:
    UserSettings(recipe="tiny", overrides={"training": training}, minutes=3).check()


# Precision


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_automatic_precision_is_the_one_that_the_processor_multiplies_faster(
    precision: FastPrecision,
) -> None:
    decision = decide_on(MUON_CHARACTERS, "training.precision=auto", precision=precision)
    assert decision.precision == precision
    assert decision.config.training.precision == precision.name


@pytest.mark.parametrize(("explicit", "precision"), [("float32", BFLOAT16), ("bfloat16", FLOAT32)])
def test_an_explicit_precision_is_kept(explicit: str, precision: FastPrecision) -> None:
    decision = decide_on(MUON_CHARACTERS, f"training.precision={explicit}", precision=precision)
    assert decision.precision.name == explicit
    assert decision.config.training.precision == explicit


# N-grams


def decide_ngrams(seconds: float, *, minutes: float | None = 1.0, **options: Any) -> Decision:
    """Decide about a run that learns from n-grams, which take some time to count."""
    costs = replace(COSTS, ngram_seconds=seconds)
    return decide_within(minutes, "training.ngram_weight=0.4", costs=costs, **options)


def check_ngrams(decision: Decision, *, reason_to_leave_out: NgramsLeftOut | None) -> None:
    """Check that a run learns from n-grams, or that they are left out for a reason."""
    is_kept = reason_to_leave_out is None
    assert decision.config.training.ngram_weight == (0.4 if is_kept else 0)
    assert decision.notes == (() if is_kept else (reason_to_leave_out,))


@pytest.mark.parametrize("seconds", [0.0, 12.0])
def test_n_grams_may_take_a_fifth_of_the_time_limit(seconds: float) -> None:
    check_ngrams(decide_ngrams(seconds), reason_to_leave_out=None)


@pytest.mark.parametrize("seconds", [12.1, 1e4])
def test_n_grams_that_take_more_than_a_fifth_of_the_time_limit_are_left_out(
    seconds: float,
) -> None:
    reason = NgramsLeftOut(seconds=seconds, memory_bytes=None)
    check_ngrams(decide_ngrams(seconds), reason_to_leave_out=reason)


def test_the_time_of_n_grams_that_are_left_out_is_used_for_steps() -> None:
    without = decide_within(1, "training.ngram_weight=0")
    assert decide_ngrams(1e4).steps == without.steps


def test_the_time_of_n_grams_that_are_counted_is_taken_from_the_steps() -> None:
    fewer = decide_ngrams(0.0).steps - decide_ngrams(10.0).steps
    assert fewer == pytest.approx(100, abs=30)  # 10 s, with up to three evaluations more or less


NEEDED = 2 * 90_000 * 60
"""Bytes of the predictions: two for each of 60 ids at each character of the training text."""


@pytest.mark.parametrize("memory_bytes", [4 * NEEDED, None], ids=["just enough", "unknown"])
def test_without_a_time_limit_n_grams_that_fit_into_memory_are_kept(
    memory_bytes: int | None,
) -> None:
    decision = decide_ngrams(1e6, minutes=None, memory_bytes=memory_bytes)
    check_ngrams(decision, reason_to_leave_out=None)


def test_n_grams_that_do_not_fit_into_memory_are_left_out() -> None:
    decision = decide_ngrams(1.0, minutes=None, memory_bytes=4 * NEEDED - 1)
    reason = NgramsLeftOut(seconds=None, memory_bytes=NEEDED)
    check_ngrams(decision, reason_to_leave_out=reason)


def test_n_grams_of_a_named_recipe_are_left_out_for_memory_within_a_time_limit() -> None:
    decision = decide_ngrams(1.0, memory_bytes=1, recipe="small")
    reason = NgramsLeftOut(seconds=None, memory_bytes=NEEDED)
    check_ngrams(decision, reason_to_leave_out=reason)


def test_n_grams_of_a_named_recipe_are_not_left_out_without_a_time_limit() -> None:
    """They are refused with an error when the run is made."""
    decision = decide_ngrams(1.0, minutes=None, memory_bytes=1, recipe="small")
    check_ngrams(decision, reason_to_leave_out=None)


def test_n_grams_that_are_not_used_are_not_mentioned() -> None:
    assert decide_within(60, "training.ngram_weight=0", memory_bytes=1).notes == ()


# The length


@pytest.mark.parametrize("spent", [0.0, 20.0])
@each_slowness
@pytest.mark.parametrize("minutes", [5.0, 10.0, 60.0])
@each_size
def test_the_run_ends_within_the_time_limit(
    characters: int,
    minutes: float,
    slowness: float,
    spent: float,
) -> None:
    costs_of = costs_on(slowness)
    decision = decide_on(characters, minutes=minutes, costs_of=costs_of, spent_seconds=spent)
    costs = costs_of(decision.config, text_of(characters))
    seconds = spent + costs.start_seconds + seconds_of(decision, characters, costs)
    assert decision.steps > 1
    assert seconds <= 60 * minutes


def test_the_run_uses_96_percent_of_the_time_limit() -> None:
    """The time until now, the start and the end leave 47.6 s of 57.6 s."""
    costs = Costs(step_seconds=0.03, evaluation_seconds=0.0, start_seconds=3.0, end_seconds=2.0)
    decision = decide_within(1, costs=costs, spent_seconds=5.0, recipe="tiny")
    assert decision.steps == 1586


@pytest.mark.parametrize("minutes", [1.0, 10.0, 60.0])
def test_a_run_with_growing_windows_uses_96_percent_of_the_time_limit(minutes: float) -> None:
    """Windows that grow may leave out their longest steps."""
    setting = "training.growing_windows=true"
    decision = decide_within(minutes, setting, text=1_000_000, spent_seconds=5.0)
    seconds = 5.0 + COSTS.start_seconds + seconds_of(decision, 1_000_000, COSTS)
    assert seconds == pytest.approx(0.96 * 60 * minutes, abs=3 * COSTS.step_seconds)


@pytest.mark.parametrize("spent", [0.0, 1e6])
@pytest.mark.parametrize("minutes", [1e-6, 0.05])
@pytest.mark.parametrize("characters", [20, 1_000, 1_000_000])
def test_a_run_has_at_least_one_step(characters: int, minutes: float, spent: float) -> None:
    costs = replace(COSTS, step_seconds=60.0)
    decision = decide_within(minutes, text=characters, costs=costs, spent_seconds=spent)
    assert decision.steps == decision.config.training.steps == 1


def test_evaluations_of_the_user_are_kept() -> None:
    costs = replace(COSTS, evaluation_seconds=100.0)
    decision = decide_within(1, "training.evaluations=9", costs=costs)
    assert decision.evaluations == decision.config.training.evaluations == 9


@pytest.mark.parametrize("evaluation_seconds", [0.0, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("minutes", [1.0, 10.0, 60.0])
def test_evaluations_take_at_most_a_fifth_of_the_time(
    minutes: float,
    evaluation_seconds: float,
) -> None:
    decision = decide_within(minutes, costs=replace(COSTS, evaluation_seconds=evaluation_seconds))
    recipe = load_config(find_recipe(str(decision.recipe)))
    assert decision.evaluations * evaluation_seconds <= 0.2 * 60 * minutes
    assert 2 <= decision.evaluations <= recipe.training.evaluations


def write_recipe(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


@pytest.mark.parametrize("evaluation_seconds", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("step_seconds", [1.0, 5.0])
@each_evaluations
def test_the_time_that_is_proposed_for_a_run_of_few_steps_allows_200(
    evaluations: list[str],
    step_seconds: float,
    evaluation_seconds: float,
) -> None:
    costs = replace(COSTS, step_seconds=step_seconds, evaluation_seconds=evaluation_seconds)
    short = decide_within(1, *evaluations, costs=costs)
    (note,) = short.notes
    assert isinstance(note, FewSteps)
    assert (note.steps, note.enough) == (short.steps, 200)
    assert short.steps < 200
    assert decide_within(note.enough_minutes, *evaluations, costs=costs).steps >= 200


@pytest.mark.parametrize(
    ("evaluation_seconds", "steps", "minutes"),
    [
        pytest.param(5.0, 32, 4.5, id="a fifth of the time is for evaluations"),
        pytest.param(20.0, 1, 5.0, id="four evaluations take 80 s"),
    ],
)
def test_the_time_that_is_proposed_is_rounded_up_to_a_tenth_of_a_minute(
    evaluation_seconds: float, steps: int, minutes: float
) -> None:
    """Two hundred steps and the end take 202 s."""
    costs = Costs(1.0, evaluation_seconds, start_seconds=3.0, end_seconds=2.0)
    decision = decide_within(1, "training.evaluations=4", costs=costs, recipe="tiny")
    assert decision.notes == (FewSteps(steps, enough=200, enough_minutes=minutes),)


def test_no_longer_time_is_proposed_for_a_run_of_200_steps() -> None:
    decision = decide_within(0.7, costs=Costs(step_seconds=0.2, evaluation_seconds=0.0))
    assert decision.steps >= 200
    assert decision.notes == ()


@each_evaluations
@each_slowness
@each_recipe
def test_more_time_never_gives_fewer_steps(
    recipe: str,
    slowness: float,
    evaluations: list[str],
) -> None:
    steps = [
        decide_on(
            1_000_000, *evaluations, recipe=recipe, minutes=minutes, costs_of=costs_on(slowness)
        ).steps
        for minutes in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 600)
    ]
    assert steps == sorted(steps)


# The time limit of a long text

LONG = 100_000_000


def test_a_long_text_has_a_time_limit() -> None:
    decision = decide_on(LONG)
    assert decision.minutes == 10
    assert decision.config.training.epochs is None


@pytest.mark.parametrize(("key", "length"), [("training.steps", 77), ("training.epochs", 2)])
def test_a_length_of_the_user_replaces_the_time_limit_of_a_long_text(key: str, length: int) -> None:
    decision = decide_on(LONG, f"{key}={length}")
    assert decision.minutes is None
    assert flatten(decision.config)[key] == length


def test_minutes_of_the_user_replace_the_time_limit_of_a_long_text() -> None:
    assert decide_on(LONG, minutes=3).minutes == 3


def test_a_named_recipe_has_no_time_limit_on_a_long_text() -> None:
    assert decide_on(LONG, recipe="5mb").minutes is None


def test_an_advised_time_limit_is_exceeded_for_200_steps() -> None:
    assert decide_within(None, text=LONG, costs=replace(COSTS, step_seconds=60.0)).steps == 200


def test_a_time_limit_of_the_user_is_not_exceeded_for_200_steps() -> None:
    assert decide_within(10, text=LONG, costs=replace(COSTS, step_seconds=60.0)).steps < 200


# The recipe of a run whose length has changed

CHANGED = """
training:
  steps: 90
  evaluations: 6
  earlier_lengths: [{until: 30, steps: 60, evaluations: 5}]
"""


@pytest.fixture
def changed() -> str:
    return write_recipe("changed.yaml", CHANGED)


def test_earlier_lengths_are_kept_without_a_new_length(changed: str) -> None:
    decision = decide_on(100_000, "seed=3", recipe=changed)
    assert [length.until for length in decision.config.training.earlier_lengths] == [30]
    assert decision.steps == 90


@pytest.mark.parametrize(
    ("setting", "steps"),
    [
        pytest.param("training.steps=20", 20, id="fewer steps"),
        pytest.param("training.steps=400", 400, id="more steps"),
        pytest.param("training.epochs=3", 3 * 21, id="epochs"),
    ],
)
def test_earlier_lengths_are_dropped_with_a_new_length(
    changed: str,
    setting: str,
    steps: int,
) -> None:
    decision = decide_on(100_000, setting, recipe=changed)
    assert decision.config.training.earlier_lengths == ()
    assert decision.steps == steps


def test_earlier_lengths_are_dropped_with_new_minutes(changed: str) -> None:
    decision = decide_within(1, recipe=changed)
    assert decision.config.training.earlier_lengths == ()
    assert decision.config.training.steps == decision.steps


def test_earlier_lengths_of_the_user_are_kept_with_a_length(changed: str) -> None:
    """An override can describe a run whose length has changed."""
    lengths = "training.earlier_lengths=[{until: 10, steps: 40, evaluations: 4}]"
    decision = decide_on(100_000, "training.steps=50", lengths, recipe=changed)
    assert [length.until for length in decision.config.training.earlier_lengths] == [10]
    assert decision.steps == 50


def test_the_name_of_a_recipe_in_the_config_of_a_run_is_kept() -> None:
    recipe = write_recipe("config.yaml", "{recipe: small, training: {steps: 5}}")
    assert decide_on(100_000, recipe=recipe).recipe == "small"


def test_a_recipe_without_a_name_has_the_name_of_its_file() -> None:
    recipe = write_recipe("mine.yaml", "training: {steps: 5}")
    assert decide_on(100_000, recipe=recipe).recipe == "mine"


# The event


@pytest.mark.parametrize("minutes", [None, 1.0])
def test_the_event_has_the_facts_of_the_decision(minutes: float | None) -> None:
    decision = decide_within(minutes, text=1_000_000)
    batches, _ = batches_of(decision.config, 900_000)
    event = decision.event(batches)
    for fact in ("recipe", "reason", "better", "minutes", "steps", "evaluations"):
        assert getattr(event, fact) == getattr(decision, fact)
    read = characters_read(decision, 1_000_000)
    assert event.epochs == pytest.approx(read / 900_000, rel=0.01)


# Estimated costs

TINY_WEIGHTS = (3 * 2 + 2 * 2 + 2) + (2 * 3 + 3)
"""Weights of a network of two units over three ids."""


def estimate(
    *settings: str,
    optimizer: str = "adam",
    validation: int = 1_000,
    slowness: float = 1.0,
) -> Costs:
    """Estimate the costs of a run with two units on 5,000 characters of training text."""
    overrides = parse_overrides(
        [f"training.optimizer.name={optimizer}", "model.units=2", *settings]
    )
    text = TextFacts(training=5_000, validation=validation, vocabulary=3)
    config = UserSettings(recipe="tiny", overrides=overrides).config("tiny")
    return estimate_costs(config, text, slowness=slowness)


@pytest.mark.parametrize(
    ("optimizer", "seconds"),
    [
        pytest.param("adam", 8 * 16 * TINY_WEIGHTS * 7.3e-12, id="adam"),
        pytest.param("sgd", 8 * 16 * TINY_WEIGHTS * 7.3e-12, id="sgd"),
        pytest.param("muon", 16 * TINY_WEIGHTS * (8 * 7.3e-12 + 1.7e-10), id="muon"),
    ],
)
def test_only_muon_adds_time_to_a_step_that_does_not_grow_with_the_batch(
    optimizer: str, seconds: float
) -> None:
    """A batch has 8 windows of 16 characters."""
    assert estimate(optimizer=optimizer).step_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(("validation", "scored"), [(0, 0), (100_000, 100_000), (400_000, 200_000)])
def test_the_time_of_an_evaluation_grows_up_to_200000_characters(
    validation: int, scored: int
) -> None:
    seconds = 0.15 + 5.5e-12 * TINY_WEIGHTS * scored
    costs = estimate(validation=validation)
    assert costs.evaluation_seconds == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize(
    ("temperature", "seconds"), [("null", 0.3 + 1e-6 * TINY_WEIGHTS), ("0.7", 0.0), ("0", 0.0)]
)
def test_the_end_takes_time_if_a_temperature_is_chosen(temperature: str, seconds: float) -> None:
    costs = estimate(f"sampling.temperature={temperature}", "sampling.length=5")
    assert costs.end_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(("weight", "seconds"), [("0", 0.0), ("0.4", 1.5e-7 * 5_000 * 3)])
def test_the_time_of_n_grams_grows_with_the_text_times_the_vocabulary(
    weight: str, seconds: float
) -> None:
    costs = estimate(f"training.ngram_weight={weight}")
    assert costs.ngram_seconds == pytest.approx(seconds)


def test_a_slower_machine_takes_longer_for_every_part() -> None:
    settings = "training.ngram_weight=0.4"
    fast = estimate(settings)
    slow = estimate(settings, slowness=2.5)
    assert fast.start_seconds == 3
    assert fast.teacher_seconds == slow.teacher_seconds == 0
    for part in ("step", "evaluation", "start", "end", "ngram"):
        seconds = getattr(fast, f"{part}_seconds")
        assert getattr(slow, f"{part}_seconds") == pytest.approx(2.5 * seconds), part


# The time of a run

PARTS = Costs(
    step_seconds=1.0,
    evaluation_seconds=10.0,
    start_seconds=1000.0,
    end_seconds=2.0,
    teacher_seconds=7.0,
    ngram_seconds=3.0,
)
SETTINGS = TrainingConfig(steps=1, evaluations=5)


@pytest.mark.parametrize(("steps", "seconds"), [(0, 12), (1, 23), (5, 67), (100, 162)])
def test_a_run_takes_the_time_of_its_parts_after_its_start(steps: int, seconds: float) -> None:
    """It has no more evaluations than steps."""
    assert PARTS.run_seconds(SETTINGS, steps) == seconds


def test_a_step_with_a_shorter_window_takes_less_time() -> None:
    """Windows that grow have two thirds of their full length on average."""
    growing = SETTINGS.model_copy(update={"growing_windows": True})
    assert PARTS.run_seconds(growing, 1500) == pytest.approx(12 + 1000 + 50)


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(0, 0), (62.9, 0), (63, 1), (162, 100), (1e12, 10**9)],
)
def test_as_many_steps_are_taken_as_fit(seconds: float, steps: int) -> None:
    assert PARTS.steps_within(SETTINGS, seconds) == steps


@pytest.mark.parametrize(
    ("seconds", "evaluations"),
    [(0, 1), (10, 1), (111.9, 1), (112, 2), (162, 3), (212, 4), (262, 5), (1e6, 5)],
)
def test_a_fifth_of_the_time_goes_to_evaluations(seconds: float, evaluations: int) -> None:
    assert PARTS.evaluations_within(SETTINGS, seconds) == evaluations
