"""Untrained networks: their weights have the distributions that Keras defines."""

from typing import Any

import numpy as np
import pytest

from charlm.config.schema import Config, ModelConfig, RnnConfig
from charlm.errors import CharlmError
from charlm.inspection.untrained import draw_initial


def config(model: dict[str, Any] | None = None, **rnn: Any) -> Config:
    return Config(model=ModelConfig(rnn=RnnConfig(**rnn), **{"units": 100, **(model or {})}))


def test_weights_have_the_shapes_of_the_config_and_the_defaults_of_keras() -> None:
    parameters = draw_initial(config({"layers": 2, "embedding": 7, "skip_connections": True}), 50)
    first, second = parameters.layers
    assert first.kernel.shape == (7, 100)
    assert second.kernel.shape == (107, 100)
    assert parameters.logits_kernel.shape == (200, 50)
    assert parameters.embedding is not None
    assert np.abs(parameters.embedding).max() == pytest.approx(0.05, rel=0.05)
    assert np.abs(second.kernel).max() == pytest.approx(np.sqrt(6 / 207), rel=0.01)  # Glorot and Bengio 2010
    np.testing.assert_allclose(first.recurrent_kernel @ first.recurrent_kernel.T, np.eye(100), atol=1e-5)
    assert first.bias is not None
    assert not first.bias.any()
    assert all(tensor.dtype == np.float32 for tensor in parameters.tensors().values())


@pytest.mark.parametrize(
    ("value", "deviation"),
    [
        ("he_normal", np.sqrt(2 / 100)),
        ("LecunUniform", np.sqrt(1 / 100)),
        ({"class_name": "VarianceScaling", "config": {"scale": 3.0, "mode": "fan_out"}}, np.sqrt(3 / 100)),
        ({"class_name": "RandomNormal", "config": {"stddev": 2.0, "seed": 3}}, 2),
        ({"class_name": "TruncatedNormal"}, 0.05 * 0.87963),
        (None, np.sqrt(2 / 200)),
    ],
    ids=str,
)
def test_an_initializer_has_the_deviation_of_its_definition(value: Any, deviation: float) -> None:
    kernel = draw_initial(config(recurrent_initializer=value), 5).layers[0].recurrent_kernel
    assert kernel.std() == pytest.approx(deviation, rel=0.05)
    assert kernel.mean() == pytest.approx(0, abs=0.05 * deviation)


def test_the_input_initializer_draws_only_the_rows_of_the_characters() -> None:
    constant = {"class_name": "Constant", "config": {"value": 2.0}}
    model = {"layers": 2, "skip_connections": True, "input_initializer": constant}
    first, second = draw_initial(config(model, kernel_initializer="ones"), 5).layers
    assert (first.kernel == 2).all()
    assert (second.kernel[:100] == 1).all()
    assert (second.kernel[100:] == 2).all()


@pytest.mark.parametrize(
    "value",
    [
        "stft",
        {"class_name": "VarianceScaling", "config": {"mode": "fan_sum"}},
        {"class_name": "Constant", "config": {"value": "x"}},
        {"class_name": "Zeros", "config": {"of": 1}},
        {"class_name": "RandomNormal", "config": {"stddev": -1}},
    ],
    ids=str,
)
def test_an_initializer_that_cannot_be_drawn_is_refused_with_its_key(value: Any) -> None:
    with pytest.raises(CharlmError, match=r"^model\.rnn\.recurrent_initializer: found "):
        draw_initial(config(recurrent_initializer=value), 5)


def test_an_orthogonal_bias_is_refused_as_in_keras() -> None:
    with pytest.raises(CharlmError, match=r"^model\.rnn\.bias_initializer: found 'orthogonal'"):
        draw_initial(config(bias_initializer="orthogonal"), 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        *("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"),
        *("random_normal", "random_uniform", "truncated_normal", "zeros", "ones", "orthogonal", "uniform", "normal"),
        {"class_name": "VarianceScaling", "config": {"scale": 0.3, "mode": "fan_avg", "distribution": "uniform"}},
        {"class_name": "VarianceScaling", "config": {"distribution": "untruncated_normal"}},
        {"class_name": "Orthogonal", "config": {"gain": 1.3}},
        {"class_name": "Identity", "config": {"gain": 0.5}},
        {"class_name": "RandomUniform", "config": {"minval": 1.0, "maxval": 3.0}},
    ],
    ids=str,
)
def test_the_distribution_is_that_of_keras(value: Any) -> None:
    import keras

    keras.utils.set_random_seed(1)
    expected = np.sort(np.asarray(keras.initializers.get(value)((300, 200))), axis=None)
    kernel = draw_initial(config({"units": 200, "embedding": 300}, kernel_initializer=value), 5).layers[0].kernel
    found = np.sort(kernel, axis=None)
    width = float(max(expected[-1] - expected[0], 1e-3))
    np.testing.assert_allclose(found[300:-300], expected[300:-300], atol=0.01 * width)  # quantile by quantile
    assert found[[0, -1]] == pytest.approx(expected[[0, -1]], abs=0.2 * width)
