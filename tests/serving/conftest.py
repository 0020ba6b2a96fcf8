"""A real server of a small trained network, on a free port of loopback; and a clock that can be put forward."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from faults.serve_load import serving


class ForwardLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock a test puts forward, so that nothing has to wait."""

    seconds_ahead = 0.0

    def time(self) -> float:
        return super().time() + self.seconds_ahead


def put_forward(seconds: float) -> None:
    """Put the clock of the running loop forward."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ForwardLoop)
    loop.seconds_ahead += seconds


Result = TypeVar("Result")


def run_forward(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a loop whose clock can be put forward."""
    with asyncio.Runner(loop_factory=ForwardLoop) as runner:
        return runner.run(main)


@dataclass(frozen=True)
class Server:
    """Where a server listens, and what it serves."""

    port: int
    pid: int
    run: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def model(self) -> str:
        return self.run.name


@pytest.fixture(scope="session")
def server(trained_run: Path) -> Iterator[Server]:
    """Serve the small trained run to all tests that need no server of their own."""
    for package in ("starlette", "uvicorn"):
        pytest.importorskip(package, reason=f"missing: {package}")
    with serving(trained_run) as (process, port):
        yield Server(port, process.pid, trained_run)
