"""Which workloads `charlm bench` compares, and how many operations a character takes."""

from collections import Counter
from dataclasses import replace

import pytest

from charlm.bench.cases import PARTS, PARTS_OF_STEP, Settings, Workload

SETTINGS = Settings(units=(8,), layers=1, batch=4, time=5)


def training(settings: Settings) -> list[Workload]:
    (case,) = PARTS["training"](settings).cases
    return [*case.workloads]


def names(workloads: list[Workload]) -> list[str]:
    return [workload.name for workload in workloads]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(1, 6 * 8 * 8 + 6 * 8 * 65), (2, 6 * 8 * 8 + 12 * 8 * 8 + 6 * 8 * 65)],
)
def test_training_a_character_takes_six_operations_for_each_weight(layers: int, expected: int) -> None:
    (case,) = PARTS["training"](replace(SETTINGS, layers=layers)).cases
    assert case.operations == expected


@pytest.mark.parametrize(
    ("layers", "expected"), [(1, 2 * 8 * 8 + 2 * 8 * 65), (3, 2 * 8 * 8 + 2 * 4 * 8 * 8 + 2 * 8 * 65)]
)
def test_sampling_a_character_takes_two_operations_for_each_weight(layers: int, expected: int) -> None:
    cases = PARTS["sampling"](replace(SETTINGS, layers=layers)).cases
    assert [case.operations for case in cases] == [expected, expected]


def test_training_compares_charlm_with_keras_and_the_products() -> None:
    assert names(training(SETTINGS)) == ["charlm", "keras", "peak_product", "tensorflow_product", "numpy_product"]


def test_pytorch_takes_part_if_it_is_installed() -> None:
    with_torch = names(training(replace(SETTINGS, has_torch=True)))
    assert with_torch == ["charlm", "keras", "torch", "peak_product", "tensorflow_product", "numpy_product"]


def test_charlm_runs_in_bfloat16_too_if_the_processor_multiplies_it() -> None:
    workloads = training(replace(SETTINGS, has_bfloat16=True))
    precisions = [workload.arguments.get("precision") for workload in workloads if workload.name == "charlm"]
    assert precisions == [None, "bfloat16"]


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(False, ["float32"]), (True, ["bfloat16", "float32"])])
def test_the_peak_is_measured_in_every_precision_of_charlm(has_bfloat16: bool, expected: list[str]) -> None:
    workloads = training(replace(SETTINGS, has_bfloat16=has_bfloat16))
    peaks = [workload.arguments["precision"] for workload in workloads if workload.name == "peak_product"]
    assert peaks == expected


def test_all_trainers_of_a_case_train_the_same_network_on_windows_of_the_same_shape() -> None:
    settings = replace(SETTINGS, has_torch=True)
    trainers = [workload for workload in training(settings) if not workload.name.endswith("product")]
    assert len(trainers) == 3
    expected = {"units": 8, "layers": 1, "batch": 4, "time": 5, "vocabulary": 65}
    assert all(workload.arguments == expected for workload in trainers)


def test_the_profile_has_a_line_for_each_part_of_a_step_with_the_peak_of_the_precision() -> None:
    part = PARTS["profile"](replace(SETTINGS, recipe="tiny", precision="bfloat16"))
    assert part.title == "profile of a step: tiny, bfloat16, vocabulary 65"
    assert [case.facts["part"] for case in part.cases] == [*PARTS_OF_STEP]
    measured, peak = part.cases[0].workloads
    assert measured.arguments == {"recipe": "tiny", "part": "step", "vocabulary": 65}
    assert peak == Workload("peak_product", {"precision": "bfloat16"})


def test_the_pieces_of_the_parts_add_up_to_a_step() -> None:
    total: Counter[str] = Counter()
    for part, (whole, *removed) in PARTS_OF_STEP.items():
        if part != "step":
            total.update([whole])
            total.subtract(removed)
    assert {piece: count for piece, count in total.items() if count} == {"step": 1}


def test_sampling_measures_one_stream_and_many_at_each_width() -> None:
    cases = PARTS["sampling"](replace(SETTINGS, units=(8, 16))).cases
    assert [(case.facts["units"], case.facts["streams"]) for case in cases] == [(8, 1), (8, 64), (16, 1), (16, 64)]


def test_the_text_that_is_tokenized_has_the_size_that_is_wanted() -> None:
    part = PARTS["tokenize"](replace(SETTINGS, megabytes=0.5))
    assert part.title == "tokenize, 0.5 MB of text"
    assert [workload.arguments["megabytes"] for case in part.cases for workload in case.workloads] == [0.5, 0.5]
