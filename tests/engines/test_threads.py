"""What could be lost silently: cores that share the work, and the compiled kernel.

The calls that share some work wait for each other; if they come one after the other, they fail.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import write_plays
from engines.test_step import SOFT_TARGETS, WINDOWS, B, Trainer
from models import random_parameters

import charlm
from charlm.core import reading
from charlm.core.rnn import Parameters
from charlm.engines import compiled, kernel
from charlm.engines.compiled import CompiledStep
from charlm.engines.kernel import CompiledReader, Kernel, load_kernel

CORES = 3


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], None]:
    """Return a function that lets calls of a method wait until three threads call it at once."""
    barrier = threading.Barrier(CORES, timeout=20)
    for module in (compiled, kernel, reading):
        monkeypatch.setattr(module, "core_count", lambda: CORES)

    def meet(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def wait(*arguments: Any) -> Any:
            barrier.wait()
            return method(*arguments)

        monkeypatch.setattr(owner, name, wait)

    return meet


def test_each_core_computes_a_part_of_a_step(meet: Callable[[type, str], None]) -> None:
    trainer = Trainer(compiled=True, training={"parts": CORES})
    meet(Kernel, "call_with_memory")
    trainer.step(WINDOWS[0], SOFT_TARGETS[0], trainer.zero_state(B), 0.1)


def test_each_core_reads_some_streams_by_the_kernel(meet: Callable[[type, str], None]) -> None:
    parameters = random_parameters()
    read = CompiledReader(load_kernel(), parameters)
    meet(Kernel, "call_with_memory")
    read(np.zeros((9, CORES), np.int32), parameters.zero_state(CORES))


def test_each_core_reads_some_streams_by_numpy(meet: Callable[[type, str], None]) -> None:
    parameters = random_parameters()
    streams = CORES * reading.STREAMS_PER_THREAD
    meet(Parameters, "unroll")
    ids = np.zeros((9, streams), int)
    assert len([*reading.read_blocks(parameters, ids, parameters.zero_state(streams))]) == 1


@pytest.mark.parametrize(("name", "is_compiled"), [("auto", True), ("keras", False)])
def test_steps_and_evaluations_are_compiled(
    name: str, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[type] = []

    def count(owner: Any) -> None:
        call = owner.__call__

        def counted(*arguments: Any) -> Any:
            calls.append(owner)
            return call(*arguments)

        monkeypatch.setattr(owner, "__call__", counted)

    count(CompiledStep)
    count(CompiledReader)
    overrides = {"training": {"steps": 4, "evaluations": 2, "kernel": name}}
    charlm.train(write_plays(Path("plays.txt")), recipe="tiny", overrides=overrides)
    assert (calls.count(CompiledStep) >= 4) == is_compiled
    assert (calls.count(CompiledReader) >= 2) == is_compiled
