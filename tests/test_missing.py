"""In CI, a test or a module that skips because something is missing fails."""

import pytest
from conftest import fail_if_missing


def test_a_module_that_skips_because_something_is_missing_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing, other = "missing: onnx", "this processor does not multiply bfloat16"
    for ci, reason, outcome in (
        ("true", missing, "failed"),
        ("true", other, "skipped"),
        ("", missing, "skipped"),
    ):
        monkeypatch.setenv("CI", ci)
        report = pytest.CollectReport(
            "tests/test_x.py", "skipped", ("tests/test_x.py", 1, f"Skipped: {reason}"), []
        )
        fail_if_missing(report)
        assert (report.outcome, report.passed) == (outcome, False)
