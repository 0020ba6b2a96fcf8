"""The YAML file of a search: what it may say, and the line that answers a mistake."""

import contextlib
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.tuning.space import load_space

RATE = "training.optimizer.learning_rate"


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_space_that_comes_with_charlm_is_valid() -> None:
    space = load_space(find_recipe("space"))
    assert space.search.keys() == space.values().keys()
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


def test_a_recipe_file_is_found_beside_the_space(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {units: 7}\ntraining: {epochs: 1}", encoding="utf-8")
    space = load_space(write(tmp_path, "recipe: mine.yaml\nsearch: {model.layers: {int: [1, 2]}}"))
    assert space.config().model.units == 7


UNITS = "{model.units: {int: [8, 16]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "search: Field required"),
        ("search: {}", "search: found {}; Dictionary should have at least 1 item"),
        (f"serch: 1\nsearch: {UNITS}", "serch: found 1; Extra inputs are not permitted; did you mean search?"),
        (f"recipe: tiyn\nsearch: {UNITS}", "did you mean tiny?"),
        (f"fixed: {{model.layer: 2}}\nsearch: {UNITS}", "fixed: model.layer: found 2; Extra inputs are not"),
        (f"fixed: {{model.units: 8}}\nsearch: {UNITS}", "model.units: is in fixed and in search"),
        ("search: {model.unit: {int: [8, 16]}}", "search: model.unit: found 8; Extra inputs are not"),
        ("search: {model.units: [8, 16]}", "search.model.units: found [8, 16]; Input should be a valid dictionary"),
        ("search: {model.units: {int: [8, 16], float: [8, 16]}}", "unexpected keyword argument 'float'"),
        ("search: {model.units: {int: [8, 16, 32]}}", "found {'int': [8, 16, 32]}; must be {int: [low, high]}"),
        ("search: {model.units: {int: [8, 16], steps: 4}}", "unexpected keyword argument 'steps'"),
        ("search: {model.units: {int: [16, 8]}}", "found {'int': [16, 8]}; "),
        ("search: {model.units: {int: [0, 16]}}", "search: model.units: found 0"),
        ("search: {model.units: {categorical: [8, wide]}}", "search: model.units: found 'wide'"),
        ("search: {model.layer_dropout: {float: [0, 1.5]}}", "search: model.layer_dropout: found 1.5"),
        (f"search: {{{RATE}: {{float: [0, 1], log: true}}}}", f"{RATE}: found {{"),
        (f"fixed: {{training: {{steps: 5}}}}\nsearch: {UNITS}", "fixed: training.steps: how long a trial trains"),
        ("search: {seed: {int: [1, 9]}}", "seed: the best seed is luck"),
    ],
)
def test_a_mistake_is_answered_in_one_line_that_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CharlmError) as caught:
        load_space(write(tmp_path, text))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert ".yaml" in str(caught.value) or "no such recipe" in str(caught.value)


@given(st.text(alphabet="{}[]:, \n-abint1.5e", max_size=60))
def test_any_text_is_a_space_or_is_refused_with_an_error_of_charlm(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(CharlmError):
        assert load_space(write(Path(folder), f"search: {text}")).search


def test_a_search_begins_with_the_values_of_the_recipe_that_are_in_their_ranges(tmp_path: Path) -> None:
    search = "{model.layers: {int: [1, 3]}, model.units: {int: [8, 2048]}}"
    space = load_space(write(tmp_path, f"recipe: default\nsearch: {search}"))
    recipe = load_config(find_recipe("default")).model
    assert recipe.layers > 3
    assert space.values() == {"model.units": recipe.units}


def test_a_section_in_fixed_keeps_the_other_values_of_the_recipe(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, "fixed: {model: {layers: 2}}\nsearch: {model.units: {int: [8, 256]}}"))
    recipe = load_config(find_recipe("default"))
    assert space.config().model == recipe.model.model_copy(update={"layers": 2})
