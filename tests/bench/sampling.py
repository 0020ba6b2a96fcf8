"""The speed of sampling, of the start of a process, and of tokenizing.

    PYTHONPATH=tests python tests/bench/sampling.py
    PYTHONPATH=tests python tests/bench/sampling.py --units 512 --megabytes 2000

A table with a figure a line: characters a second of a text at temperature 1, by the number of units; milliseconds from
the start of a process to the first character of `charlm sample` and to the first step of `charlm train`; megabytes a
second of `charlm tokenize`.
"""

import itertools
import random
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench.rounds import Figures, Workloads, numbers, parser, per_second, print_table
from processes import Process, command_line, started


def generate(*, units: int, layers: int) -> Figures:
    """Measure characters per second of charlm at temperature 1."""
    from models import make_random_model

    from charlm.sampling.generation import choose_ids
    from charlm.sampling.sampler import Sampler

    trained = make_random_model([*map(chr, range(32, 97))], layers=layers, units=units, scale=units**-0.5)
    ids = choose_ids(trained, trained.parameters.zero_state(1), sampler=Sampler(), seed=0, length=None)
    return {"characters/s": per_second(lambda turns: deque(itertools.islice(ids, turns), maxlen=0))}


def first_character() -> Figures:
    """Measure the time from the start of `charlm sample` to its first character, of the model in the package."""

    def seen(process: Process) -> bool:
        return process.stdout is not None and bool(process.stdout.read(1))

    command = command_line("sample", "river-plays", "-n", 1, "--seed", 0)
    milliseconds_until(command, seen)  # reads the files from the disk
    return {"ms": milliseconds_until(command, seen)}


def first_step() -> Figures:
    """Measure the time from the start of `charlm train` to its first step, with the recipe default."""

    def seen(process: Process) -> bool:
        return any(line.startswith("charlm: nats per character") for line in process.stderr or ())

    with tempfile.TemporaryDirectory() as folder:
        return {"ms": milliseconds_until(command_line("train", "-c", "default", "--run", f"{folder}/run"), seen)}


def milliseconds_until(command: list[str], seen: Any) -> float:
    """Return how long a process takes until something is seen in its output."""
    start = time.perf_counter()
    with started(command) as (process,):
        if not seen(process):
            raise RuntimeError(f"{command} ended too early")
        return 1000 * (time.perf_counter() - start)


def tokenize(*, megabytes: float) -> Figures:
    """Measure megabytes per second of tokenizing a random text."""
    from charlm.config.schema import CorpusConfig
    from charlm.text.tokenization import tokenize

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_bytes(bytes(random.Random(0).choices(range(32, 127), k=500_000)) * round(2 * megabytes))

        def run(turns: int) -> None:
            for _ in range(turns):
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    tokenize([str(path)], Path(scratch) / "corpus", CorpusConfig())

        return {"MB/s": per_second(run, min_turns=1) * path.stat().st_size / 1e6}


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, generate, first_character, first_step, tokenize)
    options.add_argument("--units", type=numbers, default=[128, 512], metavar="N,...")
    options.add_argument("--layers", type=int, default=1)
    options.add_argument("--megabytes", type=float, default=100.0)
    given = options.parse_args()
    lines: dict[str, Workloads] = {
        **{f"{units} units": [(generate, {"units": units, "layers": given.layers})] for units in given.units},
        "sample, to a character": [(first_character, {})],
        "train, to a step": [(first_step, {})],
        "tokenize": [(tokenize, {"megabytes": given.megabytes})],
    }
    print_table(lines, columns={"characters/s": ",.0f", "ms": ".0f", "MB/s": ".0f"}, rounds=given.rounds)


if __name__ == "__main__":
    main()
