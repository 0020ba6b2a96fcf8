"""The parts of a batch: each machine's share, and one order of the sums for any number of machines."""

import operator

import numpy as np
import pytest

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.training.parts import add_in_order, default_parts, fill_parts, own_parts, spans_of


def part(index: int) -> range:
    return range(index, index + 1)


@pytest.mark.parametrize("parts", [1, 5, 13])
@pytest.mark.parametrize("machines", [1, 2, 3, 5])
def test_the_machines_share_all_parts_in_order_and_as_equally_as_possible(parts: int, machines: int) -> None:
    shares = [own_parts(parts, machines=machines, task=task) for task in range(machines)]
    assert [index for share in shares for index in share] == list(range(parts))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert sorted(map(len, shares), reverse=True) == [len(share) for share in shares]


@pytest.mark.parametrize(
    ("parts", "order"),
    [(1, "0"), (2, "(0+1)"), (3, "((0+1)+2)"), (4, "((0+1)+(2+3))"), (7, "(((0+1)+(2+3))+((4+5)+6))")],
)
def test_the_number_of_parts_decides_the_order_of_the_sums(parts: int, order: str) -> None:
    names = {part(index): str(index) for index in range(parts)}
    assert add_in_order(range(parts), names, add=lambda first, second: f"({first}+{second})") == order


@pytest.mark.parametrize(("cores", "machines"), [(1, 7), (2, 3), (4, 5), (16, 8)])
def test_machines_with_a_power_of_two_of_parts_have_one_sum_each(cores: int, machines: int) -> None:
    assert [len(spans) for spans in spans_of(cores * machines, machines=machines)] == [1] * machines


@pytest.mark.parametrize("parts", [2, 5, 12, 16])
@pytest.mark.parametrize("machines", [2, 3, 4])
def test_any_number_of_machines_gives_the_bits_of_one(parts: int, machines: int) -> None:
    values = np.random.default_rng(parts).normal(size=parts).astype(np.float32)
    alone = {part(index): values[index] for index in range(parts)}
    sums = {
        span: add_in_order(span, alone, add=operator.add) for own in spans_of(parts, machines=machines) for span in own
    }
    every = range(parts)
    assert add_in_order(every, sums, add=operator.add) == add_in_order(every, alone, add=operator.add)


@pytest.mark.parametrize(("rows", "cores", "parts"), [(64, 2, 2), (64, 16, 8), (7, 4, 1), (16, 4, 2), (1, 1, 1)])
def test_each_core_gets_a_part_of_8_rows_or_more(rows: int, cores: int, parts: int) -> None:
    assert default_parts(rows, cores=cores) == parts


def test_parts_are_the_cores_of_all_workers_unless_they_are_given() -> None:
    assert fill_parts(Config(), workers=3, cores=2).training.parts == 6
    assert fill_parts(Config(), workers=3, cores=16).training.parts == 6  # 64 rows: 2 parts for 21 of them
    given = Config.model_validate({"training": {"steps": 1, "parts": 4}})
    assert fill_parts(given, workers=3, cores=2).training.parts == 4
    with pytest.raises(CharlmError, match=r"training\.parts: found 4; must be at least 5, one for each worker"):
        fill_parts(given, workers=5, cores=2)
