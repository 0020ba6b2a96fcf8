"""The speed of sampling, of the start of a process, and of tokenizing.

    PYTHONPATH=tests python tests/bench/sampling.py
    PYTHONPATH=tests python tests/bench/sampling.py --units 512 --megabytes 2000

Three tables: characters a second of a text, beside a bare loop of the NumPy calls that no sampler can do without;
milliseconds from the start of a process to the first character of `charlm sample` and to the first step of
`charlm train`; megabytes a second and the peak memory of `charlm tokenize`.
"""

import itertools
import random
import resource
import string
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench.rounds import Figures, Workloads, numbers, parser, per_second, print_table
from processes import Process, command_line, started

LATIN = 10 * string.ascii_letters + 80 * " "
ALPHABETS = {"ascii": LATIN, "mixed": f"{LATIN}{15 * 'àâäçéèêëîïñôöùûü'}{''.join(map(chr, range(0x4E00, 0x5000)))}"}


def random_model(units: int, layers: int) -> Any:
    """Return a model with random weights, scaled so that states and logits stay moderate."""
    from models import make_random_model

    return make_random_model([*map(chr, range(32, 97))], layers=layers, units=units, scale=units**-0.5)


def generate(*, units: int, layers: int) -> Figures:
    """Measure characters per second of charlm at temperature 1."""
    from charlm.sampling.generation import choose_ids
    from charlm.sampling.sampler import Sampler

    trained = random_model(units, layers)
    ids = choose_ids(trained, trained.parameters.zero_state(1), sampler=Sampler(), seed=0, length=None)
    return {"charlm": per_second(lambda turns: deque(itertools.islice(ids, turns), maxlen=0))}


def bare_loop(*, units: int, layers: int) -> Figures:
    """Measure the product, the sum and the tanh of each layer, the logits and the most likely character."""
    import numpy as np

    parameters = random_model(units, layers).parameters
    first, *others = parameters.layers
    table, *biases = parameters.input_tables
    states = [np.zeros(units, np.float32) for _ in range(layers)]

    def run(turns: int) -> None:
        index: Any = 0
        for _ in range(turns):
            states[0] = np.tanh(states[0] @ first.recurrent_kernel + table[index])
            for above, (layer, bias) in enumerate(zip(others, biases, strict=True), start=1):
                projection = states[above - 1] @ layer.kernel + bias[0]
                states[above] = np.tanh(states[above] @ layer.recurrent_kernel + projection)
            index = (states[-1] @ parameters.logits_kernel + parameters.logits_bias).argmax(-1)

    return {"bare loop": per_second(run)}


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


def tokenize(*, alphabet: str, megabytes: float) -> Figures:
    """Measure megabytes per second of tokenizing a random text, and the peak memory of the process."""
    from charlm.config.schema import CorpusConfig
    from charlm.text.tokenization import tokenize

    block = "".join(random.Random(0).choices(ALPHABETS[alphabet], k=500_000)).encode()
    blocks = max(1, round(megabytes * 1e6 / len(block)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        with path.open("wb") as file:
            file.writelines([block] * blocks)

        def run(turns: int) -> None:
            for _ in range(turns):
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    tokenize([str(path)], Path(scratch) / "corpus", CorpusConfig())

        texts = per_second(run, min_turns=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = blocks * len(block) / 1e6
    return {"MB/s": texts * megabytes, "peak MB": (peak if sys.platform == "darwin" else 1024 * peak) / 1e6}


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, generate, bare_loop, first_character, first_step, tokenize)
    options.add_argument("--units", type=numbers, default=[128, 512], metavar="N,...")
    options.add_argument("--layers", type=int, default=1)
    options.add_argument("--megabytes", type=float, default=100.0)
    given = options.parse_args()

    networks = {f"{units} units": {"units": units, "layers": given.layers} for units in given.units}
    print_table(
        {label: [(generate, network), (bare_loop, network)] for label, network in networks.items()},
        columns={"charlm": ",.0f", "bare loop": ",.0f", "ratio": ".2f"},
        rounds=given.rounds,
        derive=lambda _, figures: figures | {"ratio": figures["charlm"] / figures["bare loop"]},
    )
    starts: dict[str, Workloads] = {
        "sample, to a character": [(first_character, {})],
        "train, to a step": [(first_step, {})],
    }
    print_table(starts, columns={"ms": ".0f"}, rounds=given.rounds)
    texts = {name: [(tokenize, {"alphabet": name, "megabytes": given.megabytes})] for name in ALPHABETS}
    print_table(texts, columns={"MB/s": ".0f", "peak MB": ".0f"}, rounds=given.rounds)


if __name__ == "__main__":
    main()
