"""How a run is trained, decided from facts alone: no text is read, nothing is trained.

Most tables are computed from CHOICES, so that they hold for other recipes as well.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from charlm.config.file import flatten, load_config, parse_overrides
from charlm.config.recipes import find_recipe, recipe_names
from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.events import FewSteps, NgramsLeftOut
from charlm.hardware import FastPrecision
from charlm.text.batches import fit_batches
from charlm.training.costs import Costs, CostsOf, TextFacts, estimate_costs, fixed_share
from charlm.training.decision import CHOICES, Choice, Decision, UserSettings, batches_of, decide
from charlm.training.schedule import make_schedule

FLOAT32 = FastPrecision("float32", "this processor has no instructions that multiply bfloat16")
BFLOAT16 = FastPrecision("bfloat16", "this processor multiplies it in tiles")
VOCABULARY = 60
SIZES = [1_000, 50_000, 400_000, 1_000_000, 10_000_000, 200_000_000]
"""Characters of texts, a tenth of which is validation text."""
MINUTES = [0.1, 1.0, 10.0, 60.0]
SLOWNESS = [0.2, 1.0, 8.0]
MOMENTUM = {"training": {"optimizer": {"momentum": 0.9}}}
"""A setting that recipes with Muon take, and recipes with Adam refuse."""
TEACHERS = {"training": {"teachers": {"recipe": "tiny", "seeds": [2]}}}
NGRAMS = {"training": {"ngram_weight": 0.4}}
COSTS = Costs(step_seconds=0.1, evaluation_seconds=1.0, start_seconds=3.0, end_seconds=2.0)
MUON_CHARACTERS = 300_000
"""A text whose recipe uses Muon."""


def text_of(characters: int) -> TextFacts:
    """Return the facts of a text, a tenth of which is validation text."""
    validation = characters // 10
    return TextFacts(training=characters - validation, validation=validation, vocabulary=VOCABULARY)


def costs_on(slowness: float) -> CostsOf:
    """Return the costs on a machine that is so many times as slow as the one that was measured."""
    return lambda config, text: estimate_costs(config, text, slowness=slowness)


def always(costs: Costs) -> CostsOf:
    """Return the same costs for every run, but for n-grams only if the run learns from them."""

    def costs_of(config: Config, _text: TextFacts) -> Costs:
        return costs if config.training.ngram_weight else replace(costs, ngram_seconds=0.0)

    return costs_of


def decide_text(
    characters: int,
    *settings: str,
    recipe: str | None = None,
    minutes: float | None = None,
    precision: FastPrecision = FLOAT32,
    **options: Any,
) -> Decision:
    """Decide how a run on a text of some characters is trained, with these overrides."""
    user = UserSettings(recipe=recipe, overrides=parse_overrides(settings), minutes=minutes)
    return decide(text_of(characters), user, precision=precision, **options)


def choices_of(characters: int) -> tuple[Choice, ...]:
    """Return the recipes for a text of some characters."""
    training = text_of(characters).training
    return next(choices for limit, choices in CHOICES.items() if training < limit)


def characters_read(decision: Decision, characters: int) -> int:
    """Return how many characters a run reads in all of its steps, repetitions counted."""
    batches, _ = batches_of(decision.config, text_of(characters).training)
    return make_schedule(decision.config.training, batches).characters(decision.steps)


def seconds_of(decision: Decision, characters: int, costs: Costs) -> float:
    """Return how long a run takes after its start; a part of each step does not depend on the characters it reads."""
    settings = decision.config.training
    full_step = settings.batch_size * settings.sequence_length
    read = characters_read(decision, characters) / full_step
    fixed = fixed_share(settings)
    steps = (fixed * decision.steps + (1 - fixed) * read) * costs.step_seconds
    evaluations = decision.evaluations * costs.evaluation_seconds
    ngram_seconds = costs.ngram_seconds if settings.ngram_weight else 0.0
    return steps + evaluations + ngram_seconds + costs.end_seconds


# The recipe


@pytest.mark.parametrize(
    "characters", [size for size in SIZES if choices_of(size)[0].minutes is None]
)
def test_without_a_time_limit_the_first_recipe_for_the_size_is_chosen(characters: int) -> None:
    best = choices_of(characters)[0]
    found = decide_text(characters)
    assert (found.recipe, found.reason, found.better) == (best.recipe, best.reason, best.better)


@pytest.mark.parametrize("limit", [limit for limit in CHOICES if limit < math.inf])
def test_the_size_of_a_recipe_ends_at_its_limit(limit: float) -> None:
    below, above = [*CHOICES.values()], [*CHOICES.values()][1:]
    index = [*CHOICES].index(limit)
    largest = TextFacts(training=int(limit) - 1, validation=100, vocabulary=VOCABULARY)
    next_larger = replace(largest, training=int(limit))
    fast = costs_on(0.01)
    assert (
        decide(largest, UserSettings(), precision=FLOAT32, costs_of=fast).recipe
        == below[index][0].recipe
    )
    assert (
        decide(next_larger, UserSettings(), precision=FLOAT32, costs_of=fast).recipe
        == above[index][0].recipe
    )


@pytest.mark.parametrize("choices", CHOICES.values(), ids=lambda choices: choices[0].recipe)
def test_the_recipes_for_a_size_can_be_named(choices: tuple[Choice, ...]) -> None:
    for choice in choices:
        assert {choice.recipe, choice.better or choice.recipe} <= {*recipe_names()}


@pytest.mark.parametrize("slowness", SLOWNESS)
@pytest.mark.parametrize("minutes", [None, *MINUTES])
@pytest.mark.parametrize("characters", SIZES)
@pytest.mark.parametrize("recipe", ["tiny", "default", "5mb"])
def test_a_named_recipe_is_never_replaced(
    recipe: str, characters: int, minutes: float | None, slowness: float
) -> None:
    found = decide_text(characters, recipe=recipe, minutes=minutes, costs_of=costs_on(slowness))
    named = load_config(find_recipe(recipe))
    assert (found.recipe, found.reason, found.better) == (recipe, "", None)
    assert found.config.model == named.model
    assert found.config.training.optimizer == named.training.optimizer


@pytest.mark.parametrize("recipe", recipe_names())
def test_without_minutes_a_named_recipe_keeps_all_of_its_settings(recipe: str) -> None:
    found = decide_text(1_000_000, "training.precision=float32", recipe=recipe)
    named = load_config(find_recipe(recipe), overrides="training.precision=float32")
    assert found.config == named.model_copy(update={"recipe": recipe})
    assert found.minutes is None


@pytest.mark.parametrize("slowness", SLOWNESS)
@pytest.mark.parametrize("minutes", [None, *MINUTES])
@pytest.mark.parametrize("characters", SIZES)
def test_a_given_setting_is_kept(characters: int, minutes: float | None, slowness: float) -> None:
    settings = ["training.batch_size=24", "model.units=200", "seed=7"]
    found = decide_text(characters, *settings, minutes=minutes, costs_of=costs_on(slowness))
    flat = flatten(found.config)
    assert [flat["training.batch_size"], flat["model.units"], flat["seed"]] == [24, 200, 7]


TABLE = {
    math.inf: (
        Choice("default", "the best", fewest_epochs=4.0, minutes=20.0),
        Choice("small", "the second", fewest_epochs=2.0),
        Choice("tiny", "the last", fewest_epochs=1.0),
    )
}
"""Three recipes; an epoch of a text of 100,000 characters has 87, 175 and 703 steps."""


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
    minutes: float | None, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four epochs of the best take 70 s, two of the second 35 s, one of the last 70 s."""
    monkeypatch.setattr("charlm.training.decision.CHOICES", TABLE)
    seconds_by_width = {256: 0.2, 192: 0.1, 16: 0.1}

    def costs_of(config: Config, _text: TextFacts) -> Costs:
        return Costs(step_seconds=seconds_by_width[config.model.units], evaluation_seconds=0.1)

    assert decide_text(100_000, minutes=minutes, costs_of=costs_of).recipe == recipe


