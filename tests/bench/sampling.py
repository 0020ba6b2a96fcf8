"""The speed of sampling, of the start of a process, and of tokenizing.

    PYTHONPATH=tests python tests/bench/sampling.py
    PYTHONPATH=tests python tests/bench/sampling.py --units 512 --megabytes 2000

Three tables: characters a second of `generate` for one text and for 64 at once, beside a bare loop of the NumPy calls
that no sampler can do without; milliseconds from the start of a process to the first character of `charlm sample` and
to the first step of `charlm train`; megabytes a second and the peak memory of `charlm tokenize`.
"""

import itertools
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench.rounds import REPETITIONS, Figures, Workloads, numbers, parser, per_second, print_table

VOCABULARY = 65
LATIN = 10 * string.ascii_letters + 80 * " "
ALPHABETS = {"ascii": LATIN, "mixed": f"{LATIN}{15 * 'àâäçéèêëîïñôöùûü'}{''.join(map(chr, range(0x4E00, 0x5000)))}"}


def generate(*, units: int, layers: int, streams: int) -> Figures:
    """Measure characters per second of charlm at temperature 1, over all streams."""
    import numpy as np

    from charlm.sampling.batch import Batch, Job
    from charlm.sampling.generation import generate
    from charlm.sampling.sampler import Sampler

    parameters, prompt = random_parameters(units, layers), np.zeros(1, int)
    if streams == 1:
        ids = generate(parameters, prompt, sampler=Sampler(), length=None, seed=0)
        return {"charlm": per_second(lambda turns: deque(itertools.islice(ids, turns), maxlen=0))}
    batch = Batch(parameters, slots=streams)
    for index in range(streams):
        batch.add(Job(parameters.zero_state(1), 10**9, Sampler(), (0, index)))

    def run(turns: int) -> None:
        for _ in range(turns):
            batch.step()

    return {"charlm": streams * per_second(run)}


def bare_loop(*, units: int, layers: int, streams: int) -> Figures:
    """Measure the product, the sum and the tanh of each layer, the logits and the most likely character."""
    import numpy as np

    parameters = random_parameters(units, layers)
    first, *others = parameters.layers
    table, *biases = parameters.input_tables
    states = [np.zeros((streams, units) if streams > 1 else units, np.float32) for _ in range(layers)]

    def run(turns: int) -> None:
        ids = np.zeros(streams, int) if streams > 1 else 0
        for _ in range(turns):
            states[0] = np.tanh(states[0] @ first.recurrent_kernel + table[ids])
            for index, (layer, bias) in enumerate(zip(others, biases, strict=True), start=1):
                projection = states[index - 1] @ layer.kernel + bias[0]
                states[index] = np.tanh(states[index] @ layer.recurrent_kernel + projection)
            ids = (states[-1] @ parameters.logits_kernel + parameters.logits_bias).argmax(-1)

    return {"bare loop": streams * per_second(run)}


def random_parameters(units: int, layers: int) -> Any:
    """Return random weights, scaled so that states and logits stay moderate."""
    import numpy as np

    from charlm.network.architecture import Architecture
    from charlm.network.rnn import parameters_from_tensors

    rng = np.random.default_rng(0)
    shapes = Architecture(VOCABULARY, layers, units, None, True, "tanh", False).shapes()
    tensors = {
        name: rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0])) for name, shape in shapes.items()
    }
    return parameters_from_tensors(tensors, activation="tanh", skip_connections=False)


def first_character() -> Figures:
    """Measure the median time from the start of `charlm sample` to its first character, of the model in the package."""
    command = [sys.executable, "-m", "charlm", "sample", "river-plays", "-n", "1", "--seed", "0"]
    times = [_seconds_until(command, lambda process: process.stdout.read(1)) for _ in range(REPETITIONS + 1)]
    return {"ms": 1000 * statistics.median(times[1:])}  # the first reads the files from the disk


def first_step() -> Figures:
    """Measure the time from the start of `charlm train` to its first step, with the recipe default."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "charlm", "train", "-c", "default", "--run", f"{folder}/run"]
        ready = _seconds_until(
            command, lambda process: any(line.startswith(b"charlm: nats per character") for line in process.stderr)
        )
    return {"ms": 1000 * ready}


def _seconds_until(command: list[str], seen: Any) -> float:
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        if not seen(process):
            raise RuntimeError(f"{command} ended too early")
        elapsed = time.perf_counter() - start
        process.kill()
    return elapsed


def tokenize(*, alphabet: str, megabytes: float) -> Figures:
    """Measure megabytes per second of tokenizing a text that was just written, and the peak memory of the process."""
    import resource

    from charlm.config.schema import CorpusConfig
    from charlm.text.tokenization import tokenize

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        size = write_text(path, ALPHABETS[alphabet], megabytes=megabytes)

        def run(turns: int) -> None:
            for _ in range(turns):
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    tokenize([str(path)], Path(scratch) / "corpus", CorpusConfig())

        texts = per_second(run, min_turns=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"MB/s": texts * size / 1e6, "peak MB": (peak if sys.platform == "darwin" else 1024 * peak) / 1e6}


def write_text(path: Path, alphabet: str, *, megabytes: float) -> int:
    """Write random characters, block by block; return the number of bytes, at least one block."""
    block = "".join(random.Random(0).choices(alphabet, k=500_000)).encode()
    blocks = max(1, round(megabytes * 1e6 / len(block)))
    with path.open("wb") as file:
        file.writelines([block] * blocks)
    return blocks * len(block)


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, generate, bare_loop, first_character, first_step, tokenize)
    options.add_argument("--units", type=numbers, default=[128, 512], metavar="N,...")
    options.add_argument("--layers", type=int, default=1)
    options.add_argument("--megabytes", type=float, default=100.0)
    given = options.parse_args()

    networks = {
        f"{units} units, {streams} streams": {"units": units, "layers": given.layers, "streams": streams}
        for units in given.units
        for streams in (1, 64)
    }
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
