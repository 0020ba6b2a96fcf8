"""The losses of a text by the compiled kernel, compared with NumPy."""

from typing import Any

import numpy as np
import pytest
import reference
from models import random_parameters

from charlm.core import scoring
from charlm.core.scoring import estimate_stream
from charlm.engines import kernel
from charlm.engines.kernel import CompiledReader, load_kernel

TEXT = np.random.default_rng(0).integers(0, 5, 1003)


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_the_kernel_estimates_the_same_as_numpy(
    network: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "STREAMS", 7)
    monkeypatch.setattr(scoring, "WARM_UP", 20)
    parameters = random_parameters(scale=0.5, **network)
    read = CompiledReader(load_kernel(), parameters)
    expected = estimate_stream(parameters, TEXT)
    score = estimate_stream(parameters, TEXT, read=read)
    assert score.characters == 1002
    assert score.nats_per_char == pytest.approx(expected.nats_per_char, abs=1e-6)
    assert score.block_means == pytest.approx(expected.block_means, abs=1e-6)


def losses_and_state(monkeypatch: pytest.MonkeyPatch, cores: int) -> list[bytes]:
    monkeypatch.setattr(kernel, "core_count", lambda: cores)
    parameters = random_parameters(scale=0.5, layers=2, units=20)
    read = CompiledReader(load_kernel(), parameters)
    losses, state = read(TEXT.reshape(17, 59), parameters.zero_state(59))
    return [array.tobytes() for array in (losses, *state)]


@pytest.mark.parametrize("cores", [2, 3, 100])
def test_the_number_of_cores_changes_no_bit(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = losses_and_state(monkeypatch, 1)
    assert losses_and_state(monkeypatch, cores) == expected