def test_n_grams_that_are_left_out_do_not_count_against_a_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four epochs of the best recipe take 35 of 60 seconds once its n-grams, which would take hours, are left out."""
    monkeypatch.setattr("charlm.training.decision.CHOICES", TABLE)
    costs = Costs(step_seconds=0.1, evaluation_seconds=0.0, ngram_seconds=1e4)
    found = decide_text(100_000, minutes=1, costs_of=always(costs))
    assert found.recipe == "default"
    assert found.config.training.ngram_weight == 0


@pytest.mark.parametrize(
    ("characters", "recipe"),
    [(characters, choice.recipe) for characters in SIZES for choice in choices_of(characters)],
)
@pytest.mark.parametrize("minutes", MINUTES)
@pytest.mark.parametrize("slowness", SLOWNESS)
def test_a_recipe_that_is_kept_is_not_replaced(
    characters: int, recipe: str, minutes: float, slowness: float
) -> None:
    found = decide_text(characters, minutes=minutes, costs_of=costs_on(slowness), kept=recipe)
    assert found.recipe == recipe


def test_a_kept_recipe_is_still_one_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.training.decision.CHOICES", TABLE)
    found = decide_text(100_000, minutes=60, costs_of=always(COSTS), kept="small")
    assert (found.recipe, found.reason) == ("small", "the second")


@pytest.mark.parametrize("minutes", [None, 1.0], ids=["no limit", "limit"])
def test_a_better_recipe_is_proposed_unless_the_user_limits_the_time(minutes: float | None) -> None:
    with_better = [choices[0] for choices in CHOICES.values() if choices[0].better is not None]
    limits = [limit for limit, choices in CHOICES.items() if choices[0] in with_better]
    for choice, limit in zip(with_better, limits, strict=True):
        text = TextFacts(training=int(min(limit, 1e9)) - 1, validation=100, vocabulary=VOCABULARY)
        found = decide(text, UserSettings(minutes=minutes), precision=FLOAT32)
        assert found.better == (choice.better if minutes is None else None)


# Texts that are too short


@pytest.mark.parametrize("characters", [0, 1, 19])
def test_a_text_below_20_characters_is_refused(characters: int) -> None:
    with pytest.raises(
        CharlmError, match=f"the text has {characters} characters?; expected at least 20"
    ):
        decide_text(characters)


def test_a_text_of_20_characters_is_trained_on() -> None:
    assert decide_text(20).steps > 0


MEMORIZED = TextFacts(training=902, validation=0, vocabulary=VOCABULARY, is_memorized=True)


def test_a_text_that_is_to_be_recited_is_memorised() -> None:
    found = decide(MEMORIZED, UserSettings(), precision=FLOAT32)
    assert (found.recipe, found.config.training.until_recited) == ("memorize", True)


def test_a_short_text_with_validation_text_is_not_memorised() -> None:
    found = decide(
        TextFacts(training=900, validation=100, vocabulary=VOCABULARY),
        UserSettings(),
        precision=FLOAT32,
    )
    assert found.recipe == choices_of(1_000)[0].recipe


def test_a_short_text_is_not_memorised_with_a_named_recipe() -> None:
    text = TextFacts(training=900, validation=0, vocabulary=VOCABULARY)
    assert decide(text, UserSettings(recipe="tiny"), precision=FLOAT32).recipe == "tiny"


def test_a_text_can_be_memorised_within_a_time_limit() -> None:
    found = decide(MEMORIZED, UserSettings(minutes=1), precision=FLOAT32, costs_of=always(COSTS))
    assert (found.recipe, found.minutes) == ("memorize", 1)


# What is checked before the text is read


def test_an_override_that_only_some_recipes_take_is_accepted_without_a_recipe() -> None:
    assert UserSettings(overrides=MOMENTUM).check().training.optimizer.momentum == 0.9


def test_an_override_that_the_chosen_recipe_takes_is_used() -> None:
    found = decide(text_of(MUON_CHARACTERS), UserSettings(overrides=MOMENTUM), precision=FLOAT32)
    assert found.config.training.optimizer.name == "muon"
    assert found.config.training.optimizer.momentum == 0.9


def test_an_override_that_the_named_recipe_does_not_take_is_refused() -> None:
    with pytest.raises(CharlmError, match="adam has no momentum"):
        UserSettings(recipe="tiny", overrides=MOMENTUM).check()


@pytest.mark.parametrize("recipe", [None, "tiny"])
def test_an_override_that_no_recipe_takes_is_refused(recipe: str | None) -> None:
    with pytest.raises(CharlmError, match=r"training\.step: .* did you mean training\.steps=5\?"):
        UserSettings(recipe=recipe, overrides={"training": {"step": 5}}).check()


def test_a_recipe_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CharlmError, match=r"^tinny: .* did you mean tiny\?"):
        UserSettings(recipe="tinny").check()


@pytest.mark.parametrize("key", ["steps", "epochs"])
@pytest.mark.parametrize("recipe", [None, "tiny"])
def test_minutes_with_another_length_are_refused(recipe: str | None, key: str) -> None:
    user = UserSettings(recipe=recipe, overrides={"training": {key: 5}}, minutes=3)
    with pytest.raises(CharlmError, match=rf"^minutes 3: training\.{key} sets the length too; "):
        user.check()


def test_minutes_with_a_length_of_null_are_accepted() -> None:
    user = UserSettings(overrides={"training": {"epochs": None, "steps": 7}})
    assert user.length_key == "training.steps"
    UserSettings(overrides={"training": {"early_stopping": 5}}, minutes=3).check()


@pytest.mark.parametrize("recipe", [None, "tiny"])
def test_minutes_with_teachers_are_refused(recipe: str | None) -> None:
    with pytest.raises(CharlmError, match=r"^minutes 3: .* training\.teachers=null$"):
        UserSettings(recipe=recipe, overrides=TEACHERS, minutes=3).check()


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(
            {**TEACHERS["training"], "teacher_weight": 0}, id="teachers that do not count"
        ),
        pytest.param(
            {"teachers": {"models": ["a.safetensors"]}}, id="models that are trained already"
        ),
    ],
)
def test_minutes_with_teachers_that_are_not_trained_are_accepted(
    training: Mapping[str, Any],
) -> None:
    UserSettings(recipe="tiny", overrides={"training": training}, minutes=3).check()


# Precision


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_automatic_precision_is_what_the_processor_multiplies_faster(
    precision: FastPrecision,
) -> None:
    found = decide_text(MUON_CHARACTERS, "training.precision=auto", precision=precision)
    assert found.precision == precision
    assert found.config.training.precision == precision.name


@pytest.mark.parametrize("explicit", ["float32", "bfloat16"])
@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16], ids=["on float32", "on bfloat16"])
def test_an_explicit_precision_is_kept(explicit: str, precision: FastPrecision) -> None:
    found = decide_text(MUON_CHARACTERS, f"training.precision={explicit}", precision=precision)
    assert (found.precision.name, found.config.training.precision) == (explicit, explicit)


# N-grams


def decide_ngrams(ngram_seconds: float, *, minutes: float | None = 1.0, **options: Any) -> Decision:
    """Decide about a run that learns from n-grams, which take some time to count."""
    costs = replace(COSTS, ngram_seconds=ngram_seconds)
    settings = "training.ngram_weight=0.4"
    return decide_text(100_000, settings, minutes=minutes, costs_of=always(costs), **options)


@pytest.mark.parametrize(
    ("seconds", "is_kept"), [(0.0, True), (12.0, True), (12.1, False), (1e4, False)]
)
def test_n_grams_take_at_most_a_fifth_of_the_time_limit(seconds: float, is_kept: bool) -> None:
    found = decide_ngrams(seconds)
    assert found.config.training.ngram_weight == (0.4 if is_kept else 0)
    assert found.notes == (() if is_kept else (NgramsLeftOut(seconds=seconds, memory_bytes=None),))


def test_the_time_of_n_grams_that_are_left_out_is_used_for_steps() -> None:
    without = decide_text(100_000, "training.ngram_weight=0", minutes=1, costs_of=always(COSTS))
    assert decide_ngrams(1e4).steps == without.steps


def test_the_time_of_n_grams_that_are_counted_is_taken_from_the_steps() -> None:
    fewer = decide_ngrams(0.0).steps - decide_ngrams(10.0).steps
    assert fewer == pytest.approx(
        10 / COSTS.step_seconds, abs=COSTS.evaluation_seconds / COSTS.step_seconds * 3
    )


def test_without_a_time_limit_n_grams_may_take_any_time() -> None:
    found = decide_ngrams(1e6, minutes=None)
    assert found.config.training.ngram_weight == 0.4
    assert found.notes == ()


NEEDED = 2 * 90_000 * VOCABULARY
"""Bytes of the predictions of n-grams, two for each id at each character of a training text of 90,000."""


@pytest.mark.parametrize(
    ("memory_bytes", "is_kept"),
    [(4 * NEEDED, True), (4 * NEEDED - 1, False), (None, True)],
    ids=["just enough", "a byte less", "unknown"],
)
def test_n_grams_whose_predictions_do_not_fit_are_left_out(
    memory_bytes: int | None, is_kept: bool
) -> None:
    found = decide_ngrams(1.0, minutes=None, memory_bytes=memory_bytes)
    assert found.config.training.ngram_weight == (0.4 if is_kept else 0)
    assert found.notes == (() if is_kept else (NgramsLeftOut(seconds=None, memory_bytes=NEEDED),))


@pytest.mark.parametrize(
    ("minutes", "is_kept"), [(None, True), (1.0, False)], ids=["no limit", "limit"]
)
def test_n_grams_of_a_named_recipe_are_left_out_for_memory_only_with_a_time_limit(
    minutes: float | None, is_kept: bool
) -> None:
    """Without one, they are refused with an error when the run is made."""
    found = decide_ngrams(1.0, minutes=minutes, memory_bytes=1, recipe="small")
    assert found.config.training.ngram_weight == (0.4 if is_kept else 0)


def test_n_grams_that_are_not_asked_for_are_not_mentioned() -> None:
    found = decide_text(
        100_000, "training.ngram_weight=0", minutes=60, costs_of=always(COSTS), memory_bytes=1
    )
    assert found.notes == ()


# The length


@pytest.mark.parametrize("spent", [0.0, 20.0])
@pytest.mark.parametrize("slowness", SLOWNESS)
@pytest.mark.parametrize("minutes", [5.0, 10.0, 60.0])
@pytest.mark.parametrize("characters", SIZES)
def test_the_run_ends_within_the_time_limit(
    characters: int, minutes: float, slowness: float, spent: float
) -> None:
    costs_of = costs_on(slowness)
    found = decide_text(characters, minutes=minutes, costs_of=costs_of, spent_seconds=spent)
    costs = costs_of(found.config, text_of(characters))
    assert found.steps > 1
    assert spent + costs.start_seconds + seconds_of(found, characters, costs) <= 60 * minutes


@pytest.mark.parametrize("growing", ["false", "true"])
@pytest.mark.parametrize("minutes", [1.0, 10.0, 60.0])
def test_the_run_uses_the_time_that_is_planned_for(minutes: float, growing: str) -> None:
    """A 25th of the limit is left for what is not measured; windows that grow may leave out their longest steps."""
    setting = f"training.growing_windows={growing}"
    found = decide_text(
        1_000_000, setting, minutes=minutes, costs_of=always(COSTS), spent_seconds=5.0
    )
    seconds = 5.0 + COSTS.start_seconds + seconds_of(found, 1_000_000, COSTS)
    assert seconds == pytest.approx(0.96 * 60 * minutes, abs=3 * COSTS.step_seconds)


@pytest.mark.parametrize("evaluations", [1, 7, 20])
def test_steps_fill_the_time_that_evaluations_leave(evaluations: int) -> None:
    setting = f"training.evaluations={evaluations}"
    settings = (setting, "training.ngram_weight=0")
    found = decide_text(100_000, *settings, recipe="default", minutes=1, costs_of=always(COSTS))
    left = (
        0.96 * 60 - COSTS.start_seconds - COSTS.end_seconds - evaluations * COSTS.evaluation_seconds
    )
    assert found.steps == math.floor(left / COSTS.step_seconds)


@pytest.mark.parametrize("spent", [0.0, 1e6])
@pytest.mark.parametrize("minutes", [1e-6, 0.05])
@pytest.mark.parametrize("characters", [30, 1_000, 1_000_000])
def test_a_run_has_at_least_one_step(characters: int, minutes: float, spent: float) -> None:
    costs = replace(COSTS, step_seconds=60.0)
    found = decide_text(characters, minutes=minutes, costs_of=always(costs), spent_seconds=spent)
    assert found.steps == found.config.training.steps == 1


def test_given_evaluations_are_kept() -> None:
    costs = replace(COSTS, evaluation_seconds=100.0)
    found = decide_text(100_000, "training.evaluations=9", minutes=1, costs_of=always(costs))
    assert found.evaluations == found.config.training.evaluations == 9


@pytest.mark.parametrize("evaluation_seconds", [0.0, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("minutes", MINUTES[1:])
def test_evaluations_take_at_most_a_fifth_of_the_time(
    minutes: float, evaluation_seconds: float
) -> None:
    costs = replace(COSTS, evaluation_seconds=evaluation_seconds)
    found = decide_text(100_000, minutes=minutes, costs_of=always(costs))
    wanted = load_config(find_recipe(str(found.recipe))).training.evaluations
    assert found.evaluations * evaluation_seconds <= 0.2 * 60 * minutes
    assert 2 <= found.evaluations <= wanted


def test_there_is_an_evaluation_even_if_it_takes_longer() -> None:
    costs = replace(COSTS, evaluation_seconds=20.0)
    assert decide_text(100_000, minutes=1, costs_of=always(costs)).evaluations == 1


def test_a_recipe_with_a_single_evaluation_keeps_it() -> None:
    Path("once.yaml").write_text("training: {steps: 9, evaluations: 1}", encoding="utf-8")
    assert (
        decide_text(100_000, recipe="once.yaml", minutes=1, costs_of=always(COSTS)).evaluations == 1
    )


def minutes_advised(decision: Decision) -> float | None:
    """Return the time limit that a note proposes; None = there is no such note."""
    found = [note for note in decision.notes if isinstance(note, FewSteps)]
    return next((note.enough_minutes for note in found if note.enough == 200), None)


@pytest.mark.parametrize("evaluation_seconds", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("step_seconds", [1.0, 5.0])
@pytest.mark.parametrize("settings", [[], ["training.evaluations=5"]], ids=["automatic", "given"])
def test_the_time_that_is_proposed_for_a_run_of_few_steps_allows_200(
    settings: list[str], step_seconds: float, evaluation_seconds: float
) -> None:
    costs_of = always(
        replace(COSTS, step_seconds=step_seconds, evaluation_seconds=evaluation_seconds)
    )
    short = decide_text(100_000, *settings, minutes=1, costs_of=costs_of)
    advised = minutes_advised(short)
    assert short.steps < 200
    assert advised is not None
    assert decide_text(100_000, *settings, minutes=advised, costs_of=costs_of).steps >= 200


def test_a_run_of_200_steps_is_long_enough() -> None:
    costs_of = always(Costs(step_seconds=0.2, evaluation_seconds=0.0))
    found = decide_text(100_000, minutes=0.7, costs_of=costs_of)
    assert found.steps >= 200
    assert minutes_advised(found) is None


@pytest.mark.parametrize(
    "evaluations", [[], ["training.evaluations=5"]], ids=["automatic", "given"]
)
@pytest.mark.parametrize("slowness", SLOWNESS)
@pytest.mark.parametrize("recipe", ["tiny", "default", "5mb"])
def test_more_time_never_gives_fewer_steps(
    recipe: str, slowness: float, evaluations: list[str]
) -> None:
    limits = [0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 600]
    steps = [
        decide_text(
            1_000_000, *evaluations, recipe=recipe, minutes=minutes, costs_of=costs_on(slowness)
        ).steps
        for minutes in limits
    ]
    assert all(before <= after for before, after in pairwise(steps))


def test_a_second_more_gives_more_steps_of_the_same_evaluations() -> None:
    limits = [second / 60 for second in range(20, 40)]
    steps = [
        decide_text(
            100_000,
            "training.evaluations=5",
            recipe="default",
            minutes=minutes,
            costs_of=always(COSTS),
        ).steps
        for minutes in limits
    ]
    assert [after - before for before, after in pairwise(steps)] == pytest.approx([9.6] * 19, abs=1)


@pytest.mark.parametrize("minutes", [None, *MINUTES])
@pytest.mark.parametrize("recipe", ["tiny", "default", "5mb"])
def test_a_slower_machine_never_reads_more_characters(recipe: str, minutes: float | None) -> None:
    characters = [
        characters_read(
            decide_text(1_000_000, recipe=recipe, minutes=minutes, costs_of=costs_on(slowness)),
            1_000_000,
        )
        for slowness in (0.1, 0.5, 1, 2, 4, 16)
    ]
    assert all(before >= after for before, after in pairwise(characters))


# The time limit of a long text

LONG = 100_000_000
ADVISED_MINUTES = choices_of(LONG)[0].minutes


def test_a_long_text_has_a_time_limit() -> None:
    assert ADVISED_MINUTES is not None
    found = decide_text(LONG)
    assert found.minutes == ADVISED_MINUTES
    assert found.config.training.epochs is None


@pytest.mark.parametrize("setting", ["training.steps=77", "training.epochs=2"])
def test_a_given_length_replaces_the_time_limit_of_a_long_text(setting: str) -> None:
    found = decide_text(LONG, setting)
    key, _, value = setting.partition("=")
    assert found.minutes is None
    assert flatten(found.config)[key] == int(value)


def test_given_minutes_replace_the_time_limit_of_a_long_text() -> None:
    assert decide_text(LONG, minutes=3).minutes == 3


def test_a_named_recipe_has_no_time_limit_on_a_long_text() -> None:
    assert decide_text(LONG, recipe="5mb").minutes is None


@pytest.mark.parametrize("minutes", [None, ADVISED_MINUTES], ids=["advised", "given"])
def test_only_an_advised_time_limit_is_exceeded_for_200_steps(minutes: float | None) -> None:
    costs = replace(COSTS, step_seconds=60.0)
    found = decide_text(LONG, minutes=minutes, costs_of=always(costs))
    if minutes is None:
        assert found.steps == 200
    else:
        assert found.steps < 200


# The length that the config of a run had before

CHANGED = """
training:
  steps: 90
  evaluations: 6
  earlier_lengths: [{until: 30, steps: 60, evaluations: 5}]
