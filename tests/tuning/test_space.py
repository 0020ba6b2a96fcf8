"""The YAML file of a search: what it may say, and the line that answers a mistake."""

import contextlib
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.tuning.space import contains, load_space, values_of_recipe

RATE = "training.optimizer.learning_rate"


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_space_that_comes_with_charlm_is_valid() -> None:
    space = load_space(find_recipe("space"))
    assert space.search.keys() == values_of_recipe(space).keys()
    assert len(space.search) >= 5


def test_each_kind_of_range_is_read(tmp_path: Path) -> None:
    space = load_space(
        write(
            tmp_path,
            "recipe: tiny\n"
            "fixed: {model.layers: 2, model.rnn: {use_bias: false}}\n"
            "search:\n"
            "  model.units: {int: [8, 32], step: 8}\n"
            f"  {RATE}: {{float: [1e-3, 1], log: true}}\n"
            "  model.embedding: {categorical: [null, 8]}\n",
        )
    )
    assert space.search == {
        "model.units": IntDistribution(8, 32, step=8),
        RATE: FloatDistribution(1e-3, 1, log=True),
        "model.embedding": CategoricalDistribution([None, 8]),
    }
    config = space.config({"model.units": 24})
    assert (config.model.layers, config.model.units, config.model.rnn.use_bias) == (2, 24, False)
    assert config.training.batch_size == 8


def test_the_recipe_is_default_unless_the_file_names_one(tmp_path: Path) -> None:
    assert load_space(write(tmp_path, "search: {model.units: {int: [8, 256]}}")).recipe.stem == "default"


def test_a_recipe_file_is_found_beside_the_space(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {units: 7}\ntraining: {epochs: 1}", encoding="utf-8")
    space = load_space(write(tmp_path, "recipe: mine.yaml\nsearch: {model.layers: {int: [1, 2]}}"))
    assert space.config().model.units == 7


UNITS = "{model.units: {int: [8, 16]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "found 3; must be"),
        ("{}", "search: is missing"),
        ("search: {}", "search: found {}; must have 1 items or more"),
        (f"serch: 1\nsearch: {UNITS}", "serch: found 1; there is no such key here"),
        ("search: {1: {int: [1, 2]}}", "search: 1: found 1; must be text"),
        (f"recipe: 3\nsearch: {UNITS}", "recipe: found 3; must be text"),
        (f"recipe: tiyn\nsearch: {UNITS}", "did you mean tiny?"),
        (f"recipe: none.yaml\nsearch: {UNITS}", "none.yaml: cannot be read"),
        (f"fixed: {{model.layer: 2}}\nsearch: {UNITS}", "fixed: model.layer: unknown key; did you mean model.layers?"),
        (f"fixed: {{model.units: 8}}\nsearch: {UNITS}", "model.units: is in fixed and in search"),
        ("search: {model.unit: {int: [8, 16]}}", "search: model.unit: unknown key; did you mean model.units?"),
        ("search: {model.units: 8}", "model.units: found 8; must be {int: [low, high]}"),
        ("search: {model.units: {int: [8, 16], float: [8, 16]}}", "must be {int: [low, high]}"),
        ("search: {model.units: {int: [8, 16, 32]}}", "found {'int': [8, 16, 32]}; must be {int: [low, high]}"),
        ("search: {model.units: {int: [8, 16.5]}}", "must be {int: [low, high]}"),
        ("search: {model.units: {int: [8, 16], steps: 4}}", "must be {int: [low, high]}"),
        ("search: {model.units: {int: [16, 8]}}", "found {'int': [16, 8]}; "),
        ("search: {model.units: {int: [8, 17], step: 4}}", "found {'int': [8, 17], 'step': 4}; "),
        ("search: {model.units: {int: [8, 16], step: 4, log: true}}", "model.units: found {"),
        ("search: {model.units: {int: [0, 16]}}", "search: model.units: found 0"),
        ("search: {model.units: {categorical: [8, wide]}}", "search: model.units: found 'wide'"),
        ("search: {model.units: {categorical: []}}", "found {'categorical': []}; "),
        ("search: {model.units: {categorical: [[8]]}}", "must be {int: [low, high]}"),
        ("search: {model.layer_dropout: {float: [0, 1.5]}}", "search: model.layer_dropout: found 1.5"),
        (f"search: {{{RATE}: {{float: [0, 1], log: true}}}}", f"{RATE}: found {{"),
        ("search: {model.layers: {int: [1, 3]}}", "model.layers: leaves out 4, the value of default.yaml"),
        ("search: {training.optimizer.nesterov: {categorical: [true, false]}}", "default.yaml does not set it"),
        (f"fixed: {{training.epochs: 3}}\nsearch: {UNITS}", "fixed: training.epochs: how long a trial trains"),
        (f"fixed: {{training.early_stopping.patience: 3}}\nsearch: {UNITS}", "a search ends hopeless trials itself"),
        ("search: {seed: {int: [1, 9]}}", "seed: the best seed is luck"),
        ("search: {sampling.length: {int: [1, 9]}}", "sampling.length: it does not change the loss"),
    ],
)
def test_a_mistake_is_answered_in_one_line_that_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CharlmError) as caught:
        load_space(write(tmp_path, text))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert ".yaml" in str(caught.value) or "no such recipe" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("{int: [8, 16], step: 4}", [8, 12, 16], [7, 9, 20, 8.0, True, None, "8"]),
        ("{float: [0.1, 2]}", [0.1, 1, 1.5, 2], [0, 2.1, True, None, "1"]),
        ("{categorical: [1, 2.5, null]}", [1, 1.0, 2.5, None], [True, "relu", 0]),
    ],
)
def test_a_range_knows_its_values(tmp_path: Path, text: str, inside: list[object], outside: list[object]) -> None:
    range_of = {"int": "model.units", "float": RATE, "categorical": "training.clip_norm"}
    key = range_of[text[1:].partition(":")[0]]
    recipe = "model: {units: 8}\ntraining: {epochs: 1, clip_norm: 1, optimizer: {learning_rate: 0.1}}"
    (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
    one = load_space(write(tmp_path, f"recipe: mine.yaml\nsearch: {{{key}: {text}}}")).search[key]
    assert all(contains(one, value) for value in inside)
    assert not any(contains(one, value) for value in outside)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.text(alphabet="{}[]:, \n-abint1.5e", max_size=60))
def test_any_text_is_a_space_or_is_refused_with_an_error_of_charlm(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(CharlmError):
        assert load_space(write(Path(folder), f"search: {text}")).search
