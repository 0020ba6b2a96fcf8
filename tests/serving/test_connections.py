"""The connections of a server: slow readers get all of their answer, those that read nothing are given up."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="missing: uvicorn")

import uvicorn

from charlm.errors import CharlmError
from charlm.serving.server import bounded_protocol, listen

READ_SECONDS = 0.25
ANSWER = bytes(range(256)) * (1 << 15)  # 8 MiB
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: %b\r\n\r\n"


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(ANSWER))]})
    await send({"type": "http.response.body", "body": ANSWER})


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[str, int]]:
    """Serve the answer; yield the address."""
    protocol = bounded_protocol(read_seconds=READ_SECONDS, max_connections=10)
    config = uvicorn.Config(
        answer, http=protocol, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = server.force_exit = True
            await task


def connect(address: tuple[str, int]) -> socket.socket:
    """Return a connection whose system holds little of what was not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    connection.settimeout(10)
    connection.connect(address)
    return connection


@pytest.mark.parametrize("kind", [b"close", b"keep-alive"])
def test_a_slow_but_steady_reader_gets_the_whole_answer(kind: bytes) -> None:
    def read(address: tuple[str, int]) -> tuple[bytes, float]:
        with connect(address) as connection:
            connection.sendall(REQUEST % kind)
            found, start = b"", time.monotonic()
            while not found.endswith(ANSWER) and (part := connection.recv(1 << 16)):
                found += part
                time.sleep(0.015)
            return found, time.monotonic() - start

    async def run() -> tuple[bytes, float]:
        async with answering() as address:
            return await asyncio.to_thread(read, address)

    found, seconds = asyncio.run(run())
    assert found.partition(b"\r\n\r\n")[2] == ANSWER
    assert seconds > 4 * READ_SECONDS


def test_a_client_that_reads_nothing_is_given_up() -> None:
    def read(address: tuple[str, int]) -> int:
        with connect(address) as connection:
            connection.sendall(REQUEST % b"close")
            time.sleep(8 * READ_SECONDS)
            size = 0
            try:
                while part := connection.recv(1 << 16):
                    size += len(part)
            except ConnectionResetError:
                pass
            return size

    async def run() -> int:
        async with answering() as address:
            return await asyncio.to_thread(read, address)

    assert asyncio.run(run()) < len(ANSWER)


@pytest.mark.parametrize("host", ["a" * 100, "a..b", "\udcff"])
def test_a_host_that_cannot_be_a_name_is_refused(host: str) -> None:
    with pytest.raises(CharlmError, match=r"--host .*must be an address"):
        listen(host, 0)
