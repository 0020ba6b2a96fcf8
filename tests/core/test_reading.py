"""Long texts, in blocks or in segments side by side, and the stepper that generates text."""

from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from models import overflowing_parameters, random_parameters

from charlm.core import reading
from charlm.core.reading import Stepper, cut_segments, read_blocks


@pytest.mark.parametrize(
    ("streams", "block", "values"),
    [
        pytest.param(1, 7, 1 << 20, id="a short block"),
        pytest.param(1, 100, 60, id="logits of a few characters together"),
        pytest.param(1, 100, 1, id="logits of a single character"),
        pytest.param(150, 4, 1 << 20, id="several threads"),
    ],
)
def test_blocks_have_the_logits_of_the_whole_text(
    streams: int,
    block: int,
    values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "VALUES_AT_ONCE", values)
    monkeypatch.setattr(reading, "BLOCK", block)
    parameters = random_parameters(layers=2, scale=0.5)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 5, (101, streams))
    state = tuple(rng.standard_normal((streams, 4)).astype(np.float32) for _ in range(2))
    blocks = [*read_blocks(parameters, ids, state)]
    expected, last = parameters.unroll(ids, state)
    logits = np.concatenate([logits for logits, _ in blocks])
    _, last_of_blocks = blocks[-1]
    check_close([logits, *last_of_blocks], [expected, *last], atol=1e-5)


def test_threads_read_a_network_that_overflows_without_a_warning() -> None:
    parameters = overflowing_parameters()
    ids = np.zeros((4, 64), int)
    ((logits, _),) = read_blocks(parameters, ids, parameters.zero_state(64))
    assert not np.isfinite(logits[-1]).any()


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        pytest.param(5, [0, 5], id="two segments"),
        pytest.param(4, [0, 4, 8], id="a shorter last segment"),
        pytest.param(10, [0], id="a single segment"),
    ],
)
def test_a_text_is_cut_into_segments(length: int, starts: list[int]) -> None:
    assert cut_segments(np.arange(11), length=length, warm_up=2).starts.tolist() == starts


IDS = np.random.default_rng(2).integers(0, 5, 6)


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_the_stepper_computes_the_same_as_a_step(network: Any) -> None:
    parameters = random_parameters(**network)
    _, state = parameters.unroll(IDS[::-1, None], parameters.zero_state(1))
    stepper = Stepper(parameters, state)
    for index in IDS.tolist():
        (logits,), state = parameters.step(np.array([index]), state)
        stepper.advance(index)
        np.testing.assert_allclose(stepper.logits, logits, rtol=1e-4, atol=1e-5)
