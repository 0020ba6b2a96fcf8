"""A report looks as it did when somebody last looked at it."""

import re

import numpy as np
import pytest
from inspection.drawing import DESCRIPTIONS, GOLDEN

NUMBER = re.compile(r"(-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)")


def numbers(line: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(line)]


@pytest.mark.parametrize("file", DESCRIPTIONS)
def test_a_report_looks_like_its_golden_file(file: str) -> None:
    lines = (GOLDEN / file).read_text(encoding="utf-8").splitlines()
    for line, expected in zip(DESCRIPTIONS[file](), lines, strict=True):
        update = "PYTHONPATH=tests python -m inspection.drawing"
        assert NUMBER.sub("#", line) == NUMBER.sub("#", expected), update
        np.testing.assert_allclose(
            numbers(line), numbers(expected), rtol=2e-3, atol=1e-9, err_msg=expected
        )
