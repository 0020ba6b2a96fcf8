"""200 clients of a real `charlm serve` at once: waiting times, characters per second, memory over 10,000 requests.

    PYTHONPATH=tests python tests/faults/serve_load.py RUN

Half of the requests are streamed, half are not; prompts and lengths differ. The speed is that of all texts together.
"""

import argparse
import contextlib
import http.client
import json
import random
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import command_line

PROMPT = "The ferry lies on the mud, and nobody comes. "


@dataclass
class Tally:
    """What clients have seen."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    """How many answers had each status, or ended in an error."""
    first_seconds: list[float] = field(default_factory=list)
    """How long streaming clients waited for their first character."""
    characters: int = 0


def read_process(pid: int) -> tuple[float, int]:
    """Return the resident megabytes of a process and its open files, from /proc."""
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text(encoding="utf-8").splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, len(list((process / "fd").iterdir()))


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


def post(port: int, body: dict[str, Any]) -> http.client.HTTPConnection:
    """Post a completion on a connection of its own, from which the answer can be read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(body))
    return connection


def ask(port: int, number: int, most: int, tally: Tally) -> None:
    """Post a completion of at most so many characters, and note in the tally what came of it."""
    rng, started = random.Random(number), time.perf_counter()
    body = {"prompt": PROMPT[: rng.randint(1, len(PROMPT))], "max_tokens": rng.randint(most // 2, most), "seed": number}
    body |= {"temperature": rng.choice([0.7, 1.0]), "stream": number % 2 == 0}
    try:
        with contextlib.closing(post(port, body)) as connection, connection.getresponse() as answer:
            status: int | str = answer.status
            lines = [(line.removeprefix(b"data: "), time.perf_counter() - started) for line in answer if line.strip()]
        texts = [json.loads(line) for line, _ in lines if line != b"[DONE]\n"]
        if status == 200:
            tally.characters += sum(len(choice["text"]) for one in texts for choice in one["choices"])
            if body["stream"]:
                tally.first_seconds.append(lines[0][1])
                status = status if lines[-1][0] == b"[DONE]\n" else "broken"
    except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
        status = type(error).__name__
    tally.statuses[status] += 1


def load(port: int, *, clients: int, requests: int, most: int) -> Tally:
    """Let clients post one request after the other, of at most so many characters; return what they saw."""
    tally = Tally()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda number: ask(port, number, most, tally), range(requests)))
    return tally


def main() -> None:
    """Load a server, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    with serving(parser.parse_args().run) as (process, port):
        started = time.perf_counter()
        tally = load(port, clients=200, requests=1000, most=400)
        speed, before = tally.characters / (time.perf_counter() - started), read_process(process.pid)
        short = load(port, clients=64, requests=10_000, most=10)
        after = read_process(process.pid)
    *_, latest = statistics.quantiles(tally.first_seconds, n=100)
    print(f"answers: {dict(tally.statuses)}; of short texts: {dict(short.statuses)}")
    print(f"first character: median {statistics.median(tally.first_seconds):.3f} s, 99th percentile {latest:.3f} s")
    print(f"characters a second: {speed:,.0f}")
    print(f"memory, MB: {before[0]:.1f} to {after[0]:.1f}; open files: {after[1]}")


if __name__ == "__main__":
    main()
