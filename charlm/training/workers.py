"""Workers that train a run together: the values that they exchange, and checks that they agree.

Every worker runs the same program on its own copy of the text, and computes the gradients of its
own rows of each batch. Worker 0 owns the run. The class here is a single worker;
`charlm.engine.workers` connects several.
"""

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charlm import __version__
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.hardware import versions
from charlm.runs.run import corpus_identity
from charlm.text.corpus import Corpus

MIN_ROWS = 4
"""Minimum number of rows in a part of a batch, unless the batch itself has fewer."""
DIGITS = 15
"""Number of hexadecimal digits of a SHA-256 that are compared; they fit into an int64."""


class Workers:
    """The workers of a run, here a single worker. Every worker must call each method."""

    count: int = 1
    index: int = 0
    """Number of this worker, from 0."""

    def sum(self, tensors: list[Any]) -> list[Any]:
        """Sum each float32 tensor over all workers, inside a TensorFlow graph."""
        return tensors

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of an array over all workers."""
        return array

    def rows(self, batch_size: int) -> slice:
        """Return the rows of a batch that this worker computes.

        Raises:
            CharlmError: The rows cannot be divided evenly among the workers.

        """
        if batch_size % self.count:
            raise CharlmError(
                f"training.batch_size: found {batch_size}; must be divisible by {self.count}, the "
                f"number of workers in TF_CONFIG"
            )
        rows = batch_size // self.count
        return slice(self.index * rows, (self.index + 1) * rows)

    def default_parts(self, batch_size: int, *, cores: int) -> int:
        """Return the number of parts that this worker cuts its rows into.

        Each part has a core and at least MIN_ROWS rows, since products with few rows waste most of
        a core. Compared with parts of 32 rows, a core reaches 82 to 89% of the speed with 8 rows,
        75 to 77% with 4 and about 60% with 2 (192 to 512 units in float32; in bfloat16 with tiles
        52 to 77%, 37 to 56% and 28 to 43%).
        """
        return max(1, min(cores, batch_size // self.count // MIN_ROWS))

    def gather(self, values: ArrayLike) -> NDArray[Any]:
        """Return the values of all workers, [workers, ...]: int64 or float32 of equal shape."""
        array = np.asarray(values)
        gathered = np.zeros((self.count, *array.shape), array.dtype)
        gathered[self.index] = array
        return self.total(gathered)

    def broadcast(self, number: int) -> int:
        """Return the number that worker 0 passed."""
        return int(self.gather(int(number))[0])

    def broadcast_seconds(self, seconds: float) -> float:
        """Return the seconds that worker 0 passed, to the nanosecond."""
        return self.broadcast(round(1e9 * seconds)) / 1e9

    def agree(self, *, step: int, count: int, signal: int) -> tuple[int, int]:
        """Agree on the number of next steps (0 = end the run) and on a signal (0 = none).

        Worker 0 decides, unless another worker has received a signal.

        Args:
            step: Number of steps that this worker has taken.
            count: Number of next steps that this worker suggests.
            signal: Number of a signal that this worker has received.

        Raises:
            CharlmError: The workers have taken different numbers of steps.

        """
        steps, counts, signals = zip(*self.gather([step, count, signal]).tolist(), strict=True)
        if len({*steps}) > 1:
            raise CharlmError(
                f"TF_CONFIG: the workers resumed at different steps {steps}; copy the run of "
                f"worker 0 to all of them"
            )
        number = max(signals) if counts[0] else signals[0]
        return 0 if number else counts[0], number

    def check_same(self, config: Config, corpus: Corpus) -> None:
        """Check that all workers have the same versions, text and settings (except for parts).

        Raises:
            CharlmError: A worker differs from worker 0.

        """
        sections = config.model_dump(mode="json", exclude={"training": {"parts"}})
        packages = [__version__, versions("tensorflow", "keras")]
        text = [corpus_identity(corpus), corpus.vocabulary.to_fields()]
        facts = {"the versions of charlm, TensorFlow and Keras": packages, "the text": text}
        facts |= {f"the settings of {name}": values for name, values in sections.items()}
        for name, fact in facts.items():
            digest = hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).hexdigest()
            first, *others = self.gather(int(digest[:DIGITS], 16)).tolist()
            different = [str(i) for i, other in enumerate(others, start=1) if other != first]
            if different:
                raise CharlmError(
                    f"TF_CONFIG: {name}: must be the same on all workers; worker 0 differs from "
                    f"worker {', '.join(different)}"
                )
