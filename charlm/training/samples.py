"""The texts that are sampled at an evaluation, at three temperatures side by side.

Axes: B batch (the samples).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import SamplingConfig
from charlm.network.bundle import Bundle
from charlm.network.loss import nats
from charlm.network.rnn import Floats
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


def write_samples(bundle: Bundle, settings: SamplingConfig, *, seed: int) -> tuple[WrittenSample, ...]:
    """Sample texts at three temperatures; none if `sampling.length` is 0.

    Args:
        bundle: The network.
        settings: The section `sampling` of the config; its temperature is that of the first text.
        seed: 0 or more.

    Raises:
        CharlmError: the logits are not finite.

    """
    if not settings.length:
        return ()
    writer = _Writer(bundle, settings, seed=seed)
    generation = Generation(writer.ids(), bundle.vocabulary, samples=len(writer.temperatures), length=settings.length)
    for _ in generation:
        pass
    chosen, surprise = np.array(writer.chosen).T, np.array(writer.nats, np.float32).T  # [B, time]
    end = bundle.vocabulary.end_of_text_id
    samples = []
    for row, sample in enumerate(generation.samples):
        is_end = chosen[row] == (-1 if end is None else end)
        count = int(is_end.argmax()) if is_end.any() else len(is_end)
        glyphs = tuple(bundle.vocabulary.glyphs[index] for index in chosen[row, :count])
        text = settings.prompt + sample.text
        samples.append(WrittenSample(writer.temperatures[row], text, glyphs, surprise[row, :count]))
    return tuple(samples)


class _Writer:
    """Chooses the ids of several texts side by side, each at its own temperature, and notes the nats of each."""

    def __init__(self, bundle: Bundle, settings: SamplingConfig, *, seed: int) -> None:
        self.temperatures = temperatures(settings.temperature)
        self.chosen: list[NDArray[np.int64]] = []
        self.nats: list[Floats] = []
        vocabulary, batch = bundle.vocabulary, len(self.temperatures)
        prompt = encode_prompt(vocabulary, settings.prompt, unknown="skip")
        _, state = read_prompt(bundle.parameters, prompt, batch=batch)
        forbidden = () if vocabulary.unknown_id is None else (vocabulary.unknown_id,)
        self._stepper = Stepper(bundle.parameters, state, forbidden=forbidden)
        self._choosers = [
            make_chooser(Sampler(temperature, settings.top_k, settings.top_p, settings.min_p))
            for temperature in self.temperatures
        ]
        streams = [np.random.default_rng([seed, index]) for index in range(batch)]
        self._uniforms = np.stack([stream.random(settings.length) for stream in streams], axis=1)

    def ids(self) -> Iterator[NDArray[np.int64]]:
        """Yield the next id of each text, int64 [B]."""
        for uniforms in self._uniforms:
            logits: Any = self._stepper.logits
            rows = zip(self._choosers, logits, uniforms.tolist(), strict=True)
            chosen = np.array([int(choose(row, uniform)) for choose, row, uniform in rows])
            self.chosen.append(chosen)
            self.nats.append(nats(logits, chosen))
            yield chosen
            self._stepper.advance(chosen)
