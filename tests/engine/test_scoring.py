"""The losses of a text by the compiled kernel: those of NumPy, for every network, on any number of cores."""

from typing import Any

import numpy as np
import pytest
import reference
from models import random_parameters

from charlm.engine import kernel
from charlm.engine.kernel import CompiledReader, load_kernel
from charlm.evaluation.scoring import estimate_stream, mean_score, score_stream
from charlm.network.rnn import ACTIVATIONS

TEXT = np.random.default_rng(0).integers(0, 5, 1003)


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_an_estimate_by_the_kernel_is_that_by_numpy(network: dict[str, Any]) -> None:
    parameters = random_parameters(scale=0.5, **network)
    expected = estimate_stream(parameters, TEXT, streams=7, warm_up=20)
    found = estimate_stream(
        parameters, TEXT, streams=7, warm_up=20, read=CompiledReader(load_kernel(), parameters)
    )
    assert found.characters == 1002
    assert found.nats_per_char == pytest.approx(expected.nats_per_char, abs=1e-6)
    assert found.block_means == pytest.approx(expected.block_means, abs=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_stream_by_the_kernel_is_the_text_from_start_to_end(activation: str) -> None:
    parameters = random_parameters(scale=0.25, layers=2, units=7, activation=activation)
    found = estimate_stream(
        parameters, TEXT, streams=1, read=CompiledReader(load_kernel(), parameters)
    )
    assert found.nats_per_char == pytest.approx(
        mean_score(score_stream(parameters, TEXT)).nats_per_char, abs=1e-6
    )


def test_the_number_of_cores_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = random_parameters(scale=0.5, layers=2, units=20)
    read = CompiledReader(load_kernel(), parameters)
    ids = TEXT.reshape(17, 59)
    results = []
    for cores in (1, 2, 3, 100):
        monkeypatch.setattr(kernel, "core_count", lambda cores=cores: cores)
        losses, state = read(ids, parameters.zero_state(59))
        results.append((losses.tobytes(), [layer.tobytes() for layer in state]))
    assert all(result == results[0] for result in results)
