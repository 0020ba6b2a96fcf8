"""What one step did to the weights: norms by layer."""

import numpy as np
import pytest

from charlm.training.step_change import StepChange

BEFORE = {
    "embedding": np.array([[3.0, 4.0]], np.float32),
    "rnn.0.kernel": np.array([[2.0]], np.float32),
    "rnn.0.recurrent_kernel": np.array([[1.0, 2.0]], np.float32),
}
AFTER = {
    "embedding": np.array([[3.0, 4.5]], np.float32),
    "rnn.0.kernel": np.array([[2.3]], np.float32),
    "rnn.0.recurrent_kernel": np.array([[1.0, 2.4]], np.float32),
}


def test_a_layer_is_all_its_tensors_together() -> None:
    norms = {"embedding": 2.0, "rnn.0.kernel": 3.0, "rnn.0.recurrent_kernel": 4.0}
    assert StepChange(7, norms, BEFORE, AFTER).scalars() == pytest.approx(
        {
            "gradient_norm/embedding": 2.0,
            "gradient_norm/rnn.0": 5.0,
            "gradient_to_weights/embedding": 2 / 5,
            "gradient_to_weights/rnn.0": 5 / 3,
            "update_norm/embedding": 0.5,
            "update_norm/rnn.0": 0.5,
            "update_to_weights/embedding": 0.1,
            "update_to_weights/rnn.0": 0.5 / 3,
        }
    )


def test_without_the_norms_of_an_engine_only_the_updates_are_known() -> None:
    assert set(StepChange(7, {}, BEFORE, AFTER).scalars()) == {
        f"{kind}/{layer}" for kind in ("update_norm", "update_to_weights") for layer in ("embedding", "rnn.0")
    }


def test_weights_of_zero_have_a_finite_ratio() -> None:
    zeros = {name: np.zeros_like(values) for name, values in BEFORE.items()}
    assert all(np.isfinite([*StepChange(7, {}, zeros, AFTER).scalars().values()]))
