"""YAML files and overrides: what they mean, and how they are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm import config_file
from charlm.config import ACTIVATIONS, DECIDED_BY_THE_TASK, Config
from charlm.config_file import dump_config, flatten, load_config, parse_config
from charlm.errors import CharlmError
from charlm.recipes import find_recipe, recipe_names
from charlm.rnn import ACTIVATIONS as NUMPY_ACTIVATIONS
from charlm.safe_yaml import parse_yaml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a path for a config."""
    return tmp_path / "some.yaml"


def load(file: Path, text: str, *overrides: str) -> Config:
    """Load a text as a config."""
    file.write_text(text, encoding="utf-8")
    return load_config(file, overrides=overrides)


def test_an_empty_file_is_all_defaults(file: Path) -> None:
    assert load(file, "") == Config()


def test_what_a_file_does_not_say_is_the_default(file: Path) -> None:
    config = load(file, "model: {units: 7}\ntraining: {steps: 3}")
    assert config.model.units == 7
    assert config.model.layers == Config().model.layers
    assert config.training.steps == 3


def test_every_default_comes_back_from_the_dumped_config(file: Path) -> None:
    assert load(file, dump_config(Config())) == Config()


def test_a_dumped_config_holds_every_key(file: Path) -> None:
    dumped = parse_yaml(dump_config(Config()), origin="dump")
    assert dumped == Config().model_dump(mode="json")
    assert dumped["training"]["optimizer"] == {"name": "adam", "learning_rate": 0.002}


def test_settings_other_than_the_defaults_come_back(file: Path) -> None:
    text = """
        seed: 3
        corpus: {level: byte, min_count: 2, test_fraction: 0.25}
        model: {embedding: 9, rnn: {kernel_regularizer: {class_name: L2, config: {l2: 1e-4}}}}
        training: {steps: 5, optimizer: {name: sgd, learning_rate: 1, momentum: 0.9}}
        sampling: {prompt: "é\\n", top_k: 5}
    """
    config = load(file, text)
    assert load(file, dump_config(config)) == config
    assert config.training.optimizer.arguments == {"momentum": 0.9}
    assert config.sampling.prompt == "é\n"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_loads(name: str) -> None:
    load_config(find_recipe(name))


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "+1e-3", "0.001", "1.e-3"])
def test_a_number_may_be_written_with_an_exponent(file: Path, text: str) -> None:
    config = load(file, f"training: {{epochs: 1, optimizer: {{learning_rate: {text}}}}}")
    assert config.training.optimizer.learning_rate == 0.001


