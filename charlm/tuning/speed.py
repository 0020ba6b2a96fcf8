"""How long a step takes, measured before a trial, so that all trials train for the same time.

The number of steps that follows from it is kept in the config of the trial. So a trial can be repeated, which one that
ends by the clock cannot, and its learning rates fall to their end.

Axes: K steps in one call.
"""

import statistics
from typing import Any

import numpy as np

from charlm.config.file import flatten
from charlm.config.schema import Config
from charlm.hardware import memory_bytes, usable_precision
from charlm.text.batches import fit_batches
from charlm.text.corpus import Corpus
from charlm.training.engine import EngineFactory
from charlm.training.memory import check_memory

CALLS, SECONDS = 3, 1.0
"""At least so many calls are timed, for at least so long."""


class StepTimer:
    """Measures how long a step takes, once for all configs whose steps take equally long.

    Args:
        corpus: The text.
        make_engine: Makes the engine, which computes the steps.

    """

    def __init__(self, corpus: Corpus, make_engine: EngineFactory) -> None:
        self._corpus, self._make_engine = corpus, make_engine
        self._known: dict[tuple[tuple[str, Any], ...], float] = {}

    def seconds_per_step(self, config: Config) -> float:
        """Return how long a step takes in training alone.

        Args:
            config: Every setting; `training.parts` is a number.

        Raises:
            CharlmError: the text is too short, or the engine does not have something that the config names.

        """
        key = speed_key(config)
        if key not in self._known:
            self._known[key] = self._measure(config)
        return self._known[key]

    def _measure(self, config: Config) -> float:
        settings, vocabulary_size = config.training, len(self._corpus.vocabulary)
        ids = self._corpus.split("train", check=False)
        batches, _ = fit_batches(
            len(ids), batch_size=settings.batch_size, sequence_length=settings.sequence_length, seed=config.seed
        )
        check_memory(config, vocabulary_size, available_bytes=memory_bytes())
        precision, _ = usable_precision(settings.precision)
        engine = self._make_engine(config, batches, vocabulary_size=vocabulary_size, precision=precision)
        engine.build()
        count = min(settings.steps_per_call, batches.steps_per_epoch)
        windows = batches.windows(ids, epoch=0, first=0, count=count)  # [K, T + 1, B]
        self._corpus.check_ids(windows)
        rates = np.zeros(count, np.float32)
        engine.take_steps(windows, rates, reset_state=True)  # the first call is slower
        taken: list[float] = []
        while len(taken) < CALLS or (sum(taken) < SECONDS and len(taken) < 100):
            taken.append(engine.take_steps(windows, rates, reset_state=False).seconds)
        return max(statistics.median(taken) / count, 1e-6)


def speed_key(config: Config) -> tuple[tuple[str, Any], ...]:
    """Return what decides how long a step takes: every setting, of a number with a fraction only whether it is 0."""
    settings = flatten(config)
    ignored = ("seed", "training.steps", "training.schedule.", "training.evaluate_every", "training.checkpoint_every")
    return tuple(
        (key, bool(value) if isinstance(value, float) else str(value))
        for key, value in settings.items()
        if not key.startswith(ignored)
    )
