"""Reading and writing configs, and what is said of a value that is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.file import (
    Overrides,
    dump_config,
    flatten,
    load_config,
    nest,
    parse_config,
    parse_overrides,
    parse_yaml,
)
from charlm.config.schema import DECIDED_BY_THE_TASK, Config, OptimizerConfig
from charlm.errors import CharlmError


def load(text: str, overrides: Overrides = ()) -> Config:
    """Load a text as a config."""
    Path("some.yaml").write_text(text, encoding="utf-8")
    return load_config(Path("some.yaml"), overrides=overrides)


# Files


@pytest.mark.parametrize("text", ["[seed]", "just words", "true"])
def test_a_file_that_is_not_a_mapping_is_refused(text: str) -> None:
    with pytest.raises(CharlmError, match="a config is a mapping of keys to values"):
        load(text)


# Overrides


@pytest.mark.parametrize(("value", "expected"), [("", None), ("null", None), ("8", 8)])
def test_the_value_of_an_override_is_yaml_and_replaces_that_of_the_file(value: str, expected: int | None) -> None:
    overrides = [f"model.embedding={value}", "model.rnn.dropout=1e-2"]
    model = load("model: {embedding: 4, layers: 2}", overrides).model
    assert (model.embedding, model.layers, model.rnn.dropout) == (expected, 2, 0.01)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "override seed: must be KEY=VALUE"),
        ("seed.x=3", "override: seed: found {'x': 3}; Input should be a valid integer"),
        ("model.units=many", "override: model.units: found 'many'; "),
        ("seed=[", "override seed: "),
        ("seed=*x", "override seed: line 1, column 1: not valid YAML: aliases and tags"),
        ("training.optimizer" + ".x" * 5000 + "=1", "override: training.optimizer.x: found {'x': {'x'"),
    ],
)
def test_a_wrong_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(CharlmError) as error:
        load("seed: 1", [override])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


# Back to YAML


@pytest.mark.parametrize(
    "text",
    [
        "sampling: {prompt: '1e5', temperature: 1e-30}",
        "training: {epochs: 1, optimizer: {name: adamw, weight_decay: 1e-7}}",
        "model: {input_initializer: {class_name: Constant, config: {value: -1}}, rnn: {activation: relu}}",
    ],
)
def test_a_config_reads_back_from_its_dump(text: str) -> None:
    config = parse_config(parse_yaml(text, origin="test"), origin="test")
    assert parse_config(parse_yaml(dump_config(config), origin="dump"), origin="dump") == config


@pytest.mark.parametrize(
    "overrides",
    ["training.steps=5", ["training={steps: 5}"], {"training": {"steps": 5}}, {"training.steps": 5}],
    ids=["key", "section as text", "section", "mapping"],
)
def test_a_key_and_its_section_are_the_same_override(overrides: Overrides) -> None:
    assert parse_overrides(overrides) == {"training": {"steps": 5}}
    training = load("training: {batch_size: 3, epochs: 2}", overrides).training
    assert (training.batch_size, training.epochs, training.steps) == (3, None, 5)


@pytest.mark.parametrize(
    ("overrides", "epochs", "steps"),
    [
        (["training.epochs=7"], 7, None),
        (["training.steps=7"], None, 7),
        (["training.steps=7", "training.epochs=8"], 8, 7),
        (["training.steps=null"], 2, None),
        (["training.epochs=null"], None, 3),
        (["training.batch_size=7"], 2, 3),
    ],
)
def test_a_length_that_is_given_replaces_that_of_the_recipe(
    overrides: list[str], epochs: int | None, steps: int | None
) -> None:
    training = load("training: {epochs: 2, steps: 3}", overrides).training
    assert (training.epochs, training.steps) == (epochs, steps)


def test_a_section_that_is_written_keeps_the_defaults_of_its_other_keys() -> None:
    assert load("training: {batch_size: 3}").training.epochs == 10
    assert load("training: {steps: 3}").training.epochs is None
    schedule = load("", ["training.schedule.warmup_steps=8"]).training.schedule
    assert (schedule.warmup_steps, schedule.name) == (8, "cosine")


MUON = "name: muon, learning_rate: 0.5, weight_decay: 0.3"


@pytest.mark.parametrize(
    ("written", "overrides", "expected"),
    [
        (MUON, ["={name: sgd, momentum: 0.1}"], {"name": "sgd", "momentum": 0.1}),
        (
            MUON,
            ["={name: muon, momentum: 0.1}"],
            {"name": "muon", "learning_rate": 0.5, "weight_decay": 0.3, "momentum": 0.1},
        ),
        (MUON, [".learning_rate=0.25", ".name=sgd"], {"name": "sgd", "learning_rate": 0.25}),
        (MUON, [".name=sgd", ".learning_rate=0.25"], {"name": "sgd", "learning_rate": 0.25}),
        ("learning_rate: 0.5", [".name=adam"], {"name": "adam", "learning_rate": 0.5}),
    ],
)
def test_an_optimizer_inherits_only_the_arguments_of_one_of_its_name(
    written: str, overrides: list[str], expected: dict[str, Any]
) -> None:
    found = load(f"training: {{optimizer: {{{written}}}}}", [f"training.optimizer{each}" for each in overrides])
    assert found.training.optimizer == OptimizerConfig(**expected)


# What is wrong with a value


def refusal(values: Any) -> str:
    with pytest.raises(CharlmError) as error:
        parse_config(values, origin="test")
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sed: 3", "sed: found 3; Extra .*; did you mean seed?"),
        ("model: {unit: 3}", "model.unit: found 3; Extra .*; did you mean model.units?"),
        ("training: {optimiser: x}", "training.optimiser: found 'x'; Extra .*; did you mean training.optimizer?"),
        ("learning_rate: 1", "learning_rate: found 1; Extra .*; did you mean training.optimizer.learning_rate?"),
        ("sampling: {dropout: 1}", "sampling.dropout: found 1; Extra .*; did you mean model.rnn.dropout?"),
        ("xyzzy: 1", "xyzzy: found 1; Extra inputs are not permitted"),
        ("1: 2", "1: found 2; Extra inputs are not permitted"),
        ("training: {optimizer: {momentum: 0.5}}", "training.optimizer: found .*; adam has no momentum; .* sgd or muon"),
        ("model: {rnn: {activation: than}}", "model.rnn.activation: found 'than'; .*'relu'.*; did you mean tanh?"),
        ("training: {precision: 16}", "training.precision: found 16; Input should be 'float32' or 'bfloat16'"),
        ("seed: -1", "seed: found -1; .* greater than or equal to 0"),
        ("seed: 2147483648", "seed: found 2147483648; .* less than 2147483648"),
        ("corpus: {encoding: no}", "corpus.encoding: found false; .* valid string"),
        ("corpus: 3", "corpus: found 3; .* valid dictionary .*"),
        ("sampling: {prompt: 5}", "sampling.prompt: found 5; .* valid string"),
        ("training: {steps: null, epochs: many}", "training.epochs: found 'many'; .* valid integer"),
        ("training: {clip_norm: 0}", "training.clip_norm: found 0; .* greater than or equal to 0.000000001"),
        ("training: {teachers: a}", "training.teachers: found 'a'; .* valid dictionary .*"),
        ("training: {steps: 9007199254740993}", "training.steps: found 9007199254740993; .* 1000000000"),
        ("training: {steps: null, epochs: null}", "training: found {.*}; epochs or steps must be given"),
        ("model: {rnn: {bias_regularizer: 1}}", "model.rnn.bias_regularizer: found 1; .* a name, null, or .*"),
        *(
            (f"model: {{input_initializer: {value}}}", "model.input_initializer: found {.*}; .* of class_name.*")
            for value in ("{module: os, class_name: system}", "{class_name: 3}", "{}", "{class_name: L2, extra: 1}")
        ),
        ("corpus: {validation_fraction: 0.5, test_fraction: 0.5}", "corpus: found .*; validation_fraction .* than 1"),
        ("training: {ngram_weight: 0.6, teachers: {models: [a]}}", "training: .*; teacher_weight .* found 1.1; .*"),
        *(
            (f"model: {{rnn: {{{key}: 1}}}}", f"model.rnn: found {{'{key}': 1}}; {key} is not a setting: {reason}")
            for key, reason in DECIDED_BY_THE_TASK.items()
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_its_key_what_was_found_and_what_would_do(text: str, line: str) -> None:
    found = refusal(parse_yaml(text, origin="yaml"))
    assert re.fullmatch(re.escape(f"test: {line}").replace(r"\.\*", ".*"), found), found


def test_a_long_value_is_cut_and_controls_are_escaped() -> None:
    message = refusal({"seed": 10**6 * "\x1b", "recipe": None})
    assert message.isprintable()
    assert len(message) < 500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*flatten(Config()), "x", ""]), json_values, max_size=3))
def test_any_mapping_is_a_config_or_refused_in_one_line(flat: dict[str, Any]) -> None:
    try:
        config = parse_config(nest(flat.items()), origin="test")
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: "
        assert parse_config(json.loads(json.dumps(config.model_dump(mode="json"))), origin="again") == config
    assert re.fullmatch(r"test: [^\n]*", message)
