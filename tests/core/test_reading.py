"""Long texts, in blocks or in segments side by side, and the stepper that generates text."""

from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from models import random_parameters

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


@pytest.mark.parametrize(
    ("streams", "block", "values", "lengths"),
    [
        pytest.param(1, 40, 1 << 20, [40, 40, 21], id="at most the block"),
        pytest.param(1, 100, 250, [50, 50, 1], id="logits of five characters"),
        pytest.param(2, 100, 250, [25, 25, 25, 25, 1], id="two streams"),
        pytest.param(64, 60, 1 << 20, [60, 41], id="several threads"),
    ],
)
def test_a_block_has_a_limited_length(
    streams: int,
    block: int,
    values: int,
    lengths: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "VALUES_AT_ONCE", values)
    monkeypatch.setattr(reading, "BLOCK", block)
    parameters = random_parameters()
    ids = np.zeros((101, streams), int)
    blocks = read_blocks(parameters, ids, parameters.zero_state(streams))
    assert [len(logits) for logits, _ in blocks] == lengths


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


def test_a_segment_ends_with_the_first_id_of_the_next_segment() -> None:
    segments = cut_segments(np.arange(11), length=4, warm_up=0)
    assert segments.ids.T.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 10, 10]]
    assert segments.before is None


def test_the_ids_before_a_segment_warm_up() -> None:
    segments = cut_segments(np.arange(11), length=5, warm_up=2)
    assert segments.before is not None
    assert segments.before[:, 1].tolist() == [3, 4, 5]


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