@pytest.mark.parametrize(("key", "text"), [("clip_norm", "1"), ("max_minutes", "30")])
def test_a_whole_number_will_do_where_a_number_is_wanted(file: Path, key: str, text: str) -> None:
    assert getattr(load(file, f"training: {{epochs: 1, {key}: {text}}}").training, key) == float(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 3", "sed: unknown key; did you mean seed?"),
        ("model: {unit: 3}", "model.unit: unknown key; did you mean model.units?"),
        ("model: {rnn: {activatoin: tanh}}", "did you mean model.rnn.activation?"),
        ("training: {epochs: 1, units: 3}", "training.units: unknown key; did you mean model.units?"),
        ("learning_rate: 1", "learning_rate: unknown key; did you mean training.optimizer.learning_rate?"),
        ("xyzzy: 1", "xyzzy: unknown key; there are seed, corpus, model, training, sampling"),
        ("model: {xyzzy: 1}", "model.xyzzy: unknown key; there are layers, units, embedding"),
        ("1: 2", "1"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_key(file: Path, text: str, message: str) -> None:
    with pytest.raises(CharlmError) as error:
        load(file, text)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("key", DECIDED_BY_THE_TASK)
def test_an_argument_that_the_task_decides_is_refused_with_the_reason(file: Path, key: str) -> None:
    with pytest.raises(CharlmError) as error:
        load(file, f"model: {{rnn: {{{key}: true}}}}")
    assert f"model.rnn.{key}: unknown key here: {DECIDED_BY_THE_TASK[key]}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "key", "found", "reason"),
    [
        ("seed: -1", "seed", "-1 (a whole number)", "greater than or equal to 0"),
        ("seed: 1.5", "seed", "1.5 (a number)", "valid integer"),
        ("seed: true", "seed", "True (true or false)", "valid integer"),
        ("seed: '1'", "seed", "'1' (text)", "valid integer"),
        ("seed:", "seed", "None (nothing)", "valid integer"),
        ("seed: 2147483648", "seed", "2147483648", "less than 2147483648"),
        ("corpus: {encoding: no}", "corpus.encoding", "False (true or false)", "valid string"),
        ("corpus: {level: word}", "corpus.level", "'word' (text)", "'char' or 'byte'"),
        ("corpus: {min_count: 0}", "corpus.min_count", "0", "greater than or equal to 1"),
        ("corpus: {validation_fraction: 1}", "corpus.validation_fraction", "1", "less than 1"),
        ("corpus: 3", "corpus", "3 (a whole number)", "should be"),
        ("model: {units: 0}", "model.units", "0", "greater than or equal to 1"),
        ("model: {units: 65537}", "model.units", "65537", "less than or equal to 65536"),
        ("model: {layers: 65}", "model.layers", "65", "less than or equal to 64"),
        ("model: {embedding: 0}", "model.embedding", "0", "greater than or equal to 1"),
        ("model: {output_dropout: 1}", "model.output_dropout", "1", "less than 1"),
        ("model: {rnn: {activation: softmax}}", "model.rnn.activation", "'softmax'", "'tanh'"),
        ("model: {rnn: {dropout: .nan}}", "model.rnn.dropout", "nan", "should be"),
        ("training: {epochs: 0}", "training.epochs", "0", "greater than or equal to 1"),
        ("training: {steps: 1e3}", "training.steps", "1000.0", "valid integer"),
        ("training: {epochs: 1, clip_norm: 0}", "training.clip_norm", "0", "greater than 0"),
        ("training: {epochs: 1, clip_norm: .inf}", "training.clip_norm", "inf", "finite"),
        ("training: {epochs: 1, loss_temperature: 0}", "training.loss_temperature", "0", "greater than 0"),
        ("training: {epochs: 1, shuffle: 1}", "training.shuffle", "1", "boolean"),
        ("training: {epochs: 1, precision: float16}", "training.precision", "'float16'", "'bfloat16'"),
        ("training: {epochs: 1, optimizer: {name: 3}}", "training.optimizer.name", "3", "valid string"),
        ("sampling: {temperature: -1}", "sampling.temperature", "-1", "greater than or equal to 0"),
        ("sampling: {top_p: 0}", "sampling.top_p", "0", "greater than 0"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_key_what_was_found_and_what_would_do(
    file: Path, text: str, key: str, found: str, reason: str
) -> None:
    with pytest.raises(CharlmError) as error:
        load(file, text)
    message = str(error.value)
    assert message.startswith(f"{file}: {key}: found {found}")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "value",
    ["{module: os, class_name: system}", "{class_name: 3}", "{}", "{class_name: L2, registered_name: x>L2}"],
)
def test_a_keras_object_is_a_name_and_its_arguments_alone(file: Path, value: str) -> None:
    with pytest.raises(CharlmError, match=r"kernel_regularizer: a mapping should have class_name and config"):
        load(file, f"model: {{rnn: {{kernel_regularizer: {value}}}}}")


def test_a_network_for_no_memory_is_refused(file: Path) -> None:
    assert load(file, "model: {units: 65536}").model.units == 65536
    with pytest.raises(CharlmError, match=r"model: 2 layers of 65536 units; .* should be 4,294,967,296 at most"):
        load(file, "model: {units: 65536, layers: 2}")


def test_something_has_to_be_left_to_train_on(file: Path) -> None:
    with pytest.raises(CharlmError, match="corpus: validation_fraction"):
        load(file, "corpus: {validation_fraction: 0.5, test_fraction: 0.5}")


def test_training_has_to_end_somewhere(file: Path) -> None:
    with pytest.raises(CharlmError, match="training: epochs or steps should be given"):
        load(file, "training: {max_minutes: 3}")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: b: c",
        "\tseed: 1",
        "seed: 1\n---\nseed: 2",
        "seed: &x 1\nsampling: {length: *x}",
        "a: &a [x, x]\nb: &b [*a, *a]",
        "seed: 1\nseed: 2",
        "model: {units: 1, units: 2}",
        "seed: !!python/object/apply:os.getpid []",
        "seed: !!python/name:os.system",
        "seed: 2001-99-99",
        "? [a, b]\n: 1",
        "? {a: b}\n: 1",
        "<<: 3",
        "model: {units: 1, <<: {units: 2}}",
        "model: {!!merge x: {units: 2}}",
        "seed: !!set {a, b}",
        "seed: !!binary gIGC",
        "seed: !!timestamp 2001-01-01",
        "seed: 9223372036854775808",
        "seed: -9223372036854775809",
        "seed: " + "9" * 5000,
        "seed: 0x" + "f" * 20000,
        "seed: 0b" + "1" * 20000,
        "seed: " + "1:" * 2000 + "1",
        "x" * 5000 + ": 1",
        "? " * 5000,
        "- " * 5000,
        '"\\e[31m\\n\\u2028": 1',
        'corpus: {encoding: "\\ud800"}',
        "seed: \x00",
        "[" * 1000,
        "{a: " * 1000,
    ],
    ids=lambda text: repr(text[:30]),
)
def test_what_is_not_plain_yaml_is_refused_in_one_line(file: Path, text: str) -> None:
    with pytest.raises(CharlmError) as error:
        load(file, text)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_mistake_in_yaml_is_placed(file: Path) -> None:
    with pytest.raises(CharlmError, match="line 2, column 1: not valid YAML: 'seed' stands twice"):
        load(file, "seed: 1\nseed: 2")


@pytest.mark.parametrize("text", ["3", "[seed]", "just words", "true"])
def test_a_file_that_is_not_a_mapping_is_refused(file: Path, text: str) -> None:
    with pytest.raises(CharlmError, match="a config is a mapping of keys to values"):
        load(file, text)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(CharlmError, match=r"some\.yaml: cannot be read: No such file"):
        load_config(file)


def test_a_file_that_is_not_text_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CharlmError, match="not UTF-8 text"):
        load_config(file)


