"""Every setting, its place in the JSON Schema, and the recipes that come with charlm."""

import json
import re
from pathlib import Path

import pytest
from commands import charlm

from charlm.config import recipes
from charlm.config.file import (
    dump_config,
    flatten,
    load_config,
    parse_config,
    parse_yaml,
    section_of,
    walk,
)
from charlm.config.recipes import CONFIGS, find_recipe, find_space, recipe_names
from charlm.config.schema import (
    ACTIVATIONS,
    Config,
    EarlierLength,
    SamplingConfig,
    Teachers,
    TrainingConfig,
)
from charlm.errors import CharlmError
from charlm.network.rnn import ACTIVATIONS as NUMPY_ACTIVATIONS


def test_the_weights_of_the_soft_targets_leave_something_to_the_text() -> None:
    assert (
        TrainingConfig(ngram_weight=0.9).soft_weight == 0.9
    )  # teacher_weight counts with teachers
    assert TrainingConfig(ngram_weight=0.5, teachers=Teachers(models=("a",))).soft_weight == 1
    assert {*ACTIVATIONS} == {*NUMPY_ACTIVATIONS}


def test_a_temperature_is_chosen_unless_it_is_set() -> None:
    assert SamplingConfig(length=1).chooses_temperature
    assert not SamplingConfig(length=0).chooses_temperature
    assert not SamplingConfig(temperature=0).chooses_temperature


# A length that changes on the way


def changed_length(*untils: int, steps: int | None = 100) -> str:
    """Return the YAML of a config whose length changed at some steps."""
    lengths = ", ".join(f"{{until: {until}, steps: 90, evaluations: 3}}" for until in untils)
    return f"training: {{steps: {json.dumps(steps)}, epochs: 2, earlier_lengths: [{lengths}]}}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            changed_length(91),
            "until: found 91; must be at most 90, the value of steps",
            id="after the end",
        ),
        pytest.param(
            changed_length(5, 5),
            "until: found 5, then 5; must increase, and stay below steps",
            id="same step",
        ),
        pytest.param(
            changed_length(7, 5),
            "until: found 7, then 5; must increase, and stay below steps",
            id="wrong order",
        ),
        pytest.param(
            changed_length(7, steps=7),
            "until: found 7, then 7; must increase",
            id="new length too short",
        ),
        pytest.param(
            changed_length(0),
            "training.earlier_lengths.0.until: found 0; must be greater",
            id="step 0",
        ),
        pytest.param(
            "training: {earlier_lengths: [{until: 5, steps: 9}]}",
            "training.earlier_lengths.0.evaluations: is missing",
            id="a key is missing",
        ),
        pytest.param(
            "training: {earlier_lengths: 5}",
            "training.earlier_lengths: found 5; must be",
            id="no list",
        ),
    ],
)
def test_earlier_lengths_that_contradict_each_other_are_refused(text: str, problem: str) -> None:
    with pytest.raises(CharlmError, match=re.escape(problem)):
        parse_config(parse_yaml(text, origin="test"), origin="test")


@pytest.mark.parametrize("untils", [(), (5,), (5, 6, 89)], ids=["none", "one", "three"])
@pytest.mark.parametrize("steps", [100, None], ids=["steps", "epochs"])
def test_earlier_lengths_are_written_as_they_are_read(
    untils: tuple[int, ...], steps: int | None
) -> None:
    text = changed_length(*untils, steps=steps)
    config = parse_config(parse_yaml(text, origin="test"), origin="test")
    assert config.training.earlier_lengths == tuple(
        EarlierLength(until=at, steps=90, evaluations=3) for at in untils
    )
    assert parse_config(parse_yaml(dump_config(config), origin="again"), origin="again") == config


def test_earlier_lengths_are_a_single_setting_as_json_has_it() -> None:
    config = parse_config(parse_yaml(changed_length(5), origin="test"), origin="test")
    assert flatten(config)["training.earlier_lengths"] == [
        {"until": 5, "steps": 90, "evaluations": 3}
    ]


def settings(*, steps: int, evaluations: int) -> TrainingConfig:
    """Return settings with a length and evaluations."""
    return TrainingConfig(steps=steps, evaluations=evaluations)


