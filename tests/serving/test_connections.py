"""The connections of a server: slow readers get all of their answer, those that read nothing are given up."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="missing: uvicorn")

import uvicorn
from serving.conftest import put_forward, run_forward

from charlm.errors import CharlmError
from charlm.serving.server import bounded_protocol, listen

READ_SECONDS = 1000
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
    async def read() -> bytes:
        async with answering() as address:
            with connect(address) as connection:
                await asyncio.to_thread(connection.sendall, REQUEST % kind)
                found = b""
                while not found.endswith(ANSWER) and (part := await asyncio.to_thread(connection.recv, 1 << 16)):
                    found += part
                    put_forward(READ_SECONDS * len(part) / len(ANSWER) * 4)
                return found

    assert run_forward(read()).partition(b"\r\n\r\n")[2] == ANSWER


def test_a_client_that_reads_nothing_is_given_up() -> None:
    def count(connection: socket.socket) -> int:
        size = 0
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                size += len(part)
        return size

    async def read() -> int:
        async with answering() as address:
            with connect(address) as connection:
                await asyncio.to_thread(connection.sendall, REQUEST % b"close")
                for _ in range(40):
                    await asyncio.sleep(0.01)
                    put_forward(READ_SECONDS)
                return await asyncio.to_thread(count, connection)

    assert run_forward(read()) < len(ANSWER)


@pytest.mark.parametrize("host", ["a" * 100, "a..b", "\udcff"])
def test_a_host_that_cannot_be_a_name_is_refused(host: str) -> None:
    with pytest.raises(CharlmError, match=r"--host .*must be an address"):
        listen(host, 0)