def test_a_file_too_large_for_a_config_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "MAX_CONFIG_BYTES", 20)
    with pytest.raises(CharlmError, match="32 bytes; should be 20 at most"):
        load(file, "# " + 30 * "x")


def test_an_override_goes_on_top_of_the_file(file: Path) -> None:
    config = load(file, "model: {units: 3, layers: 2}", "model.units=5", "model.rnn.dropout=1e-2")
    assert (config.model.units, config.model.layers, config.model.rnn.dropout) == (5, 2, 0.01)


def test_the_last_of_two_overrides_counts(file: Path) -> None:
    assert load(file, "", "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "value"), [("model.embedding=", None), ("model.embedding=null", None), ("model.embedding=8", 8)]
)
def test_the_value_of_an_override_is_yaml(file: Path, override: str, value: int | None) -> None:
    assert load(file, "model: {embedding: 4}", override).model.embedding == value


def test_an_override_may_hold_an_equals_sign_and_a_section(file: Path) -> None:
    assert load(file, "", "sampling.prompt=a=b").sampling.prompt == "a=b"
    assert load(file, "", "model={units: 3}").model.units == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: should be KEY=VALUE"),
        ("=3", "--set =3: should be KEY=VALUE"),
        ("seed.x=3", "--set seed.x=3: seed is a value, not a section"),
        ("model.unit=3", "--set: model.unit: unknown key; did you mean model.units?"),
        ("model.units=many", "--set: model.units: found 'many' (text)"),
        ("model..units=3", "--set"),
        ("seed=[", "--set seed: "),
        ("seed=*x", "--set seed: line 1, column 1: not valid YAML: aliases are not allowed"),
    ],
)
def test_a_wrong_override_is_refused(file: Path, override: str, message: str) -> None:
    with pytest.raises(CharlmError) as error:
        load(file, "seed: 1", override)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_mistake_in_the_file_is_not_blamed_on_an_override(file: Path) -> None:
    with pytest.raises(CharlmError, match=r"some\.yaml: seed: found -1"):
        load(file, "seed: -1", "model.units=3")