FIRST = TrainingConfig(epochs=2, evaluations=4)
SECOND = settings(steps=80, evaluations=6).after(FIRST, at=10, total=50)
"""The settings of a run that had other settings until step 10."""


def test_a_change_of_length_records_the_length_before() -> None:
    assert SECOND.earlier_lengths == (EarlierLength(until=10, steps=50, evaluations=4),)
    assert (SECOND.steps, SECOND.evaluations) == (80, 6)


def test_a_second_change_of_length_keeps_the_first() -> None:
    third = settings(steps=30, evaluations=5).after(SECOND, at=20, total=80)
    second = EarlierLength(until=20, steps=80, evaluations=6)
    assert third.earlier_lengths == (*SECOND.earlier_lengths, second)


def test_a_run_can_be_lengthened_at_its_end() -> None:
    longer = settings(steps=90, evaluations=6).after(
        settings(steps=50, evaluations=4), at=50, total=50
    )
    assert longer.earlier_lengths == (EarlierLength(until=50, steps=50, evaluations=4),)


def test_nothing_is_recorded_before_the_first_step() -> None:
    assert settings(steps=90, evaluations=6).after(FIRST, at=0, total=50).earlier_lengths == ()


def test_a_length_under_which_no_step_was_taken_is_not_recorded() -> None:
    third = settings(steps=90, evaluations=7).after(SECOND, at=10, total=80)
    assert third.earlier_lengths == SECOND.earlier_lengths


def test_a_run_that_continues_before_its_last_change_forgets_the_change() -> None:
    third = settings(steps=90, evaluations=7).after(SECOND, at=5, total=80)
    assert third.earlier_lengths == (EarlierLength(until=5, steps=50, evaluations=4),)


def test_the_settings_of_a_changed_length_are_valid() -> None:
    assert TrainingConfig.model_validate(SECOND.model_dump()) == SECOND


# The JSON Schema


def test_the_schema_that_ships_is_up_to_date() -> None:
    is_current = (CONFIGS / "schema.json").read_text(encoding="utf-8") == charlm(
        "config", "schema"
    ).stdout
    assert is_current, "regenerate it: charlm config schema > configs/schema.json"


def test_every_setting_is_described() -> None:
    values = {key: field.description for key, field in walk(Config) if not section_of(field)}
    taught = flatten(Config(training=TrainingConfig(teachers=Teachers(models=("a",)))))
    assert values.keys() == taught.keys()
    assert all(meaning and meaning.endswith(".") for meaning in values.values())
    assert taught["training.teachers.models"] == ["a"]  # as JSON has it
    assert flatten(Config())["training.teachers"] is None


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_its_schema(name: str) -> None:
    load_config(find_recipe(name))
    first = find_recipe(name).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    assert find_recipe(name).parent / found[1] == CONFIGS / "schema.json"


def test_a_recipe_is_found_by_name_or_path() -> None:
    Path("default").write_text("model: {units: 3}\n", encoding="utf-8")
    assert load_config(find_recipe("default")).model.units != 3
    assert load_config(find_recipe("./default")).model.units == 3
    assert [find_recipe(name) for name in ("a/some.yaml", "some.yml")] == [
        Path("a/some.yaml"),
        Path("some.yml"),
    ]
    with pytest.raises(
        CharlmError, match=r"^tinny: no such recipe or YAML file; did you mean tiny\?"
    ):
        find_recipe("tinny")


def test_the_search_space_is_proposed_for_a_search_only() -> None:
    with pytest.raises(
        CharlmError, match=r"^spac: no such recipe or YAML file; charlm comes with 5mb, "
    ):
        find_recipe("spac")
    with pytest.raises(
        CharlmError, match=r"^spac: no such search space or YAML file; did you mean space\?"
    ):
        find_space("spac")


def test_an_unknown_name_is_refused_even_if_charlm_comes_without_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "CONFIGS", tmp_path)
    with pytest.raises(CharlmError, match=r"^qqqq: no such recipe or YAML file$"):
        find_recipe("qqqq")
