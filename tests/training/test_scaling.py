"""What a step takes on several machines: the bytes, the rows and the times, by hand."""

import dataclasses

import pytest

from charlm.config.schema import OptimizerConfig
from charlm.training.scaling import Scaling, exchanged_bytes, muon_weights

SHAPES = {"embedding": (10, 3), "rnn.0.kernel": (3, 4), "rnn.0.bias": (4,), "logits.kernel": (4, 10)}
SCALING = Scaling(
    weights=999_999,
    matrices=0,
    batch_size=64,
    parts=None,
    cores=2,
    bandwidth=8e9,  # a gigabyte a second
    alone_seconds=0.35,
    timed_machines=4,
    share_seconds=0.11,
)
"""32 rows on each core of one machine and 8 on each of four: 0.01 s a row, and 0.03 s that are repeated."""


@pytest.mark.parametrize(
    ("parts", "machines", "received"),
    [
        (4, 1, 0),
        (2, 2, 4 * 11),
        (4, 2, 4 * 11),  # each machine adds its two parts before
        (8, 4, 4 * 3 * 11),
        (6, 2, 4 * 2 * 11),  # the first two and the third, the fourth and the last two
        (5, 2, 4 * 2 * 11),  # the second machine sends as much, although its two parts have one sum
    ],
)
def test_a_machine_receives_the_sums_of_the_gradients_and_the_loss_of_the_others(
    parts: int, machines: int, received: int
) -> None:
    assert exchanged_bytes(10, matrices=0, parts=parts, machines=machines) == received


def test_a_machine_receives_the_matrices_of_muon_from_each_other_machine() -> None:
    assert exchanged_bytes(10, matrices=6, parts=3, machines=3) == 4 * 2 * (11 + 6)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ({"name": "adam"}, 0),
        ({"name": "muon"}, 3 * 4 + 4 * 10),
        ({"name": "Muon", "exclude_embeddings": False}, 10 * 3 + 3 * 4 + 4 * 10),
    ],
)
def test_muon_orthogonalizes_all_matrices_but_the_embedding(optimizer: dict[str, object], expected: int) -> None:
    assert muon_weights(SHAPES, OptimizerConfig.model_validate(optimizer)) == expected


@pytest.mark.parametrize(
    ("machines", "parts", "machine_parts", "rows"),
    [(1, 2, 2, 64), (3, 6, 2, 22), (4, 8, 2, 16), (8, 8, 1, 8), (64, 64, 1, 1)],
)
def test_every_core_gets_a_part_while_it_has_eight_rows(
    machines: int, parts: int, machine_parts: int, rows: int
) -> None:
    step = SCALING.step(machines)
    assert (step.parts, step.machine_parts, step.machine_rows) == (parts, machine_parts, rows)


@pytest.mark.parametrize(("machines", "seconds"), [(1, 0.35), (2, 0.03 + 0.16), (4, 0.11), (8, 0.11), (16, 0.07)])
def test_the_compute_is_what_is_repeated_and_the_rows_of_a_core(machines: int, seconds: float) -> None:
    assert SCALING.step(machines).compute_seconds == pytest.approx(seconds)


def test_more_parts_than_cores_are_computed_one_after_another() -> None:
    scaling = dataclasses.replace(SCALING, parts=8)  # 4 turns of 8 rows on one machine, 1 turn on each of four
    assert scaling.step(2).compute_seconds == pytest.approx(0.03 + 2 * 8 * 0.01)


def test_a_step_is_the_compute_and_the_bytes_at_the_bandwidth() -> None:
    step = SCALING.step(2)
    assert step.exchanged_bytes == 4_000_000
    assert step.seconds == pytest.approx(0.19 + 0.004)
    assert SCALING.speedup(2) == pytest.approx(0.35 / 0.194)


@pytest.mark.parametrize(
    ("bandwidth", "expected"),
    [
        (8e9, 8),  # 0.098 s on eight machines, 0.110 s on 16
        (8e12, 32),  # 64 machines would have one row each as well, on one of their cores
        (8e6, 1),
    ],
)
def test_machines_pay_until_twice_as_many_are_hardly_faster(bandwidth: float, expected: int) -> None:
    scaling = dataclasses.replace(SCALING, bandwidth=bandwidth, parts=64)
    assert scaling.worthwhile_machines == expected


def test_machines_do_not_pay_that_leave_cores_without_a_part() -> None:
    fast = dataclasses.replace(SCALING, bandwidth=1e30)
    assert fast.worthwhile_machines == 4  # eight would have one part each


def test_no_more_machines_pay_than_there_are_parts_or_rows() -> None:
    fast = dataclasses.replace(SCALING, bandwidth=1e30, share_seconds=0.08)
    assert (fast.most_machines, dataclasses.replace(fast, parts=3).worthwhile_machines) == (64, 2)
