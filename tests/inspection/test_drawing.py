"""A report is drawn and written as it was when it was last looked at."""

import re

import numpy as np
from inspection.drawing import GOLDEN, describe

NUMBER = re.compile(r"(-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)")


def test_a_report_shows_what_tests_golden_report_says() -> None:
    for found, expected in zip(
        describe(), GOLDEN.read_text(encoding="utf-8").splitlines(), strict=True
    ):
        assert NUMBER.sub("#", found) == NUMBER.sub("#", expected), (
            "PYTHONPATH=tests python -m inspection.drawing"
        )
        shown, known = (
            [float(one.replace(",", "")) for one in NUMBER.findall(line)]
            for line in (found, expected)
        )
        np.testing.assert_allclose(shown, known, rtol=2e-3, atol=1e-9, err_msg=expected)
