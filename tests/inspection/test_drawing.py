"""A report looks as it did when somebody last looked at it."""

import re

import numpy as np
from inspection.drawing import GOLDEN, describe

NUMBER = re.compile(r"(-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)")


def numbers(line: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(line)]


def test_a_report_looks_like_its_golden_file() -> None:
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    for line, expected in zip(describe(), lines, strict=True):
        update = "PYTHONPATH=tests python -m inspection.drawing"
        assert NUMBER.sub("#", line) == NUMBER.sub("#", expected), update
        np.testing.assert_allclose(
            numbers(line), numbers(expected), rtol=2e-3, atol=1e-9, err_msg=expected
        )
