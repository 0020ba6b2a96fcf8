"""The short form of the load script: no failed request, and memory that does not grow."""

import asyncio
from pathlib import Path

import pytest
from faults.serve_load import load, read_process, serving

pytestmark = pytest.mark.slow


def test_many_clients_at_once_are_all_answered_and_memory_is_flat(trained_run: Path) -> None:
    for package in ("starlette", "uvicorn"):
        pytest.importorskip(package, reason=f"missing: {package}")
    with serving(trained_run) as (process, port):
        tally = asyncio.run(load(port, clients=60, requests=180, most=300))
        settled = read_process(process.pid)
        short = asyncio.run(load(port, clients=32, requests=600, most=10))
        last = read_process(process.pid)
    assert tally.failures() == short.failures() == 0
    assert tally.statuses[200] == 180
    assert short.statuses[200] == 600
    assert len(tally.first_seconds) == 90
    assert last.resident_mb - settled.resident_mb < 20
    assert last.open_files < 64
