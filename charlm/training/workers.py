"""Workers that train a run together: what one tells the others, and what must be the same on all of them.

Every worker runs the same program on its own copy of the text, and computes the gradients of its own rows of each
batch. The run is that of worker 0. This module has a single worker; `charlm.engine.workers` connects several.
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

MIN_ROWS = 8
"""The rows that a part of a batch has at least, unless the batch has fewer; see `Workers.default_parts`."""
DIGITS = 15
"""How much of a SHA-256 in hexadecimal is compared: as much as an int64 holds."""


class Workers:
    """The workers of a run; this class is a single worker. Every worker must call each method."""

    count: int = 1
    index: int = 0
    """Which of them this is."""

    def sum(self, tensors: list[Any]) -> list[Any]:
        """Return the sums over all workers of float32 tensors of TensorFlow, within a graph."""
        return tensors

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over all workers of an array."""
        return array

    def rows(self, batch_size: int) -> slice:
        """Return the rows of a batch that this worker computes.

        Raises:
            CharlmError: there are not as many for each worker.

        """
        if batch_size % self.count:
            raise CharlmError(
                f"training.batch_size: found {batch_size}; must be divisible by {self.count}, the workers of TF_CONFIG"
            )
        rows = batch_size // self.count
        return slice(self.index * rows, (self.index + 1) * rows)

    def default_parts(self, batch_size: int, *, cores: int) -> int:
        """Return the number of parts into which this worker cuts its rows: one a core, of MIN_ROWS rows or more.

        A product with few rows leaves most of a core idle. Beside parts of 32 rows, a core is 94% as fast with 16 rows,
        73% with 8 and 51% with 4 (measured with 512 units). The cores that get no part are free for other work.

        Args:
            batch_size: The rows of a batch, over all workers.
            cores: The cores of the machine, 1 or more.

        """
        return max(1, min(cores, batch_size // self.count // MIN_ROWS))

    def gather(self, own: ArrayLike) -> NDArray[Any]:
        """Return what each worker has passed, [workers, ...]: int64 or float32, of the same shape on each."""
        array = np.asarray(own)
        every = np.zeros((self.count, *array.shape), array.dtype)
        every[self.index] = array
        return self.total(every)

    def share(self, number: int) -> int:
        """Return the number that worker 0 has passed."""
        return int(self.gather([int(number)])[0, 0])

    def agree(self, *, step: int, count: int, signal: int) -> tuple[int, int]:
        """Return how many steps all workers take next, 0 = the run ends, and the signal that ends it, 0 = none.

        Worker 0 decides, unless another one has received a signal.

        Args:
            step: How many steps this worker has taken.
            count: How many it would take next; 0 = it would end here.
            signal: The number of a signal that it has received; 0 = none.

        Raises:
            CharlmError: the workers have taken different numbers of steps.

        """
        taken, counts, signals = zip(*self.gather([step, count, signal]).tolist(), strict=True)
        if len({*taken}) > 1:
            raise CharlmError(
                f"TF_CONFIG: the workers have resumed at the steps {taken}; give each the same run"
            )
        number = max(signals) if counts[0] else signals[0]
        return 0 if number else counts[0], number

    def check_same(self, config: Config, corpus: Corpus) -> None:
        """Check that all workers would train the same.

        Args:
            config: Every setting; `training.parts` may differ.
            corpus: The text.

        Raises:
            CharlmError: the versions, the text or the settings of a worker are not those of worker 0.

        """
        sections = config.model_dump(mode="json", exclude={"training": {"parts"}})
        facts = {
            "the versions of charlm, TensorFlow and Keras": [
                __version__,
                versions("tensorflow", "keras"),
            ],
            "the text": [corpus_identity(corpus), corpus.vocabulary.to_fields()],
            **{f"the settings of {name}": values for name, values in sections.items()},
        }
        for name, fact in facts.items():
            digest = hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).hexdigest()
            found = self.gather([int(digest[:DIGITS], 16)]).tolist()
            if others := [str(index) for index, one in enumerate(found) if one != found[0]]:
                raise CharlmError(
                    f"TF_CONFIG: worker {', '.join(others)} differs from worker 0 in {name}; must be the same on all"
                )