"""


@pytest.fixture
def changed() -> str:
    """Write a recipe, as the config of a run whose length has changed."""
    Path("changed.yaml").write_text(CHANGED, encoding="utf-8")
    return "changed.yaml"


def test_earlier_lengths_are_kept_without_a_new_length(changed: str) -> None:
    found = decide_text(100_000, "seed=3", recipe=changed)
    assert [length.until for length in found.config.training.earlier_lengths] == [30]
    assert found.steps == 90


@pytest.mark.parametrize(
    ("setting", "steps"),
    [
        pytest.param("training.steps=20", 20, id="fewer steps"),
        pytest.param("training.steps=400", 400, id="more steps"),
    ],
)
def test_earlier_lengths_are_dropped_with_new_steps(changed: str, setting: str, steps: int) -> None:
    found = decide_text(100_000, setting, recipe=changed)
    assert found.config.training.earlier_lengths == ()
    assert found.steps == steps


def test_earlier_lengths_are_dropped_with_new_epochs(changed: str) -> None:
    found = decide_text(100_000, "training.epochs=3", recipe=changed)
    batches, _ = fit_batches(90_000, batch_size=64, sequence_length=64, seed=1)
    assert found.config.training.earlier_lengths == ()
    assert found.steps == 3 * batches.steps_per_epoch


def test_earlier_lengths_that_are_given_with_a_length_are_kept(changed: str) -> None:
    """So that an override can describe a run whose length has changed."""
    training = {"steps": 50, "earlier_lengths": [{"until": 10, "steps": 40, "evaluations": 4}]}
    found = decide(
        text_of(100_000),
        UserSettings(recipe=changed, overrides={"training": training}),
        precision=FLOAT32,
    )
    assert [length.until for length in found.config.training.earlier_lengths] == [10]
    assert found.steps == 50


def test_the_name_of_a_recipe_in_the_config_of_a_run_is_kept() -> None:
    Path("config.yaml").write_text("{recipe: small, training: {steps: 5}}", encoding="utf-8")
    assert decide_text(100_000, recipe="config.yaml").recipe == "small"


def test_a_recipe_without_a_name_has_that_of_its_file() -> None:
    Path("mine.yaml").write_text("training: {steps: 5}", encoding="utf-8")
    assert decide_text(100_000, recipe="mine.yaml").recipe == "mine"


def test_earlier_lengths_are_dropped_with_new_minutes(changed: str) -> None:
    found = decide_text(100_000, recipe=changed, minutes=1, costs_of=always(COSTS))
    assert found.config.training.earlier_lengths == ()
    assert found.config.training.steps == found.steps


# What the user is told


def test_the_event_has_the_recipe_that_was_chosen() -> None:
    found = decide_text(MUON_CHARACTERS)
    batches, _ = batches_of(found.config, text_of(MUON_CHARACTERS).training)
    event = found.event(batches)
    assert (event.recipe, event.reason) == (found.recipe, found.reason)


def test_the_event_has_no_reason_for_a_named_recipe() -> None:
    found = decide_text(MUON_CHARACTERS, recipe="tiny")
    batches, _ = batches_of(found.config, text_of(MUON_CHARACTERS).training)
    event = found.event(batches)
    assert (event.reason, event.minutes, event.better) == ("", None, None)


def test_the_event_has_the_length_that_the_minutes_give() -> None:
    found = decide_text(100_000, recipe="tiny", minutes=1, costs_of=always(COSTS))
    batches, _ = batches_of(found.config, 90_000)
    event = found.event(batches)
    assert (event.minutes, event.steps, event.evaluations) == (1, found.steps, found.evaluations)
    assert event.epochs == pytest.approx(found.steps * 8 * 16 / 90_000, rel=0.01)


# How long a run takes

PARTS = Costs(
    step_seconds=1.0,
    evaluation_seconds=10.0,
    start_seconds=1000.0,
    end_seconds=2.0,
    teacher_seconds=7.0,
    ngram_seconds=3.0,
)
SETTINGS = TrainingConfig(steps=1, evaluations=5)


@pytest.mark.parametrize(
    ("steps", "seconds"),
    [(0, 12), (1, 12 + 1 + 10), (5, 12 + 5 + 50), (100, 12 + 100 + 50)],
)
def test_a_run_takes_the_time_of_its_parts_after_its_start(steps: int, seconds: float) -> None:
    """It has no more evaluations than steps."""
    assert PARTS.run_seconds(SETTINGS, steps) == seconds


def test_a_step_with_a_shorter_window_takes_less_time() -> None:
    """Windows that grow have two thirds of their full length on average."""
    growing = SETTINGS.model_copy(update={"growing_windows": True})
    assert PARTS.run_seconds(growing, 1500) == pytest.approx(12 + 1000 + 50)


@pytest.mark.parametrize(
    ("seconds", "steps"), [(0, 0), (62.9, 0), (63, 1), (162, 100), (1e12, 10**9)]
)
def test_the_most_steps_that_fit_are_found(seconds: float, steps: int) -> None:
    assert PARTS.steps_within(SETTINGS, seconds) == steps


@pytest.mark.parametrize(
    ("seconds", "evaluations"),
    [(0, 1), (10, 1), (111.9, 1), (112, 2), (162, 3), (212, 4), (262, 5), (1e6, 5)],
)
def test_a_fifth_of_the_time_goes_to_evaluations(seconds: float, evaluations: int) -> None:
    assert PARTS.evaluations_within(SETTINGS, seconds) == evaluations
