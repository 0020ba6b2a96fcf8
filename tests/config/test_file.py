"""Reading and writing configs, and what is said of a value that is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.file import Overrides, dump_config, flatten, load_config, nest, parse_config, parse_yaml
from charlm.config.schema import DECIDED_BY_THE_TASK, Config
from charlm.errors import CharlmError


def load(text: str, overrides: Overrides = ()) -> Config:
    """Load a text as a config."""
    Path("some.yaml").write_text(text, encoding="utf-8")
    return load_config(Path("some.yaml"), overrides=overrides)


# Overrides

MUON = "training: {optimizer: {name: muon, learning_rate: 0.5, weight_decay: 0.3}}"
LENGTH = "training: {epochs: 2, steps: 3, batch_size: 4}"
TAUGHT = "training: {teachers: {recipe: a, seeds: [1]}}"
PENALTY = "model: {rnn: {kernel_regularizer: {class_name: L2, config: {l2: 0.1}}}}"


def optimizer(name: str, rate: float, decay: float | None, momentum: float | None) -> dict[str, Any]:
    """Return the settings of an optimizer."""
    values = {"name": name, "learning_rate": rate, "weight_decay": decay, "momentum": momentum}
    return {f"training.optimizer.{key}": value for key, value in values.items()}


def teachers(recipe: str | None, seeds: list[int], models: list[str]) -> dict[str, Any]:
    """Return the settings of the teachers."""
    values = {"recipe": recipe, "seeds": seeds, "models": models}
    return {f"training.teachers.{key}": value for key, value in values.items()}


def length(epochs: int | None, steps: int | None, batch_size: int = 4) -> dict[str, Any]:
    """Return the settings of the length of a training."""
    return {"training.epochs": epochs, "training.steps": steps, "training.batch_size": batch_size}


def test_an_override_replaces_what_the_file_says_and_what_belongs_to_that() -> None:
    expected: Any
    for text, overrides, expected in (
        *(
            ("model: {embedding: 4, layers: 2}", f"model.embedding={value}", {"model.embedding": e, "model.layers": 2})
            for value, e in (("", None), ("null", None), ("8", 8))
        ),
        ("", "training.schedule.warmup_steps=8", {"training.schedule.warmup_steps": 8}),
        ("", ["model.rnn.dropout=1e-2", "seed=3", "seed=4"], {"model.rnn.dropout": 0.01, "seed": 4}),
        *(
            (LENGTH, overrides, length(None, 5))
            for overrides in (
                *("training.steps=5", ["training={steps: 5}"], {"training": {"steps": 5}}, {"training.steps": 5}),
                {"training": {"steps": 6}, "training.steps": 5},
            )
        ),
        (LENGTH, "training.epochs=7", length(7, None)),
        (LENGTH, ["training.steps=7", "training.epochs=8"], length(8, 7)),
        (LENGTH, "training.steps=null", length(2, None)),
        (LENGTH, "training.epochs=null", length(None, 3)),
        (LENGTH, "training.batch_size=7", length(2, 3, 7)),
        ("training: {batch_size: 3}", (), length(10, None, 3)),
        ("training: {steps: 3}", (), length(None, 3, 64)),
        (MUON, "training.optimizer={name: sgd, momentum: 0.1}", optimizer("sgd", 0.002, None, 0.1)),
        (MUON, "training.optimizer={name: muon, momentum: 0.1}", optimizer("muon", 0.5, 0.3, 0.1)),
        (MUON, ["training.optimizer.learning_rate=1", "training.optimizer.name=sgd"], optimizer("sgd", 1, None, None)),
        (MUON, ["training.optimizer.name=sgd", "training.optimizer.learning_rate=1"], optimizer("sgd", 1, None, None)),
        ("training: {optimizer: {learning_rate: 1}}", "training.optimizer.name=adam", optimizer("adam", 1, None, None)),
        *(
            (PENALTY, f"model.rnn.kernel_regularizer={value}", {"model.rnn.kernel_regularizer": expected})
            for value, expected in (
                *(("l2", "l2"), ("null", None), ("{class_name: L1}", {"class_name": "L1"})),
                ("{config: {l1: 1}}", {"class_name": "L2", "config": {"l2": 0.1, "l1": 1}}),
            )
        ),
        (TAUGHT, "training.teachers={models: [b]}", teachers(None, [], ["b"])),
        (TAUGHT, "training.teachers.seeds=[4]", teachers("a", [4], [])),
    ):
        assert flatten(load(text, overrides)) == {**flatten(load(text)), **expected}


def test_a_wrong_file_or_override_is_refused() -> None:
    for text, override, message in (
        *(
            (text, (), f"some.yaml: found {found}; a config is a mapping of keys to values")
            for text, found in (("[seed]", "['seed']"), ("just words", "'just words'"), ("true", "true"))
        ),
        ("seed: 1.5", "seed=1", "some.yaml: seed: found 1.5; "),
        ("seed: 1", "seed", "override seed: must be KEY=VALUE"),
        ("seed: 1", " =3", "override  =3: must be KEY=VALUE"),
        ("seed: 1", "seed.x=3", "override: seed: found {'x': 3}; Input should be a valid integer"),
        ("seed: 1", "model.units=many", "override: model.units: found 'many'; "),
        ("seed: 1", "seed=[", "override seed: "),
        ("seed: 1", "seed=*x", "override seed: line 1, column 1: not valid YAML: aliases and tags"),
        ("seed: 1", "training.optimizer" + ".x" * 5000 + "=1", "override: training.optimizer.x: found {'x': {'x'"),
    ):
        with pytest.raises(CharlmError) as error:
            load(text, override)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


# What is wrong with a value


def test_a_mistake_is_answered_with_its_key_what_was_found_and_what_would_do() -> None:
    for text, line in (
        ("sed: 3", "sed: found 3; Extra .*; did you mean seed?"),
        ("model: {unit: 3}", "model.unit: found 3; Extra .*; did you mean model.units?"),
        ("training: {optimiser: x}", "training.optimiser: found 'x'; Extra .*; did you mean training.optimizer?"),
        ("learning_rate: 1", "learning_rate: found 1; Extra .*; did you mean training.optimizer.learning_rate?"),
        ("sampling: {dropout: 1}", "sampling.dropout: found 1; Extra .*; did you mean model.rnn.dropout?"),
        ("xyzzy: 1", "xyzzy: found 1; Extra inputs are not permitted"),
        ("1: 2", "1: found 2; Extra inputs are not permitted"),
        ("training: {optimizer: {momentum: 0.5}}", "training.optimizer: .*; adam has no momentum; .* sgd or muon"),
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
        ("training: {teachers: {recipe: a, seds: [1]}}", ".*teachers.seds: .*; did you mean training.teachers.seeds?"),
        ("training: {teachers: {recipe: a, seeds: [1, 1]}}", "training.teachers: found .*; a seed occurs twice; .*"),
        *(
            (f"training: {{teachers: {value}}}", "training.teachers: .* {recipe: NAME, seeds: .* {models: [FILE.*")
            for value in ("{}", "{recipe: a}", "{seeds: [1]}", "{models: [a], seeds: [1]}", "{recipe: a, seeds: []}")
        ),
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
    ):
        with pytest.raises(CharlmError) as error:
            parse_config(parse_yaml(text, origin="yaml"), origin="test")
        assert re.fullmatch(re.escape(f"test: {line}").replace(r"\.\*", ".*"), str(error.value)), error.value


def test_a_long_value_is_cut_and_controls_are_escaped() -> None:
    with pytest.raises(CharlmError) as error:
        parse_config({"seed": 10**6 * "\x1b", "recipe": None}, origin="test")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


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
        assert parse_config(parse_yaml(dump_config(config), origin="again"), origin="again") == config
    assert re.fullmatch(r"test: [^\n]*", message)
