"""The temperature at which a network writes, chosen from what it writes when its training has ended.

At a low temperature a network repeats itself, the more the more its text does; at a high one it writes nonsense. What
repeats itself compresses better than the text that was learnt.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from charlm.network.model_file import TrainedModel
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.training.evaluating import EVALUATED_CHARACTERS, one_thread, sampler_of

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""What is tried, from the lowest on; the last one, the probabilities of the network, is taken if none will do."""
TEXTS, CHARACTERS = 4, 2000
"""The texts that are written at a temperature, and the length of each and of a segment of the text that was learnt."""
SHARE = 0.9
"""No text may compress to less than this share of what a segment of the text compresses to."""
TYPICAL_CHARACTERS = 2 * TEXTS * CHARACTERS
"""What is written until one is found, as a rule: a temperature that will not do is given up at its first bad text."""


DEFAULT_TEMPERATURE = 0.7
"""What is taken if there is no time to compare any."""


@dataclass(frozen=True)
class Choice:
    """A sampling temperature, and why it was chosen."""

    temperature: float
    reason: str
    """Why, for the user; "" = no lower temperature was compared."""


RECITAL = Choice(0.0, "always the most likely character, which recites the text")


def choose_temperature(
    run: Run, model: TrainedModel, *, is_over: Callable[[], bool] = lambda: False
) -> Choice:
    """Return the lowest of TEMPERATURES at which no text of the network compresses much better than the text.

    Args:
        run: Its text, of which the validation part counts, the training part if there is none; and its config, which
            gives the prompt, the seed of the first text, and what else restricts the choice of a character.
        model: The network.
        is_over: Returns whether a time limit has passed; no further text is then generated.

    Raises:
        CharlmError: the logits are not finite.

    """
    segments = _segments(run)
    length = max(1, len(segments[0]))
    wanted = SHARE * float(np.median([_ratio(segment) for segment in segments]))
    lower = None
    with one_thread():
        for temperature in TEMPERATURES:
            is_varied = all(
                _ratio(text) >= wanted for text in _texts(run, model, temperature, length, is_over)
            )
            if is_varied and is_over():
                return Choice(
                    max(temperature, DEFAULT_TEMPERATURE), "there was no time to compare others"
                )
            if is_varied or temperature == TEMPERATURES[-1]:
                break
            lower = temperature
    if lower is None:
        return Choice(temperature, "")
    return Choice(temperature, f"at {lower:g} the output repeats itself more than the text does")


def _segments(run: Run) -> list[str]:
    """Return the segments of CHARACTERS of what a run is evaluated on, or all of it if it is shorter."""
    ids, training = (
        run.corpus.split(name, at_most=EVALUATED_CHARACTERS) for name in ("validation", "train")
    )
    text = run.corpus.vocabulary.decode(ids if len(ids) > 1 else training)
    starts = range(0, max(1, len(text) - CHARACTERS + 1), CHARACTERS)
    return [text[start : start + CHARACTERS] for start in starts]


def _texts(
    run: Run, model: TrainedModel, temperature: float, length: int, is_over: Callable[[], bool]
) -> Iterator[str]:
    """Yield what the network generates at a temperature, each text by its own seed, until the time is over."""
    settings = run.config.sampling
    sampler = replace(sampler_of(run.config, model), temperature=temperature)
    for seed in range(run.config.seed, run.config.seed + TEXTS):
        if is_over():
            return
        wanted = TextRequest(length, sampler, seed, settings.prompt, ignore_end=True)
        yield "".join(generate_text(model, wanted))


def _ratio(text: str) -> float:
    """Return to which share of its bytes a text is compressed."""
    data = text.encode("utf-8", "replace")
    return len(zlib.compress(data)) / max(1, len(data))
