"""The short form of the load script: no failed request, and memory that does not grow."""

from pathlib import Path

import pytest
from faults.serve_load import load, read_process, serving


@pytest.mark.slow
def test_many_clients_at_once_are_all_answered_and_memory_is_flat(trained_run: Path) -> None:
    for package in ("starlette", "uvicorn"):
        pytest.importorskip(package, reason=f"missing: {package}")
    with serving(trained_run) as (process, port):
        tally = load(port, clients=60, requests=180, most=300)
        settled, _ = read_process(process.pid)
        short = load(port, clients=32, requests=600, most=10)
        last, open_files = read_process(process.pid)
    assert (tally.statuses, short.statuses) == ({200: 180}, {200: 600})
    assert len(tally.first_seconds) == 90
    assert last - settled < 20
    assert open_files < 64
