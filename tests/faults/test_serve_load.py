"""The short form of the load script: no failed request, and memory that does not grow; speed is not tested here."""

import asyncio
import random
from pathlib import Path

import pytest
from faults.serve_load import Tally, load, make_body, measure_sample, percentile, read_process, serving

pytestmark = pytest.mark.slow


def test_many_clients_at_once_are_all_answered_and_memory_is_flat(trained_run: Path) -> None:
    for package in ("starlette", "uvicorn"):
        pytest.importorskip(package, reason=f"missing: {package}")
    with serving(trained_run, "--slots", "16") as (process, port):
        tally, _ = asyncio.run(load(port, clients=60, seconds=3, requests=10**9, most=300))
        settled = read_process(process.pid)
        short, _ = asyncio.run(load(port, clients=32, seconds=60, requests=600, most=10))
        last = read_process(process.pid)
    assert tally.failures() == short.failures() == 0
    assert tally.statuses[200] >= 60
    assert short.statuses[200] == 600
    assert 0 < tally.steady_characters <= tally.characters
    assert len(tally.first_seconds) >= 20
    assert last.resident_mb - settled.resident_mb < 20
    assert last.open_files < 64


def test_requests_beyond_the_queue_are_put_off_and_not_failed(trained_run: Path) -> None:
    with serving(trained_run, "--slots", "2", "--queue", "2") as (_, port):
        tally, _ = asyncio.run(load(port, clients=30, seconds=2, requests=10**9, most=300))
    assert tally.statuses[503] > 0
    assert tally.statuses[200] > 0
    assert tally.failures() == 0


def test_the_speed_of_sample_is_measured(bundle_folder: Path) -> None:
    speed = measure_sample(bundle_folder, 4, seconds=0.2, threads=1)
    assert speed.wall > 100
    assert speed.cpu > 100


def test_a_tally_counts_what_is_neither_an_answer_nor_put_off() -> None:
    tally = Tally()
    tally.statuses.update({200: 5, 503: 3, 500: 1, "broken": 2, "ConnectionResetError": 1})
    assert tally.failures() == 4


def test_bodies_differ_and_are_the_same_in_every_run() -> None:
    bodies = [[make_body(random.Random(seed), number, most=10) for number in range(4)] for seed in (0, 0)]
    assert bodies[0] == bodies[1]
    assert [body["stream"] for body in bodies[0]] == [True, False, True, False]
    assert all(5 <= body["max_tokens"] <= 10 for body in bodies[0])


def test_a_percentile_is_a_value_that_so_many_do_not_exceed() -> None:
    assert percentile(range(1, 101), 99) == 100
    assert percentile([3.0], 50) == 3.0
