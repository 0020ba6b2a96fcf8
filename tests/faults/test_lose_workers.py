"""A run that loses its processes, and goes on with another number of them, ends like an undisturbed one."""

import random
from pathlib import Path

import pytest
from faults.kill import differences
from faults.lose_workers import STEPS_PER_FAULT, Fault, train_undisturbed, train_with_faults

pytestmark = pytest.mark.slow

FAULTS = ((2, Fault.WORKER_KILLED), (2, Fault.CHIEF_KILLED_WRITING), (1, Fault.CHIEF_KILLED), (3, Fault.WORKER_STOPPED))


def test_after_each_fault_the_others_end_and_the_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    steps = STEPS_PER_FAULT * (len(FAULTS) + 2)
    undisturbed = train_undisturbed(tmp_path / "undisturbed", steps=steps)
    disturbed, endings = train_with_faults(
        tmp_path / "disturbed", steps=steps, faults=FAULTS, worker_timeout=10, rng=random.Random(0), say=print
    )
    assert [ending.problems for ending in endings] == [()] * len(FAULTS)
    assert differences(undisturbed, disturbed) == []
