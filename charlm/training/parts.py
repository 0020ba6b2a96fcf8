"""The parts of a batch: which machine computes which, and in which order their gradients are added.

The order must not depend on the machines, so that one and several give the same bits. It is a tree that the number of
parts decides: the first 2^k of them are added, then the others, then both sums, where 2^k is the largest power of two
below their number; and likewise within each half. A span is a node of this tree: a range of parts whose sum is needed.
A machine adds whole spans of its own parts, so that only these sums are exchanged: one for each machine if every
machine has 2^k parts.

`default_parts` says into how many parts a batch is cut.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.hardware import core_count

Sum = TypeVar("Sum")
MIN_ROWS = 8
"""The rows that a part of a batch has at least, unless the batch has fewer; see `default_parts`."""


def own_parts(parts: int, *, machines: int, task: int) -> range:
    """Return which parts of a batch a machine computes: consecutive ones, as many as the others or one more.

    Args:
        parts: The parts of the batch.
        machines: The number of machines, 1 or more.
        task: Which of them this is, from 0.

    """
    least, larger = divmod(parts, machines)
    start = task * least + min(task, larger)
    return range(start, start + least + (task < larger))


def own_spans(span: range, own: range) -> Iterator[range]:
    """Yield the largest spans within the parts of a machine, in order.

    Args:
        span: All parts of the batch, or a span of them.
        own: The parts of the machine.

    """
    if span.start >= own.start and span.stop <= own.stop:
        yield span
    elif span.start < own.stop and span.stop > own.start:
        for half in _halves(span):
            yield from own_spans(half, own)


def spans_of(parts: int, *, machines: int) -> list[list[range]]:
    """Return the spans of each machine, given the number of parts and of machines."""
    every = range(parts)
    return [[*own_spans(every, own_parts(parts, machines=machines, task=task))] for task in range(machines)]


def add_in_order(span: range, sums: Mapping[range, Sum], *, add: Callable[[Sum, Sum], Sum]) -> Sum:
    """Return the sum of a span.

    Args:
        span: All parts of the batch, or a span of them.
        sums: The sums of spans that are known; they must cover `span`.
        add: Adds two sums.

    """
    if span in sums:
        return sums[span]
    first, second = (add_in_order(half, sums, add=add) for half in _halves(span))
    return add(first, second)


def _halves(span: range) -> tuple[range, range]:
    middle = span.start + (1 << (len(span) - 1).bit_length() - 1)
    return range(span.start, middle), range(middle, span.stop)


def default_parts(rows: int, *, cores: int) -> int:
    """Return the number of parts into which a machine cuts its rows: one for each core, of MIN_ROWS rows or more.

    A product with few rows leaves most of a core idle. Beside parts of 32 rows, a core is 94% as fast with 16 rows, 73%
    with 8 and 51% with 4 (measured with 512 units). The cores that get no part are free for other work.

    Args:
        rows: The rows of a batch that the machine computes, 1 or more.
        cores: The cores of the machine, 1 or more.

    """
    return max(1, min(cores, rows // MIN_ROWS))


def fill_parts(config: Config, *, workers: int = 1, cores: int | None = None) -> Config:
    """Return a config whose `training.parts` is a number: if it was None, that of `default_parts` for each worker.

    The number of parts decides the order of the sums and thereby their last bits. It is kept in the run, so that the
    run can continue on another machine with the same results.

    Args:
        config: Every setting.
        workers: The number of machines that share the batch, 1 or more.
        cores: The cores of each of them; None = those of this machine.

    Raises:
        CharlmError: there are fewer parts than workers.

    """
    settings = config.training
    parts = settings.parts or workers * default_parts(settings.batch_size // workers, cores=cores or core_count())
    if parts < workers:
        raise CharlmError(f"training.parts: found {parts}; must be at least {workers}, one for each worker")
    return config.model_copy(update={"training": settings.model_copy(update={"parts": parts})})
