"""The sampled texts of an evaluation, compared with those of `generate_text`."""

import numpy as np
import pytest

from charlm.config.schema import SamplingConfig
from charlm.network.bundle import Bundle
from charlm.network.rnn import nats, unroll, zero_state
from charlm.sampling.generation import encode_prompt, generate_text
from charlm.sampling.sampler import Sampler
from charlm.training.samples import temperatures, write_sample


@pytest.mark.parametrize(
    ("configured", "expected"), [(0.8, (0.8, 0.5, 1)), (0.5, (0.5, 0.8, 1)), (1.0, (1, 0.5, 0.8)), (0, (0, 0.5, 1))]
)
def test_there_are_three_different_temperatures_the_configured_one_first(
    configured: float, expected: tuple[float, ...]
) -> None:
    assert temperatures(configured) == expected


def test_the_text_is_that_of_charlm_sample(bundle: Bundle) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2)
    first = write_sample(bundle, settings, seed=3, temperature=0.8)
    assert first is not None
    generation = generate_text(bundle, prompt="ab", length=30, sampler=Sampler(0.8, top_k=2), seed=3)
    for _ in generation:
        pass
    assert (first.temperature, first.text) == (0.8, "ab" + generation.sample.text)


def test_without_a_length_there_is_no_text(bundle: Bundle) -> None:
    assert write_sample(bundle, SamplingConfig(length=0), seed=1, temperature=0.8) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_nats_are_those_of_the_text_read_again(bundle: Bundle, seed: int) -> None:
    for temperature in (0, 0.5, 1, 2):
        sample = write_sample(bundle, SamplingConfig(length=40, prompt="ba"), seed=seed, temperature=temperature)
        assert sample is not None
        assert "".join(sample.glyphs) == sample.text.removeprefix("ba")
        assert len(sample.nats) == len(sample.glyphs)
        ids = bundle.vocabulary.encode(sample.text)[:, None]
        logits, _ = unroll(bundle.parameters, ids[:-1], zero_state(bundle.parameters, 1))
        logits[..., bundle.vocabulary.unknown_id] = -np.inf  # never sampled
        expected = nats(logits, ids[1:])[len(encode_prompt(bundle.vocabulary, "ba")) - 1 :, 0]
        np.testing.assert_allclose(sample.nats, expected, atol=1e-5)
