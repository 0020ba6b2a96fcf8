"""The texts that are sampled at an evaluation, with the surprise of each character."""

from dataclasses import dataclass

import numpy as np

from charlm.config.schema import SamplingConfig
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, nats
from charlm.sampling.generation import choose_ids, encode_prompt, forbidden_ids, read_prompt
from charlm.sampling.sampler import Sampler

BESIDE = (0.5, 1.0)
"""Temperatures beside the one of the config."""
INSTEAD = 0.8
"""The temperature in place of one of these that the config has."""


@dataclass(frozen=True, eq=False)
class WrittenSample:
    """A sampled text."""

    temperature: float
    text: str
    """The prompt included."""
    glyphs: tuple[str, ...]
    """Its characters without the prompt; at level byte, one of U+0000 to U+00FF for each byte."""
    nats: Floats
    """-ln p of each of them at temperature 1, float32 [number of glyphs]."""


def temperatures(configured: float) -> tuple[float, ...]:
    """Return three different temperatures, that of the config first."""
    others = [INSTEAD if temperature == configured else temperature for temperature in BESIDE]
    return (configured, *others)


def write_sample(bundle: Bundle, settings: SamplingConfig, *, seed: int, temperature: float) -> WrittenSample | None:
    """Sample a text; None if `sampling.length` is 0.

    The text is that of `charlm.sampling.generation.generate_text`, up to rounding.

    Args:
        bundle: The network.
        settings: The section `sampling` of the config; its temperature is not used.
        seed: 0 or more.
        temperature: 0 or more.

    Raises:
        CharlmError: the logits are not finite.

    """
    if not settings.length:
        return None
    vocabulary, parameters = bundle.vocabulary, bundle.parameters
    _, state = read_prompt(parameters, encode_prompt(vocabulary, settings.prompt, unknown="skip"))
    chosen: list[int] = []
    logits: list[Floats] = []
    for index, row in choose_ids(
        parameters,
        state,
        sampler=Sampler(temperature, settings.top_k, settings.top_p, settings.min_p),
        uniforms=np.random.default_rng([seed, 0]).random(settings.length).tolist(),
        forbidden=forbidden_ids(vocabulary),
    ):
        chosen.append(index)
        logits.append(row.copy())
        if index == vocabulary.end_of_text_id:
            break
    count = len(chosen) - (chosen[-1] == vocabulary.end_of_text_id)
    ids = np.array(chosen)
    return WrittenSample(
        temperature,
        settings.prompt + vocabulary.decode(ids[:count]),
        tuple(vocabulary.glyphs[index] for index in chosen[:count]),
        nats(np.stack(logits), ids)[:count],
    )