def test_a_recipe_is_found_by_name_and_a_file_by_path(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = recipe_names()[0]
    assert find_recipe(name).name == f"{name}.yaml"
    assert find_recipe(str(file)) == file


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(CharlmError, match=r"--config tinny: no such recipe or YAML file; did you mean tiny\?"):
        find_recipe("tinny")


def test_an_unknown_recipe_like_no_other_is_refused_with_all_of_them() -> None:
    with pytest.raises(CharlmError, match=f"there are {', '.join(recipe_names())}"):
        find_recipe("qqqqqq")


def test_flattened_settings_have_dotted_keys() -> None:
    flat = flatten(Config())
    assert flat["model.rnn.activation"] == "tanh"
    assert flat["seed"] == 1
    assert not any(isinstance(value, dict) for value in flat.values())


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3


def test_numpy_knows_every_activation_that_a_config_can_name() -> None:
    assert {*ACTIVATIONS} == {*NUMPY_ACTIVATIONS}


def test_a_date_is_a_text(file: Path) -> None:
    assert load(file, "sampling: {prompt: 2001-01-01}").sampling.prompt == "2001-01-01"


@pytest.mark.parametrize(
    "text", ["1e5", "1e-3", "no", "~", "null", "0x1", "=", "<<", "2001-01-01", "- x", "", "#"]
)
def test_a_text_that_looks_like_something_else_comes_back_as_text(file: Path, text: str) -> None:
    config = parse_config({"sampling": {"prompt": text}}, origin="test")
    assert load(file, dump_config(config)).sampling.prompt == text


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=50) | st.text("{}[]:,-?!&*#|>'\"%@`<= \n\tab1", max_size=50))
def test_any_text_is_yaml_or_refused_in_one_line(text: str) -> None:
    try:
        parse_yaml(text, origin="test")
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: "
    assert message.startswith("test: ")
    assert len(message.splitlines()) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


fractions, counts = st.floats(0, 0.4), st.integers(1, 2**63 - 1)
sections: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "corpus": {
        "level": st.sampled_from(["char", "byte"]),
        "encoding": st.text(),
        "min_count": counts,
        "validation_fraction": fractions,
        "test_fraction": fractions,
    },
    "model": {
        "units": st.integers(1, 65536),
        "embedding": st.none() | st.integers(1, 65536),
        "skip_connections": st.booleans(),
        "input_initializer": st.none()
        | st.text()
        | st.fixed_dictionaries({"class_name": st.text(), "config": st.dictionaries(st.text(), json_values)}),
        "rnn": st.fixed_dictionaries({"activation": st.sampled_from(ACTIVATIONS), "dropout": fractions}),
    },
    "training": {
        "steps": counts,
        "shuffle": st.booleans(),
        "loss_temperature": st.floats(0, exclude_min=True, allow_infinity=False),
        "clip_norm": st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
        "optimizer": st.dictionaries(st.text(), json_values, max_size=3).map(lambda extra: extra | {"name": "x"}),
        "early_stopping": st.none() | st.fixed_dictionaries({"patience": counts}),
    },
    "sampling": {"prompt": st.text(), "temperature": st.floats(0, allow_infinity=False)},
}
optional: dict[str, st.SearchStrategy[Any]] = {
    name: st.fixed_dictionaries({}, optional=keys) for name, keys in sections.items() if name != "training"
}
required: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**31 - 1),
    "training": st.fixed_dictionaries(sections["training"]),
}
mappings = st.fixed_dictionaries(required, optional=optional)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(mappings)
def test_any_valid_config_comes_back_from_its_dump(values: dict[str, Any]) -> None:
    values["training"]["optimizer"].pop("learning_rate", None)
    config = parse_config(values, origin="test")
    assert parse_config(parse_yaml(dump_config(config), origin="dump"), origin="dump") == config


@settings(derandomize=True, deadline=None, max_examples=100)
@given(mappings, st.sampled_from([*flatten(Config())]), st.binary(min_size=1))
def test_a_valid_config_with_one_value_of_no_right_type_is_refused_in_one_line(
    values: dict[str, Any], dotted: str, value: bytes
) -> None:
    *path, last = dotted.split(".")
    inner = values
    for section in path:
        inner[section] = dict(inner.get(section) or {})
        inner = inner[section]
    inner[last] = value
    with pytest.raises(CharlmError) as error:
        parse_config(values, origin="test")
    assert str(error.value).startswith(f"test: {dotted}")
    assert len(str(error.value).splitlines()) == 1


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from([*flatten(Config()), "x", ""]), json_values, max_size=3))
def test_any_mapping_is_a_config_or_refused_in_one_line(flat: dict[str, Any]) -> None:
    values: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, last = dotted.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    try:
        config = parse_config(values, origin="test")
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: "
        assert parse_config(json.loads(json.dumps(config.model_dump(mode="json"))), origin="again") == config
    assert message.startswith("test: ")
    assert "\n" not in message
