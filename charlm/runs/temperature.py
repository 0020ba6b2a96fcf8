"""The sampling temperature of a trained network, chosen from texts that it generates.

At a low temperature a network repeats itself, and more so if its training text is repetitive. At a
high temperature it generates nonsense. Repetitive output compresses better than the training text,
or repeats one character, such as a space, more often in a row.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from charlm.config.schema import Config
from charlm.core import BEST, LAST
from charlm.core.evaluating import EVALUATED_CHARACTERS
from charlm.core.generation import TextRequest, generate_text
from charlm.core.model_file import UNCHOSEN_TEMPERATURE, TrainedModel, read_model, write_model
from charlm.core.reading import one_thread
from charlm.core.sampler import Sampler
from charlm.core.vocabulary import Ids
from charlm.runs.run import Run
from charlm.storage import Lock
from charlm.text.corpus import Corpus

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Temperatures to try, in this order; the last is used if the output repeats itself at all others.
"""
TEXTS, CHARACTERS = 4, 2000
"""Number of texts to generate at each temperature, and the length of each in characters. They are
compared with segments of the text that have the same length."""
SHARE = 0.9
"""Minimum compression ratio of a generated text, as a share of the ratio of the text's segments."""
MAX_RUN = 2
"""Largest number of equal characters in a row of a generated text, as a multiple of the text's."""
COMPARED_CHARACTERS = 5_000_000
"""Number of characters, at the end of the text, that are searched for the longest such row."""


def set_temperature(run: Run, lock: Lock, *, is_over: Callable[[], bool]) -> float:
    """Choose the temperature of a finished run, write it to its models, and return it.

    Args:
        run: The run, with a best and a last model.
        lock: The lock of its folder, which this process holds.
        is_over: Function that returns whether a time limit has passed.

    Raises:
        CharlmError: The logits are not finite, the folder is not the one that this process has
            locked, or a file cannot be read or written.

    """
    best, last = (read_model(run.folder / name) for name in (BEST, LAST))
    temperature = choose_temperature(run.config, run.corpus, best, is_over=is_over)
    lock.check(run.folder)
    for name, model in ((BEST, best), (LAST, last)):
        facts = {**model.facts, "temperature": temperature}
        write_model(run.folder / name, replace(model, facts=facts))
    return temperature


def choose_temperature(
    config: Config,
    corpus: Corpus,
    model: TrainedModel,
    *,
    is_over: Callable[[], bool],
) -> float:
    """Return the lowest of TEMPERATURES at which the output is about as varied as the text.

    Args:
        config: Settings of the run: the prompt, the seed of the first text, and how to sample.
        corpus: The text, whose validation part, or else training part, is the standard.
        model: The network.
        is_over: Function that returns whether a time limit has passed; no further text is then
            generated.

    Raises:
        CharlmError: The logits are not finite.

    """
    segments = _segments(corpus)
    length = max(1, len(segments[0]))
    ratios = [_compression_ratio(segment) for segment in segments]
    lowest_ratio = SHARE * float(np.median(ratios))
    longest_run = MAX_RUN * _longest_run(corpus.ids[-COMPARED_CHARACTERS:])
    with one_thread():
        for temperature in TEMPERATURES:
            is_varied = True
            for request in _requests(config, temperature, length):
                if is_over() or not is_varied:
                    break
                text = "".join(generate_text(model, request))
                is_blank = _longest_run(corpus.vocabulary.encode(text)) > longest_run
                is_varied = not is_blank and _compression_ratio(text) >= lowest_ratio
            if is_varied:
                return max(temperature, UNCHOSEN_TEMPERATURE) if is_over() else temperature
    return TEMPERATURES[-1]


def _segments(corpus: Corpus) -> list[str]:
    """Return the evaluated text in segments of CHARACTERS, or all of it if it is shorter."""
    ids = corpus.split("validation")
    if len(ids) < 2:
        ids = corpus.split("train")
    text = corpus.vocabulary.decode(ids[:EVALUATED_CHARACTERS])
    starts = range(0, max(1, len(text) - CHARACTERS + 1), CHARACTERS)
    return [text[start : start + CHARACTERS] for start in starts]


def _requests(config: Config, temperature: float, length: int) -> Iterator[TextRequest]:
    """Yield requests for texts at a temperature, each with its own seed."""
    sampler = Sampler.of(config.sampling, temperature=temperature)
    prompt = config.sampling.prompt
    for seed in range(config.seed, config.seed + TEXTS):
        yield TextRequest(length, sampler, seed, prompt, ignore_end=True)


def _longest_run(ids: Ids) -> int:
    """Return the largest number of equal ids in a row, [n], n >= 1."""
    ends = np.flatnonzero(np.diff(ids.astype(np.int64), append=-1))
    return int(np.diff(ends, prepend=-1).max())


def _compression_ratio(text: str) -> float:
    """Return the compressed size as a share of the original size."""
    data = text.encode("utf-8", "replace")
    return len(zlib.compress(data)) / len(data)
