"""What is wrong with a value, as one line: the key, what was found, what would do, and the nearest right key."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.file import flatten, nest, parse_config
from charlm.config.schema import DECIDED_BY_THE_TASK, Config
from charlm.config.yaml import parse_yaml
from charlm.errors import CharlmError


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
        ("model: {units: 65536, layers: 2}", "model: found .*; 2 layers of 65536 units; .* at most 4,294,967,296"),
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
