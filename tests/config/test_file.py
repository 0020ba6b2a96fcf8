"""Reading and writing configs: overrides, errors, and YAML."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import file
from charlm.config.file import Overrides, flatten, parse_config, parse_yaml
from charlm.config.schema import Config
from charlm.errors import CharlmError


def load(text: str, overrides: Overrides = ()) -> Config:
    """Load a text as a config."""
    Path("some.yaml").write_text(text, encoding="utf-8")
    return file.load_config(Path("some.yaml"), overrides=overrides)


# Overrides

MUON = "training: {optimizer: {name: muon, learning_rate: 0.5, weight_decay: 0.3}}"
LENGTH = "training: {epochs: 2, steps: 3, batch_size: 4}"
PENALTY = "model: {rnn: {kernel_regularizer: {class_name: L2, config: {l2: 0.1}}}}"


def optimizer(
    name: str, rate: float, decay: float | None, momentum: float | None
) -> dict[str, Any]:
    """Return the settings of an optimizer."""
    values = {"name": name, "learning_rate": rate, "weight_decay": decay, "momentum": momentum}
    return {f"training.optimizer.{key}": value for key, value in values.items()}


def length(
    epochs: int | None,
    steps: int | None,
    batch_size: int = 4,
) -> dict[str, Any]:
    """Return the settings of the length of a training."""
    return {"training.epochs": epochs, "training.steps": steps, "training.batch_size": batch_size}


def check_override(text: str, override: Overrides, expected: dict[str, Any]) -> None:
    """Check that an override changes some settings of a config, and sets no others."""
    assert not load(text, override).corpus.model_fields_set
    assert flatten(load(text, override)) == {**flatten(load(text)), **expected}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param("model.embedding=", None, id="empty"),
        pytest.param("model.embedding=null", None, id="null"),
        pytest.param("model.embedding=8", 8, id="number"),
        pytest.param("model={embedding: 8}", 8, id="section"),
        pytest.param({"model": {"embedding": 8}}, 8, id="section as a mapping"),
    ],
)
def test_an_override_replaces_one_setting(override: Overrides, expected: int | None) -> None:
    check_override("model: {embedding: 4, layers: 2}", override, {"model.embedding": expected})


def test_a_part_of_a_default_can_be_overridden() -> None:
    changed = {"class_name": "RandomNormal", "config": {"stddev": 1.0}}
    override = "model.input_initializer.config.stddev=1.0"
    check_override("", override, {"model.input_initializer": changed})


def test_the_last_override_of_a_setting_counts() -> None:
    overrides = ["model.rnn.dropout=1e-2", "seed=3", "seed=4"]
    check_override("", overrides, {"model.rnn.dropout": 0.01, "seed": 4})


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.steps=5", length(None, 5)),
        ({"training": {"steps": 5}}, length(None, 5)),
        ("training.epochs=7", length(7, None)),
        (["training.steps=7", "training.epochs=8"], length(8, 7)),
        ("training.epochs=null", length(None, 3)),
        ("training.batch_size=7", length(2, 3, 7)),
    ],
)
def test_epochs_or_steps_replace_both(override: Overrides, expected: dict[str, Any]) -> None:
    check_override(LENGTH, override, expected)


def test_a_config_without_a_length_has_twenty_epochs() -> None:
    assert flatten(load("training: {batch_size: 3}")).items() >= length(20, None, 3).items()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.optimizer={name: sgd, momentum: 0.1}", optimizer("sgd", 0.002, None, 0.1)),
        ("training.optimizer={name: muon, momentum: 0.1}", optimizer("muon", 0.5, 0.3, 0.1)),
        (
            ["training.optimizer.learning_rate=1", "training.optimizer.name=sgd"],
            optimizer("sgd", 1, None, None),
        ),
        (
            ["training.optimizer.name=sgd", "training.optimizer.learning_rate=1"],
            optimizer("sgd", 1, None, None),
        ),
    ],
)
def test_another_optimizer_drops_the_settings_of_the_first(
    override: Overrides, expected: dict[str, Any]
) -> None:
    check_override(MUON, override, expected)


def test_the_default_optimizer_by_name_keeps_its_settings() -> None:
    expected = optimizer("adam", 1, None, None)
    check_override(
        "training: {optimizer: {learning_rate: 1}}", "training.optimizer.name=adam", expected
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("l2", "l2"),
        ("null", None),
        ("{class_name: L1}", {"class_name": "L1"}),
        ("{config: {l1: 1}}", {"class_name": "L2", "config": {"l2": 0.1, "l1": 1}}),
    ],
)
def test_a_keras_object_is_replaced_unless_only_its_config_changes(
    value: str, expected: object
) -> None:
    key = "model.rnn.kernel_regularizer"
    check_override(PENALTY, f"{key}={value}", {key: expected})


@pytest.mark.parametrize(
    ("text", "found"),
    [("[seed]", "['seed']"), ("just words", "'just words'"), ("true", "true")],
)
def test_a_file_must_be_a_mapping(text: str, found: str) -> None:
    with pytest.raises(CharlmError) as error:
        load(text)
    assert str(error.value) == f"some.yaml: found {found}; must be a mapping of keys to values"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "override seed: must be KEY=VALUE"),
        (" =3", "override  =3: must be KEY=VALUE"),
        ("seed.x=3", "override: seed: found {'x': 3}; must be a valid integer"),
        ("model.units=many", "override: model.units: found 'many'; "),
        ("seed=[", "override seed: "),
        (
            "training.optimizer" + ".x" * 5000 + "=1",
            "override: training.optimizer.x: found {'x': {'x'",
        ),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(CharlmError) as error:
        load("seed: 1", override)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


# Errors


INITIALIZER = "model.input_initializer: found {.*}; .* with class_name.*"
MISTAKES = {
    "sed: 3": "sed: found 3; there is no such key in .*; did you mean seed?",
    "xyzzy: 1": "xyzzy: found 1; there is no such key in version .*",
    "learning_rate: 1": (
        "learning_rate: found 1; .* key in .*; did you mean training.optimizer.learning_rate?"
    ),
    "seed: -1": "seed: found -1; .* greater than or equal to 0",
    "seed: 1e999": "seed: found inf; must be a valid integer",
    "corpus: 3": "corpus: found 3; must be a mapping of keys to values",
    "corpus: {encoding: no}": "corpus.encoding: found false; must be a valid string",
    "model: {UNITS: 3}": "model.UNITS: .*; did you mean model.units?",
    "model: {rnn: {drop_out: 0.1}}": "model.rnn.drop_out: .*; did you mean model.rnn.dropout?",
    "model: {rnn: {activation: than}}": (
        "model.rnn.activation: found 'than'; .*'relu'.*; did you mean tanh?"
    ),
    "model: {rnn: {bias_regularizer: 1}}": (
        "model.rnn.bias_regularizer: found 1; .* a name, null, or .*"
    ),
    "model: {input_initializer: {module: os, class_name: system}}": INITIALIZER,
    "model: {input_initializer: {class_name: 3}}": INITIALIZER,
    "model: {input_initializer: {}}": INITIALIZER,
    "model: {input_initializer: {class_name: a, config: {seed: 2001-01-01}}}": INITIALIZER,
    "model: {input_initializer: {class_name: a, config: {seed: .nan}}}": INITIALIZER,
    "optimizer: adam": "optimizer: .* key in .*; did you mean training.optimizer.name?",
    "training: {optimizer: x}": (
        "training.optimizer: found 'x'; must be a mapping of keys to values; "
        "did you mean training.optimizer.name?"
    ),
    "training: {optimizer: {momentum: 0.5}}": (
        "training.optimizer: .*; adam has no momentum; .* sgd or muon"
    ),
    "training: {precision: 16}": (
        "training.precision: found 16; must be 'auto', 'float32' or 'bfloat16'"
    ),
    "training: {clip_norm: 0}": (
        "training.clip_norm: found 0; .* greater than or equal to 0.000000001"
    ),
    "corpus: {validation_fraction: 0.5, test_fraction: 0.5}": (
        "corpus: found .*; validation_fraction .* than 1"
    ),
    'sampling: {prompt: "\\ud800"}': r"sampling.prompt: found '\ud800'; must be a valid string, .*",
}
"""The error message for each wrong config, in which .* stands for any text."""


def check_refused(text: str, message: str) -> None:
    """Check the error message for a wrong config; .* in it stands for any text."""
    with pytest.raises(CharlmError) as error:
        parse_config(parse_yaml(text, origin="yaml"), origin="test")
    pattern = re.escape(f"test: {message}").replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, str(error.value)), error.value


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_a_wrong_config_is_refused(text: str, message: str) -> None:
    check_refused(text, message)


def problems_of(values: dict[str, Any]) -> tuple[str, ...]:
    """Return the lines of the error about a wrong config."""
    with pytest.raises(CharlmError) as error:
        parse_config(values, origin="test")
    return error.value.lines


LARGEST: dict[str, Any] = {
    "seed": 2**31 - 1,
    "model.layers": 64,
    "model.units": 65_536,
    "model.embedding": 65_536,
    "training.epochs": 10**9,
    "training.steps": 10**9,
    "training.evaluations": 1000,
    "training.parts": 1024,
    "training.schedule.warmup_steps": 10**9,
    "training.optimizer.learning_rate": 1e9,
    "sampling.length": 100_000,
    "sampling.prompt": 100_000 * "x",
}


@pytest.mark.parametrize("key", LARGEST)
def test_a_setting_has_a_largest_value(key: str) -> None:
    largest = LARGEST[key]
    above = largest + ("x" if key == "sampling.prompt" else 1)
    assert flatten(parse_config(file.nest([(key, largest)]), origin="test"))[key] == largest
    (problem,) = problems_of(file.nest([(key, above)]))
    assert problem.startswith(f"test: {key}: found ")


def test_a_wrong_file_is_to_blame_even_if_there_are_overrides() -> None:
    with pytest.raises(CharlmError) as error:
        load("sed: 1", "seed=2")
    assert str(error.value).startswith("some.yaml: sed: found 1; ")


@pytest.mark.parametrize("count", [10, 1012])
def test_at_most_ten_errors_are_shown(count: int) -> None:
    first, *others = problems_of({f"x{number}": 1 for number in range(count)})
    assert first == f"test: {count:,} errors"
    assert len(others) == 10
    assert others[9].startswith("x9: ")


@pytest.mark.parametrize("key", flatten(Config()))
def test_a_wrong_value_is_one_error(key: str) -> None:
    (problem,) = problems_of(file.nest([(key, {"x": []})]))
    assert problem.startswith(f"test: {key}: found ")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("units", "set model.units instead"),
        (
            "stateful",
            "always false, because the state is an explicit argument; see training.state_reset",
        ),
    ],
)
def test_an_argument_of_keras_that_is_no_setting_is_refused_with_the_reason(
    key: str, reason: str
) -> None:
    check_refused(
        f"model: {{rnn: {{{key}: 1}}}}",
        f"model.rnn: found {{'{key}': 1}}; {key} is not a setting: {reason}",
    )


@pytest.mark.parametrize("key", ["seed", "training.kernel", "training.epochs", "sampling"])
def test_a_number_that_python_does_not_print_is_refused(key: str) -> None:
    with pytest.raises(CharlmError, match=rf"^override: {key}: found a number of thousands of"):
        load("", {key: 10**5000})


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*flatten(Config()), "x", ""]), json_values, max_size=3))
def test_any_mapping_is_a_config_or_refused_in_one_line(flat: dict[str, Any]) -> None:
    try:
        config = parse_config(file.nest(flat.items()), origin="test")
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: no error"
        values = parse_yaml(file.dump_config(config), origin="again")
        assert parse_config(values, origin="again") == config
    assert re.fullmatch(r"test: [^\n]*", message)


# YAML


def parse(text: str) -> Any:
    return parse_yaml(text, origin="test")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("a: 1", {"a": 1}, id="mapping"),
        pytest.param("[true, null, ~, 1.5, text]", [True, None, None, 1.5, "text"], id="list"),
        pytest.param("", None, id="empty"),
        pytest.param("[no, On]", [False, True], id="booleans of YAML 1.1"),
        pytest.param("1.2.3", "1.2.3", id="text that resembles a number"),
        pytest.param(" " * 49_999 + "1", 1, id="longest text"),
    ],
)
def test_plain_yaml_is_read(text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "+1e-3", "0.001", "1.e-3"])
def test_a_number_may_have_an_exponent(text: str) -> None:
    assert parse(text) == 0.001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2", "line 2, column 1: not valid YAML: 'seed' occurs twice"),
        ("a: &x 1\nb: *x", "line 2, column 4: not valid YAML: aliases are not allowed"),
        ("seed: !x 1", "line 1, column 7: not valid YAML: could not determine a constructor"),
        ("[" * 1000, "not valid YAML: nested too deeply"),
        ("[a]: 1", "line 1, column 1: not valid YAML: found unhashable key"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 0x" + "f" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 2001-13-01", "not valid YAML: month must be in 1..12"),
        ("a: !!bool maybe", "not valid YAML: 'maybe'"),
    ],
    ids=lambda text: text[:20],
)
def test_an_error_of_yaml_is_reported_with_its_place(text: str, message: str) -> None:
    with pytest.raises(CharlmError) as error:
        parse(text)
    assert str(error.value).startswith(f"test: {message}")


LONG = ("9" * 49_000, "9" * 4000 + "e", "9" * 25_000 + "." + "9" * 24_000 + "e", "1." * 24_000)
"""Texts for which a backtracking regular expression would take minutes."""


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:3] + text[-3:])
def test_a_long_text_that_begins_like_a_number_is_read_back(text: str) -> None:
    assert parse(file.dump_yaml({"a": text})) == {"a": text}


FRAGMENTS = ["{", "}", "[", "]", ": ", ", ", "- ", "? ", "&a ", "*a", "!!set ", "<<", "|", "'", "#"]
WORDS = ["\n", " ", "1e", "9" * 5000, "2001-01-01", "[" * 40, "\\ud800", "\x00", "\u2028", "\ufeff"]
texts = st.text(max_size=50) | st.lists(st.sampled_from(FRAGMENTS + WORDS)).map("".join)


@settings(max_examples=200)
@given(texts)
def test_any_text_is_a_config_or_refused_in_one_line(text: str) -> None:
    try:
        parse_config(parse(text) or {}, origin="test")
        message = "test: no error"
    except CharlmError as error:
        message = str(error)
    assert message.startswith("test: ")
    assert len(message.splitlines()) == 1
