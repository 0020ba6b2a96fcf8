"""What `charlm bench` measures without TensorFlow: each function is run in a process of its own.

    python -m charlm.contenders NAME ARGUMENTS

calls a function with keyword arguments given as JSON and prints the figures it returns as JSON. What is measured
with TensorFlow or PyTorch stands in `charlm.training.contenders`; who takes turns, and what is made of the
figures, is decided in `charlm.bench_parts` and `charlm.bench`.

`repetitions` and `seconds` mean the same everywhere: the best of so many repetitions of at least that length.

Axes: V vocabulary, H units.
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

from charlm.rnn import Parameters, parameters_from_tensors, tensor_shapes

Figures = dict[str, float]
Contender = Callable[..., Figures]

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


def answer(*contenders: Contender) -> None:
    """Run the contender that the command line names and print its figures; a failure is a line and exit code 1."""
    name, arguments = sys.argv[1:]
    contender = next(contender for contender in contenders if contender.__name__ == name)
    try:
        figures = contender(**json.loads(arguments))
    except Exception as error:  # whatever it is, the others go on
        sys.exit(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
    print(json.dumps(figures))


def per_second(run: Callable[[int], object], *, repetitions: int, seconds: float, least: int = 5) -> float:
    """Return how many turns a second `run(turns)` takes once it is warm.

    A repetition has `least` turns, doubled until they last for `seconds`.
    """
    run(1)  # what happens once: a graph is built, memory is taken
    turns = least
    while (elapsed := _elapsed_seconds(run, turns)) < seconds:
        turns *= 2
    return turns / min([elapsed, *(_elapsed_seconds(run, turns) for _ in range(repetitions - 1))])


def _elapsed_seconds(run: Callable[[int], object], turns: int) -> float:
    start = time.perf_counter()
    run(turns)
    return time.perf_counter() - start


def numpy_product(*, rows: int, units: int, repetitions: int, seconds: float) -> Figures:
    """Measure operations per second of NumPy's product [rows, H] x [H, H], on all cores.

    A single row has no axis, as in `charlm.stepper`: its product reads 4 bytes for every 2 operations and does
    little else, so that its speed is that at which weights can be read.
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


def generate(
    *, units: int, layers: int, vocabulary: int, streams: int, repetitions: int, seconds: float
) -> Figures:
    """Measure characters per second of `charlm.sampling.generate` at temperature 1, over all streams."""
    from charlm.choice import Choice
    from charlm.sampling import generate

    parameters = random_parameters(units=units, layers=layers, vocabulary=vocabulary)
    ids = generate(parameters, np.zeros(1, int), choice=Choice(), length=None, seed=0, samples=streams)

    def run(turns: int) -> None:
        deque(itertools.islice(ids, turns), maxlen=0)

    return {"charlm": streams * per_second(run, repetitions=repetitions, seconds=seconds)}


def numpy_loop(
    *, units: int, layers: int, vocabulary: int, streams: int, repetitions: int, seconds: float
) -> Figures:
    """Measure characters per second, over all streams, of the NumPy calls that nobody can do without.

    They are product, sum and tanh in each layer, the logits and the most likely character.
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
                drive = states[index - 1] @ layer.kernel + bias[0]
                states[index] = np.tanh(states[index] @ layer.recurrent_kernel + drive)
            ids = (states[-1] @ parameters.logits_kernel + parameters.logits_bias).argmax(-1)

    return {"numpy": streams * per_second(run, repetitions=repetitions, seconds=seconds)}


def random_parameters(*, units: int, layers: int, vocabulary: int) -> Parameters:
    """Return the weights of a network that nobody trained, of a size at which states and logits stay moderate."""
    rng = np.random.default_rng(0)
    shapes = tensor_shapes(
        vocabulary_size=vocabulary,
        layers=layers,
        units=units,
        embedding=None,
        use_bias=True,
        skip_connections=False,
    )
    tensors = {
        name: rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0]))
        for name, shape in shapes.items()
    }
    return parameters_from_tensors(tensors, activation="tanh", skip_connections=False)


def first_character(*, units: int, layers: int, vocabulary: int, repetitions: int, seconds: float) -> Figures:
    """Measure the milliseconds from the start of a `charlm sample` process to its first character.

    The figure is the median of `repetitions` processes; `seconds` is not looked at.
    """
    with TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        _write_random_bundle(bundle, units=units, layers=layers, vocabulary=vocabulary)
        _seconds_to_first_character(bundle)  # reads the files of Python and NumPy from the disk
        times = [_seconds_to_first_character(bundle) for _ in range(repetitions)]
    return {"milliseconds": 1000 * statistics.median(times)}


def _write_random_bundle(folder: Path, *, units: int, layers: int, vocabulary: int) -> None:
    from charlm.bundle import Architecture, Bundle, write_bundle
    from charlm.config import Config
    from charlm.config_file import dump_config
    from charlm.vocabulary import Vocabulary

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
        found = process.stdout.read(1)
        elapsed = time.perf_counter() - start
    if not found:
        raise RuntimeError(f"charlm sample ended with exit code {process.returncode} and wrote nothing")
    return elapsed


def first_step(*, units: int, layers: int, vocabulary: int, repetitions: int, seconds: float) -> Figures:
    """Measure the milliseconds from the start of a `charlm train` process to its first step.

    The text has a megabyte, batch and windows are those of the default recipe; one process, since it takes
    seconds. `vocabulary`, `repetitions` and `seconds` are not looked at.
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
    """Measure megabytes per second of `charlm.tokenization.tokenize`, and the peak memory of this process in MB.

    The text, of one of the ALPHABETS, was just written and is still in memory. That a corpus is removed again
    is part of the time.
    """
    import resource  # not on Windows

    from charlm.config import CorpusConfig
    from charlm.tokenization import tokenize

    with TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        size = _write_text(path, ALPHABETS[text], megabytes=megabytes)

        def run(turns: int) -> None:
            """Tokenize the text into a fresh corpus, `turns` times."""
            for _ in range(turns):
                with TemporaryDirectory(dir=folder) as scratch:
                    tokenize([str(path)], Path(scratch) / "corpus", CorpusConfig())

        texts = per_second(run, repetitions=repetitions, seconds=seconds, least=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else 1024 * peak
    return {"megabytes_per_second": texts * size / 1e6, "peak_megabytes": peak_bytes / 1e6}


def _write_text(path: Path, alphabets: list[str], *, megabytes: float) -> int:
    """Write words drawn at random, block by block; returns the bytes written, `megabytes` or a little more."""
    rng = random.Random(0)
    words = ["".join(rng.choices(rng.choice(alphabets), k=rng.randint(1, 10))) for _ in range(5000)]
    block = (" ".join(rng.choices(words, k=BLOCK_WORDS)) + "\n").encode()
    blocks = max(1, round(megabytes * 1e6 / len(block)))
    with path.open("wb") as file:
        for _ in range(blocks):
            file.write(block)
    return blocks * len(block)


if __name__ == "__main__":
    answer(numpy_product, generate, numpy_loop, first_character, first_step, tokenize)
