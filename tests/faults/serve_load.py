"""200 clients of a real `charlm serve` at once: waiting times, characters per second, memory over 10,000 requests.

    PYTHONPATH=tests python tests/faults/serve_load.py RUN

Half of the requests are streamed, half are not; prompts and lengths differ. The speed is that of all texts together.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from processes import command_line

PROMPT = "The ferry lies on the mud, and nobody comes. "


class Reading(NamedTuple):
    """The resources of a process at one moment."""

    resident_mb: float
    open_files: int


def read_process(pid: int) -> Reading:
    """Return the present resources of a process, from /proc."""
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text(encoding="utf-8").splitlines())
    resident_mb = int(status["VmRSS"].split()[0]) / 1024
    return Reading(resident_mb, len(list((process / "fd").iterdir())))


@dataclass
class Tally:
    """What clients have seen."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    """How many answers had each status; `broken` counts those that ended before their end."""
    first_seconds: list[float] = field(default_factory=list)
    """How long streaming clients waited for their first character."""
    characters: int = 0
    steady_characters: int = 0
    """Those that had arrived when clients ceased to begin requests: the server was full until then."""

    def failures(self) -> int:
        """Return the number of requests that were neither answered nor put off with 429."""
        return sum(count for status, count in self.statuses.items() if status not in {200, 429})


@contextlib.contextmanager
def serving(run: Path, *options: str) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    """Start a server of a run on a free port of loopback; yield its process and port, and end it."""
    command = command_line("serve", run, "--port", 0, *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()


def message(port: int, body: dict[str, Any]) -> bytes:
    """Return the bytes of a request for a completion."""
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: {len(data)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + data


def post(port: int, body: dict[str, Any]) -> socket.socket:
    """Post a completion on a connection of its own, from which the answer can be read."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(message(port, body))
    return connection


async def request(port: int, body: dict[str, Any]) -> AsyncIterator[tuple[int, bytes]]:
    """Post a completion on a connection of its own; yield the status and each line of the answer as it arrives."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(message(port, body))
    try:
        status = int((await reader.readline()).split()[1])
        while await reader.readline() not in {b"\r\n", b""}:
            pass
        while line := await reader.readline():
            yield status, line
    finally:
        writer.close()


async def one_request(port: int, body: dict[str, Any], tally: Tally) -> None:
    """Post a completion and note in the tally what came of it."""
    started, status, count, is_whole = time.perf_counter(), 0, 0, not body["stream"]
    try:
        async for status, line in request(port, body):
            if line.startswith(b"data: [DONE]"):
                is_whole = True
            elif line.startswith((b"data: {", b"{")) and status == 200:
                if not count:
                    first = time.perf_counter() - started
                choices = json.loads(line.removeprefix(b"data: "))["choices"]
                count += sum(len(choice["text"]) for choice in choices)
    except (OSError, ValueError, IndexError) as error:
        tally.statuses[type(error).__name__] += 1
        return
    tally.statuses[status if is_whole or status != 200 else "broken"] += 1
    tally.characters += count
    if body["stream"] and count:
        tally.first_seconds.append(first)


def make_body(rng: random.Random, number: int, *, most: int) -> dict[str, Any]:
    """Return a request with a prompt, a length and settings of its own."""
    return {
        "prompt": PROMPT[: rng.randint(1, len(PROMPT))],
        "max_tokens": rng.randint(most // 2, most),
        "seed": number,
        "temperature": rng.choice([0.7, 1.0]),
        "stream": number % 2 == 0,
    }


async def load(port: int, *, clients: int, requests: int, most: int, seconds: float = 1e9) -> Tally:
    """Let clients post one request after the other; return what they saw.

    Args:
        port: Where the server listens.
        clients: How many post at once.
        requests: The most requests in all.
        most: The most characters of a text.
        seconds: After this time no client begins another request.

    """
    tally, rng, numbers = Tally(), random.Random(0), iter(range(requests))
    started = time.perf_counter()

    async def client() -> None:
        """Post requests until the time is over."""
        for number in numbers:
            await one_request(port, make_body(rng, number, most=most), tally)
            if time.perf_counter() - started >= seconds:
                return

    async def look_before_the_end() -> None:
        """Note what has arrived when the time is over."""
        await asyncio.sleep(seconds)
        tally.steady_characters = tally.characters

    looking = asyncio.create_task(look_before_the_end())
    await asyncio.gather(*(client() for _ in range(clients)))
    looking.cancel()
    return tally


def main() -> None:
    """Load a server, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    with serving(parser.parse_args().run) as (process, port):
        tally = asyncio.run(load(port, clients=200, seconds=30, requests=10**9, most=400))
        before = read_process(process.pid)
        short = asyncio.run(load(port, clients=64, requests=10_000, most=10))
        after = read_process(process.pid)
    *_, latest = statistics.quantiles(tally.first_seconds, n=100)
    print(f"answers: {dict(tally.statuses)}; of short texts: {dict(short.statuses)}")
    print(f"first character: median {statistics.median(tally.first_seconds):.3f} s, 99th percentile {latest:.3f} s")
    print(f"characters a second: {tally.steady_characters / 30:,.0f}")
    print(f"memory, MB: {before.resident_mb:.1f} to {after.resident_mb:.1f}; open files: {after.open_files}")


if __name__ == "__main__":
    main()
