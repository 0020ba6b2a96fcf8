"""The texts that are sampled at an evaluation, with the surprise of each character."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import SamplingConfig
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, nats
from charlm.network.stepper import Stepper
from charlm.sampling.generation import Generation, encode_prompt, read_prompt
from charlm.sampling.sampler import Sampler, make_chooser

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
    sampler = Sampler(temperature, settings.top_k, settings.top_p, settings.min_p)
    writer = _Writer(bundle, settings, sampler=sampler, seed=seed)
    generation = Generation(writer.ids(), bundle.vocabulary, samples=1, length=settings.length)
    for _ in generation:
        pass
    chosen, logits, end = writer.chosen, writer.logits, bundle.vocabulary.end_of_text_id
    count = chosen.index(end) if end in chosen else len(chosen)
    return WrittenSample(
        temperature,
        settings.prompt + generation.samples[0].text,
        tuple(bundle.vocabulary.glyphs[index] for index in chosen[:count]),
        nats(np.stack(logits), np.array(chosen))[:count],
    )


class _Writer:
    """Chooses the ids of a text, and keeps the logits from which each was chosen."""

    def __init__(self, bundle: Bundle, settings: SamplingConfig, *, sampler: Sampler, seed: int) -> None:
        self.chosen: list[int] = []
        self.logits: list[Floats] = []
        vocabulary = bundle.vocabulary
        _, state = read_prompt(bundle.parameters, encode_prompt(vocabulary, settings.prompt, unknown="skip"))
        forbidden = () if vocabulary.unknown_id is None else (vocabulary.unknown_id,)
        self._stepper = Stepper(bundle.parameters, state, forbidden=forbidden)
        self._choose = make_chooser(sampler)
        self._uniforms = np.random.default_rng([seed, 0]).random(settings.length).tolist()

    def ids(self) -> Iterator[NDArray[np.int64]]:
        """Yield the next id, int64 [1]."""
        for uniform in self._uniforms:
            logits = self._stepper.logits.copy()
            chosen = int(self._choose(logits, uniform))
            self.logits.append(logits)
            self.chosen.append(chosen)
            yield np.array([chosen])
            self._stepper.advance(chosen)
