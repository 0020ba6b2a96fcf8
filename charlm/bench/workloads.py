"""The workloads of `charlm bench`, each of which runs in its own process.

    python -m charlm.bench.workloads NAME ARGUMENTS

calls the function NAME with the keyword arguments in ARGUMENTS, a JSON object, and prints the figures that it returns
as a JSON object. What trains is in `charlm.bench.trainers`; what samples, starts and tokenizes is here. Which
workloads are compared, and what is derived from their figures, is decided in `charlm.bench.cases` and
`charlm.bench.measure`.

All workloads take `repetitions` and `seconds`: the best of that number of repetitions counts, each of at least that
length.

Axes: B batch, T time, V vocabulary, H units.
"""

import itertools
import json
import random
import statistics
import string
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from charlm.bench.timing import Figures, per_second
from charlm.bench.trainers import charlm, keras, peak_product, step_part, tensorflow_product, torch
from charlm.network.architecture import Architecture
from charlm.network.rnn import Parameters, parameters_from_tensors

WorkloadFunction = Callable[..., Figures]

CJK = "".join(map(chr, range(0x4E00, 0x5200)))
ALPHABETS = {
    "ascii": [string.ascii_letters],
    "mixed": [
        string.ascii_letters,
        "aeiouàâäçéèêëîïñôöùûüÿ",
        "αβγδεζηθικλμνξοπρστυφχψω",
        "абвгдежзиклмнопрст",
        CJK,
    ],
}
BLOCK_WORDS = 100_000
"""The words of a block of text, which is repeated to the size that is wanted."""


def run_named_workload(*workloads: WorkloadFunction) -> None:
    """Run the workload that the command line names and print its figures.

    Args:
        workloads: The functions to choose from, by their names.

    Raises:
        SystemExit: the workload failed; the message is one line.

    """
    name, arguments = sys.argv[1:]
    workload = next(workload for workload in workloads if workload.__name__ == name)
    try:
        figures = workload(**json.loads(arguments))
    except Exception as error:  # of any kind: the other workloads go on
        sys.exit(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
    print(json.dumps(figures))


def numpy_product(*, rows: int, units: int, repetitions: int, seconds: float) -> Figures:
    """Measure operations per second of NumPy's product [rows, H] x [H, H], on all cores.

    A single row is a vector [H], as in `charlm.network.stepper`. Its product reads 4 bytes for every 2 operations and
    does little else, so its speed is the speed at which weights can be read.
    """
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, units) if rows > 1 else units, np.float32)
    right = rng.standard_normal((units, units), np.float32)
    product = np.empty_like(left)

    def run(turns: int) -> None:
        for _ in range(turns):
            np.matmul(left, right, out=product)

    products = per_second(run, repetitions=repetitions, seconds=seconds)
    return {"numpy_product": 2 * rows * units**2 * products}


def generate(*, units: int, layers: int, vocabulary: int, streams: int, repetitions: int, seconds: float) -> Figures:
    """Measure characters per second of `charlm.sampling.generation.generate` at temperature 1, over all streams."""
    from charlm.sampling.generation import generate
    from charlm.sampling.sampler import Sampler

    parameters = random_parameters(units=units, layers=layers, vocabulary=vocabulary)
    ids = generate(parameters, np.zeros(1, int), sampler=Sampler(), length=None, seed=0, samples=streams)

    def run(turns: int) -> None:
        deque(itertools.islice(ids, turns), maxlen=0)

    return {"charlm": streams * per_second(run, repetitions=repetitions, seconds=seconds)}


def numpy_loop(*, units: int, layers: int, vocabulary: int, streams: int, repetitions: int, seconds: float) -> Figures:
    """Measure characters per second, over all streams, of the NumPy calls that no sampler can do without.

    They are the product, the sum and the tanh of each layer, the logits and the most likely character.
    """
    parameters = random_parameters(units=units, layers=layers, vocabulary=vocabulary)
    first, *others = parameters.layers
    table, *biases = parameters.input_tables
    states = [np.zeros((streams, units) if streams > 1 else units, np.float32) for _ in range(layers)]

    def run(turns: int) -> None:
        """Predict a character in every stream, `turns` times."""
        ids = np.zeros(streams, int) if streams > 1 else 0
        for _ in range(turns):
            states[0] = np.tanh(states[0] @ first.recurrent_kernel + table[ids])
            for index, (layer, bias) in enumerate(zip(others, biases, strict=True), start=1):
                input_projection = states[index - 1] @ layer.kernel + bias[0]
                states[index] = np.tanh(states[index] @ layer.recurrent_kernel + input_projection)
            ids = (states[-1] @ parameters.logits_kernel + parameters.logits_bias).argmax(-1)

    return {"numpy": streams * per_second(run, repetitions=repetitions, seconds=seconds)}


