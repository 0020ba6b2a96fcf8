"""YAML files and overrides -> a config and back."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.file import Overrides, dump_config, flatten, load_config, nest, parse_config, parse_overrides
from charlm.config.schema import Config
from charlm.config.yaml import parse_yaml
from charlm.errors import CharlmError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a path for a config."""
    return tmp_path / "some.yaml"


def load(file: Path, text: str, *overrides: str) -> Config:
    """Load a text as a config."""
    file.write_text(text, encoding="utf-8")
    return load_config(file, overrides=overrides)


# Files


@pytest.mark.parametrize("text", ["[seed]", "just words", "true"])
def test_a_file_that_is_not_a_mapping_is_refused(file: Path, text: str) -> None:
    with pytest.raises(CharlmError, match="a config is a mapping of keys to values"):
        load(file, text)


# Keys and values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 3", "sed: unknown key; did you mean seed?"),
        ("model: {unit: 3}", "model.unit: unknown key; did you mean model.units?"),
        ("model: {rnn: {activatoin: tanh}}", "did you mean model.rnn.activation?"),
        ("learning_rate: 1", "learning_rate: unknown key; did you mean training.optimizer.learning_rate?"),
        ("xyzzy: 1", "xyzzy: unknown key; there are recipe, seed, corpus, model, training, sampling"),
        ("1: 2", "1: found 1 (a whole number); a key must be text"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_key_or_all_keys(file: Path, text: str, message: str) -> None:
    with pytest.raises(CharlmError) as error:
        load(file, text)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{file}: ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*flatten(Config()), "x", ""]), json_values, max_size=3))
def test_any_mapping_is_a_config_or_refused_in_one_line_without_types_of_python(flat: dict[str, Any]) -> None:
    values = nest(flat.items())
    try:
        config = parse_config(values, origin="test")
    except CharlmError as error:
        message = str(error)
        demand = message.rpartition("; ")[2]
        assert not any(word in demand for word in ("Input", "valid ", "tuple", "dictionary", "integer", "instance"))
    else:
        message = "test: "
        assert parse_config(json.loads(json.dumps(config.model_dump(mode="json"))), origin="again") == config
    assert message.startswith("test: ")
    assert "\n" not in message


# Overrides


@pytest.mark.parametrize(("value", "expected"), [("", None), ("null", None), ("8", 8)])
def test_the_value_of_an_override_is_yaml_and_replaces_that_of_the_file(
    file: Path, value: str, expected: int | None
) -> None:
    model = load(file, "model: {embedding: 4, layers: 2}", f"model.embedding={value}", "model.rnn.dropout=1e-2").model
    assert (model.embedding, model.layers, model.rnn.dropout) == (expected, 2, 0.01)


@pytest.mark.parametrize("overrides", [3, ["seed=1", 3], None])
def test_overrides_that_are_neither_texts_nor_a_mapping_are_refused(overrides: Any) -> None:
    with pytest.raises(CharlmError, match=r"^overrides: found .*; must be texts KEY=VALUE, or a mapping$"):
        parse_overrides(overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "override seed: must be KEY=VALUE"),
        ("seed.x=3", "override: seed: found {'x': 3} (a mapping); must be a whole number"),
        ("model.units=many", "override: model.units: found 'many' (text)"),
        ("seed=[", "override seed: "),
        ("seed=*x", "override seed: line 1, column 1: not valid YAML: aliases are not allowed"),
        ("training.optimizer" + ".x" * 5000 + "=1", "override 'training.optimizer.x.x"),
    ],
)
def test_a_wrong_override_is_refused(file: Path, override: str, message: str) -> None:
    with pytest.raises(CharlmError) as error:
        load(file, "seed: 1", override)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


# Back to YAML


@pytest.mark.parametrize(
    "text",
    [
        "sampling: {prompt: '1e5', temperature: 1e-30}",
        "training: {epochs: 1, optimizer: {name: adamw, weight_decay: null, betas: [0.9, 1e-7]}}",
        "model: {input_initializer: {class_name: Constant, config: {value: -1}}, rnn: {activation: relu}}",
    ],
)
def test_a_config_reads_back_from_its_dump(text: str) -> None:
    config = parse_config(parse_yaml(text, origin="test"), origin="test")
    assert parse_config(parse_yaml(dump_config(config), origin="dump"), origin="dump") == config


# overrides


@pytest.mark.parametrize(
    "overrides",
    ["training.steps=5", ["training={steps: 5}"], {"training": {"steps": 5}}, {"training.steps": 5}],
    ids=["key", "section as text", "section", "mapping"],
)
def test_a_key_and_its_section_are_the_same_override(file: Path, overrides: Overrides) -> None:
    file.write_text("training: {batch_size: 3, epochs: 2}", encoding="utf-8")
    assert parse_overrides(overrides) == {"training": {"steps": 5}}
    training = load_config(file, overrides=overrides).training
    assert (training.batch_size, training.epochs, training.steps) == (3, 2, 5)


def test_a_section_that_is_written_keeps_the_defaults_of_its_other_keys(file: Path) -> None:
    assert load(file, "training: {batch_size: 3}").training.epochs == 10
    assert load(file, "training: {steps: 3}").training.epochs is None
    schedule = load(file, "", "training.schedule.warmup_steps=8").training.schedule
    assert (schedule.warmup_steps, schedule.name) == (8, "cosine")


def test_another_optimizer_does_not_inherit_the_arguments_of_the_one_before(file: Path) -> None:
    text = "training: {optimizer: {name: muon, learning_rate: 0.5, ns_steps: 3}}"
    changed, same = (load(file, text, f"training.optimizer={{name: {name}, x: 1}}") for name in ("sgd", "muon"))
    assert changed.training.optimizer.model_dump() == {"name": "sgd", "learning_rate": 2e-3, "x": 1}
    assert same.training.optimizer.model_dump() == {"name": "muon", "learning_rate": 0.5, "ns_steps": 3, "x": 1}
