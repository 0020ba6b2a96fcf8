"""The YAML file of a search: what it may say, and the line that answers a mistake."""

import contextlib
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.tuning.space import Space, load_space

RATE = "training.optimizer.learning_rate"


def load(text: str) -> Space:
    """Load a text as a space."""
    Path("space.yaml").write_text(text, encoding="utf-8")
    return load_space(Path("space.yaml"))


def test_each_kind_of_range_is_read() -> None:
    space = load(f"""
        recipe: tiny
        fixed: {{model.layers: 2, model.rnn: {{use_bias: false}}}}
        search:
          model.units: {{int: [8, 32], step: 8}}
          {RATE}: {{float: [1e-3, 1], log: true}}
          model.embedding: {{categorical: [null, 8]}}
        """)
    assert space.search == {
        "model.units": IntDistribution(8, 32, step=8),
        RATE: FloatDistribution(1e-3, 1, log=True),
        "model.embedding": CategoricalDistribution([None, 8]),
    }
    config = space.config({"model.units": 24})
    assert (config.model.layers, config.model.units, config.model.rnn.use_bias) == (2, 24, False)
    assert config.training.batch_size == 8


def test_a_recipe_file_is_found_beside_the_space() -> None:
    Path("other").mkdir()
    Path("other/mine.yaml").write_text("model: {units: 7}\ntraining: {epochs: 1}", encoding="utf-8")
    Path("other/space.yaml").write_text("recipe: mine.yaml\nsearch: {model.layers: {int: [1, 2]}}", encoding="utf-8")
    assert load_space(Path("other/space.yaml")).config().model.units == 7


UNITS = "{model.units: {int: [8, 16]}}"


def test_a_mistake_is_answered_in_one_line_that_names_the_key() -> None:
    for text, message in (
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
        ("search: {model.units: {int: [16, 8]}}", "found {'int': [16, 8]}; "),
        ("search: {model.units: {int: [0, 16]}}", "search: model.units: found 0"),
        ("search: {model.units: {categorical: [8, wide]}}", "search: model.units: found 'wide'"),
        ("search: {model.layer_dropout: {float: [0, 1.5]}}", "search: model.layer_dropout: found 1.5"),
        (f"search: {{{RATE}: {{float: [0, 1], log: true}}}}", f"{RATE}: found {{"),
        (f"fixed: {{training: {{steps: 5}}}}\nsearch: {UNITS}", "fixed: training.steps: how long a trial trains"),
        ("search: {seed: {int: [1, 9]}}", "seed: the best seed is luck"),
        ("search: {sampling.top_k: {int: [1, 9]}}", "sampling.top_k: it does not change the loss"),
        ("search: {training.steps: {int: [1, 9]}}", "training.steps: how long a trial trains"),
    ):
        with pytest.raises(CharlmError) as caught:
            load(text)
        assert message in str(caught.value)
        assert str(caught.value).isprintable()
        assert ".yaml" in str(caught.value) or "no such recipe" in str(caught.value)


@given(st.text(alphabet="{}[]:, \n-abint1.5e", max_size=60))
def test_any_text_is_a_space_or_is_refused_with_an_error_of_charlm(text: str) -> None:
    with contextlib.suppress(CharlmError):
        assert load(f"search: {text}").search


def test_a_search_begins_with_the_values_of_the_recipe_that_are_in_their_ranges() -> None:
    shipped, recipe = load_space(find_recipe("space")), load_config(find_recipe("default"))
    assert len(shipped.search) == len(shipped.values()) >= 5
    layers, units = recipe.model.layers, recipe.model.units
    for first, last, known in ((layers, 64, True), (layers + 1, 64, False), (1, layers, True), (1, layers - 1, False)):
        ranges = f"{{model.layers: {{int: [{first}, {last}]}}, model.units: {{categorical: [8, {units}]}}}}"
        space = load(f"fixed: {{model: {{output_dropout: 0.5}}}}\nsearch: {ranges}")
        assert space.values() == {"model.units": units, **({"model.layers": layers} if known else {})}
        assert space.config().model == recipe.model.model_copy(update={"output_dropout": 0.5})
