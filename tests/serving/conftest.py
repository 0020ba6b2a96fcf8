"""A real server of a small trained network, on a free port of loopback."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.serve_load import serving


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