def random_parameters(*, units: int, layers: int, vocabulary: int) -> Parameters:
    """Return random weights, scaled so that states and logits stay moderate.

    Args:
        units: H.
        layers: The number of layers, 1 or more.
        vocabulary: V.

    """
    rng = np.random.default_rng(0)
    shapes = Architecture(vocabulary, layers, units, None, True, "tanh", False).shapes()
    tensors = {
        name: rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0])) for name, shape in shapes.items()
    }
    return parameters_from_tensors(tensors, activation="tanh", skip_connections=False)


def first_character(*, units: int, layers: int, vocabulary: int, repetitions: int, seconds: float) -> Figures:
    """Measure the milliseconds from the start of a `charlm sample` process to its first character.

    The median of `repetitions` processes counts; `seconds` is ignored.
    """
    with TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        _write_random_bundle(bundle, units=units, layers=layers, vocabulary=vocabulary)
        _seconds_to_first_character(bundle)  # warm-up: reads the files of Python and NumPy from the disk
        times = [_seconds_to_first_character(bundle) for _ in range(repetitions)]
    return {"milliseconds": 1000 * statistics.median(times)}


def _write_random_bundle(folder: Path, *, units: int, layers: int, vocabulary: int) -> None:
    from charlm.config.file import dump_config
    from charlm.config.schema import Config
    from charlm.network.bundle import Bundle, write_bundle
    from charlm.text.vocabulary import Vocabulary

    bundle = Bundle(
        architecture=Architecture(vocabulary, layers, units, None, True, "tanh", False),
        parameters=random_parameters(units=units, layers=layers, vocabulary=vocabulary),
        vocabulary=Vocabulary("char", tuple(map(chr, range(32, 32 + vocabulary)))),
        config=dump_config(Config()),
    )
    write_bundle(folder, bundle)


def _seconds_to_first_character(bundle: Path) -> float:
    command = [sys.executable, "-m", "charlm", "sample", str(bundle), "-n", "1", "--seed", "0"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        character = process.stdout.read(1)
        elapsed = time.perf_counter() - start
    if not character:
        raise RuntimeError(f"charlm sample ended with exit code {process.returncode} and wrote nothing")
    return elapsed


def first_step(*, units: int, layers: int, vocabulary: int, repetitions: int, seconds: float) -> Figures:
    """Measure the milliseconds from the start of a `charlm train` process to its first step.

    The text has a megabyte; the batch and the windows are those of the default recipe. Only one process is measured,
    since it takes seconds. `vocabulary`, `repetitions` and `seconds` are ignored.
    """
    with TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        _write_text(text, ALPHABETS["ascii"], megabytes=1)
        command = [sys.executable, "-m", "charlm", "train", str(text), "--run", str(Path(folder) / "run")]
        for setting in (f"units={units}", f"layers={layers}", "skip_connections=false"):
            command += ["--set", f"model.{setting}"]
        start = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            ready = any(line.startswith("charlm: ready") for line in process.stderr)
            elapsed = time.perf_counter() - start
            process.kill()
    if not ready:
        raise RuntimeError(f"charlm train ended with exit code {process.returncode} before its first step")
    return {"first_step_milliseconds": 1000 * elapsed}


def tokenize(*, text: str, megabytes: float, repetitions: int, seconds: float) -> Figures:
    """Measure megabytes per second of `charlm.text.tokenization.tokenize`, and the peak memory of the process in MB.

    `text` names one of the ALPHABETS. The text was just written and is still in memory. The time includes that of
    removing the corpus.
    """
    import resource  # not on Windows

    from charlm.config.schema import CorpusConfig
    from charlm.text.tokenization import tokenize

    with TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        size = _write_text(path, ALPHABETS[text], megabytes=megabytes)

        def run(turns: int) -> None:
            """Tokenize the text into a new corpus, `turns` times."""
            for _ in range(turns):
                with TemporaryDirectory(dir=folder) as scratch:
                    tokenize([str(path)], Path(scratch) / "corpus", CorpusConfig())

        texts = per_second(run, repetitions=repetitions, seconds=seconds, min_turns=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else 1024 * peak
    return {"megabytes_per_second": texts * size / 1e6, "peak_megabytes": peak_bytes / 1e6}


def _write_text(path: Path, alphabets: list[str], *, megabytes: float) -> int:
    """Write random words, block by block; return the number of bytes, about `megabytes` and at least one block."""
    rng = random.Random(0)
    words = ["".join(rng.choices(rng.choice(alphabets), k=rng.randint(1, 10))) for _ in range(5000)]
    block = (" ".join(rng.choices(words, k=BLOCK_WORDS)) + "\n").encode()
    blocks = max(1, round(megabytes * 1e6 / len(block)))
    with path.open("wb") as file:
        for _ in range(blocks):
            file.write(block)
    return blocks * len(block)


if __name__ == "__main__":
    run_named_workload(
        *(charlm, keras, torch, step_part, peak_product, tensorflow_product, numpy_product, generate, numpy_loop),
        *(first_character, first_step, tokenize),
    )
