"""The workloads of `charlm bench` that train: each returns its figures."""

import pytest

from charlm.bench.cases import Workload
from charlm.bench.measure import Effort, measure

TINY_EFFORT = Effort(repetitions=1, seconds=0.001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "figure"),
    [
        ("charlm", {"precision": "float32"}, "charlm"),
        ("charlm", {"precision": "bfloat16"}, "charlm_bfloat16"),
        ("keras", {}, "keras"),
    ],
)
def test_a_trainer_has_a_speed(name: str, settings: dict[str, str], figure: str) -> None:
    shape = {"units": 8, "layers": 2, "vocabulary": 5, "batch": 4, "time": 5}
    figures = measure(Workload(name, {**shape, **settings}), TINY_EFFORT)
    assert list(figures) == [figure]
    assert figures[figure] > 0


@pytest.mark.slow
def test_a_product_of_tensorflow_has_a_speed() -> None:
    figures = measure(Workload("tensorflow_product", {"rows": 4, "units": 8}), TINY_EFFORT)
    assert figures["tensorflow_product"] > 0


@pytest.mark.slow
def test_the_peak_of_a_machine_has_a_speed_far_above_that_of_a_small_product() -> None:
    peak = measure(Workload("peak_product", {"precision": "float32"}), TINY_EFFORT)["peak"]
    assert (
        peak > 10 * measure(Workload("tensorflow_product", {"rows": 1, "units": 8}), TINY_EFFORT)["tensorflow_product"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", ["backward", "dropout", "rest"])
def test_a_part_of_a_step_is_timed_and_has_a_speed_if_it_has_products(part: str) -> None:
    figures = measure(Workload("step_part", {"recipe": "tiny", "part": part, "vocabulary": 5}), TINY_EFFORT)
    speed = {"operations_per_second"} if part == "backward" else set()
    assert set(figures) == {"milliseconds", "of_step"} | speed
