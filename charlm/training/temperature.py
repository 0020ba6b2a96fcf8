"""The temperature at which a network writes, chosen from what it writes when its training has ended.

At a low temperature a network repeats itself, the more the more its text does; at a high one it writes nonsense. What
repeats itself compresses better than the text that was learnt.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from charlm.network.model_file import TrainedModel
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.training.evaluating import EVALUATED_CHARACTERS, one_thread, sampler_of

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""What is tried, from the lowest on; the last one, the probabilities of the network, is taken if none will do."""
TEXTS, CHARACTERS = 4, 2000
"""The texts that are written at a temperature, and the length of each and of a piece of the text that was learnt."""
SHARE = 0.9
"""No text may compress to less than this share of what a piece of the text compresses to."""
TYPICAL_CHARACTERS = 2 * TEXTS * CHARACTERS
"""What is written until one is found, as a rule: a temperature that will not do is given up at its first bad text."""


@dataclass(frozen=True)
class Choice:
    """A temperature, and why."""

    temperature: float
    ratio: float
    """To which share of its bytes zlib compresses the text that repeats itself most, of those at this temperature."""
    ratio_of_text: float
    """That of a piece of the text that was learnt, the median."""
    lower: tuple[float, float] | None
    """The next lower temperature, and to which share a text compresses there; None = none was tried."""

    def __str__(self) -> str:
        """Return the choice for the user."""
        lower = self.lower and f"; at {self.lower[0]:g} it repeats itself: {self.lower[1]:.0%}"
        return (
            f"it writes at temperature {self.temperature:g}: zlib compresses its texts to {self.ratio:.0%}, the text "
            f"learnt to {self.ratio_of_text:.0%}{lower or ''}"
        )


def choose_temperature(run: Run, model: TrainedModel) -> Choice:
    """Return the lowest of TEMPERATURES at which no text of the network compresses much better than the text.

    Args:
        run: Its text, of which the validation part counts, the training part if there is none; and its config, which
            gives the prompt, the seed of the first text, and what else restricts the choice of a character.
        model: The network.

    Raises:
        CharlmError: the logits are not finite.

    """
    pieces, tried = _pieces(run), list[tuple[float, float]]()
    length, wanted = max(1, len(pieces[0])), float(np.median([_ratio(piece) for piece in pieces]))
    with one_thread():
        for temperature in TEMPERATURES:
            least = math.inf
            for text in _texts(run, model, temperature, length):
                least = min(least, _ratio(text))
                if least < SHARE * wanted:
                    break
            tried.append((temperature, least))
            if least >= SHARE * wanted:
                break
    lower = tried[-2] if len(tried) > 1 else None
    return Choice(*tried[-1], ratio_of_text=wanted, lower=lower)


def _pieces(run: Run) -> list[str]:
    """Return the pieces of CHARACTERS of what a run is evaluated on, or all of it if it is shorter."""
    ids, training = (run.corpus.split(name, at_most=EVALUATED_CHARACTERS) for name in ("validation", "train"))
    text = run.corpus.vocabulary.decode(ids if len(ids) > 1 else training)
    starts = range(0, max(1, len(text) - CHARACTERS + 1), CHARACTERS)
    return [text[start : start + CHARACTERS] for start in starts]


def _texts(run: Run, model: TrainedModel, temperature: float, length: int) -> Iterator[str]:
    """Yield what the network writes at a temperature, each text by a seed of its own."""
    settings = run.config.sampling
    sampler = replace(sampler_of(run.config, model), temperature=temperature)
    for seed in range(run.config.seed, run.config.seed + TEXTS):
        wanted = TextRequest(length, sampler, seed, settings.prompt, ignore_end=True)
        yield "".join(generate_text(model, wanted))


def _ratio(text: str) -> float:
    """Return to which share of its bytes a text is compressed."""
    data = text.encode("utf-8", "replace")
    return len(zlib.compress(data)) / max(1, len(data))
