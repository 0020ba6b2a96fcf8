"""The speed of training, and of the parts of a step.

    python tests/bench/speed.py training --units 512 --layers 2    compare with Keras and PyTorch
    python tests/bench/speed.py parts -c shakespeare               time of each part of a step

training: characters per second, and the ratio of charlm to the faster of the others (charlm/peer).
The networks are the same except for the input: charlm reads a row of the kernel, the others an
embedding. A step is the forward and the backward pass, clipping the gradient to a norm of 1, and
Adam. charlm is measured in float32 and, if the processor supports it, in bfloat16. To measure it as
on a processor with AVX2 only, set CHARLM_CFLAGS=-march=x86-64-v3 ONEDNN_MAX_CPU_ISA=AVX2; its
bfloat16 is then not to be compared.

parts: milliseconds of a step, of its gradients, of the rest (the optimizer and the average of the
weights), and of scoring EVALUATED characters. --precision is float32 or bfloat16; by default, the
faster one on this processor.

Each workload runs in its own process, because workloads need different threads and settings. After
a warm-up, the best of several repetitions counts. Workloads take turns in rounds, so that all are
measured under the same load. Ratios are computed within a round, and the median over the rounds is
printed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from charlm.hardware import core_count, multiplies_bfloat16

Figures = dict[str, float]
REPETITIONS, VOCABULARY, EMBEDDING, LEARNING_RATE = 3, 65, 64, 1e-3
EVALUATED = 50_000


def per_second(run: Callable[[int], object], *, seconds: float = 0.2, min_turns: int = 5) -> float:
    """Return the calls per second of the fastest repetition, after one call to warm up."""

    def elapsed_seconds(turns: int) -> float:
        start = time.perf_counter()
        run(turns)
        return time.perf_counter() - start

    run(1)  # builds graphs and takes memory, once
    turns = min_turns
    while (elapsed := elapsed_seconds(turns)) < seconds:
        turns *= 2
    return turns / min([elapsed, *(elapsed_seconds(turns) for _ in range(REPETITIONS - 1))])


def random_ids(*shape: int) -> Any:
    """Return random ids from a fixed seed: int32 of the given shape, 0 to V - 1."""
    import numpy as np

    return np.random.default_rng(0).integers(0, VOCABULARY, shape, np.int32)


def engine_of(recipe: str, settings: dict[str, Any]) -> Any:
    """Return the engine of a recipe with other settings."""
    from charlm.config.file import load_config
    from charlm.config.recipes import find_recipe
    from charlm.engines import factory

    factory.start()  # before NumPy is imported

    from charlm.core.batches import Batches
    from charlm.engines.keras_engine import KerasEngine

    config = load_config(find_recipe(recipe), overrides=settings)
    batch, length = config.training.batch_size, config.training.sequence_length
    batches = Batches(length=batch * length + 1, batch_size=batch, sequence_length=length, seed=0)
    return KerasEngine(config, batches, vocabulary_size=VOCABULARY)


def charlm(
    *,
    units: int,
    layers: int,
    batch: int,
    time: int,
    precision: str,
    kernel: str,
) -> Figures:
    """Measure the step that `charlm train` takes, with ten steps in one call."""
    settings = {
        "batch_size": batch,
        "sequence_length": time,
        "precision": precision,
        "kernel": kernel,
        "clip_norm": 1.0,
    }
    from charlm.engines.factory import MIN_ROWS

    settings["parts"] = max(1, min(core_count(), batch // MIN_ROWS))
    engine = engine_of("tiny", {"model": {"layers": layers, "units": units}, "training": settings})
    import numpy as np

    windows, rates = random_ids(10, time + 1, batch), np.full(10, LEARNING_RATE, np.float32)

    def run(turns: int) -> None:
        for first in range(0, turns, 10):
            engine.take_steps(windows[: turns - first], rates[: turns - first], reset_state=False)

    return {
        "charlm" if precision == "float32" else f"charlm {precision}": batch
        * time
        * per_second(run)
    }


def keras(
    *,
    units: int,
    layers: int,
    batch: int,
    time: int,
) -> Figures:
    """Measure `fit` of `keras.layers.SimpleRNN`, with TensorFlow's own settings."""
    import keras
    import tensorflow as tf

    cells = [keras.layers.SimpleRNN(units, return_sequences=True) for _ in range(layers)]
    inputs = [
        keras.Input((time,), batch_size=batch, dtype="int32"),
        keras.layers.Embedding(VOCABULARY, EMBEDDING),
    ]
    model = keras.Sequential([*inputs, *cells, keras.layers.Dense(VOCABULARY)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0), loss)
    window = tf.data.Dataset.from_tensors(tuple(random_ids(2, batch, time)))
    fit = per_second(lambda turns: model.fit(window.repeat(turns), shuffle=False, verbose=0))
    return {"Keras": batch * time * fit}


def torch(
    *,
    units: int,
    layers: int,
    batch: int,
    time: int,
) -> Figures:
    """Measure `torch.nn.RNN`, with PyTorch's own settings."""
    import torch
    from torch import nn

    embedding = nn.Embedding(VOCABULARY, EMBEDDING)
    rnn, logits = nn.RNN(EMBEDDING, units, layers, batch_first=True), nn.Linear(units, VOCABULARY)
    weights = list(nn.ModuleList([embedding, rnn, logits]).parameters())
    optimizer = torch.optim.Adam(weights, LEARNING_RATE)
    inputs, targets = torch.from_numpy(random_ids(2, batch, time)).long()

    def run(turns: int) -> None:
        for _ in range(turns):
            optimizer.zero_grad(set_to_none=True)
            outputs, _ = rnn(embedding(inputs))
            nn.functional.cross_entropy(logits(outputs).flatten(0, 1), targets.flatten()).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()

    return {"PyTorch": batch * time * per_second(run)}


def parts(
    *,
    recipe: str,
    precision: str,
) -> Figures:
    """Measure the parts of a compiled step, in milliseconds, with random weights and characters."""
    settings = {"parts": core_count(), "kernel": "compiled", "precision": precision}
    engine = engine_of(recipe, {f"training.{name}": value for name, value in settings.items()})
    import numpy as np

    from charlm.core.reading import one_thread

    training = engine.settings
    windows = random_ids(1, training.sequence_length + 1, training.batch_size)

    def milliseconds(piece: Callable[[], Any]) -> float:
        return 1000 / per_second(lambda turns: [piece() for _ in range(turns)], min_turns=1)

    rate = np.full(1, LEARNING_RATE, np.float32)
    step = milliseconds(lambda: engine.take_steps(windows, rate, reset_state=False))
    state = engine.state.copy()
    soft = np.zeros((*windows[0, :-1].shape, 0), np.float16)
    gradients = milliseconds(lambda: engine.step.add_gradients(windows[0], soft, state))
    parameters, text = engine.parameters(), random_ids(EVALUATED)
    with one_thread():
        score = milliseconds(lambda: engine.score(parameters, text))
    return {"step": step, "gradients": gradients, "rest": step - gradients, "score": score}


def measure(workload: str, arguments: dict[str, Any]) -> Figures:
    """Run a workload in its own process; one that fails is named, and has no figures."""
    command = [sys.executable, __file__, "workload", workload, json.dumps(arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        last_line = process.stderr.strip().rpartition("\n")[2]
        print(f"{workload}: exit code {process.returncode}: {last_line}", file=sys.stderr)
    return json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else {}


def with_ratios(figures: Figures) -> Figures:
    """Add the ratios to the faster peer."""
    peers = [figures[name] for name in ("Keras", "PyTorch") if name in figures]
    ours = [name for name in figures if name.startswith("charlm") and peers]
    return figures | {f"{name}/peer": figures[name] / max(peers) for name in ours}


def main() -> None:
    """Measure, and print a line for each network, recipe or other thing."""
    if sys.argv[1:2] == ["workload"]:
        print(json.dumps(globals()[sys.argv[2]](**json.loads(sys.argv[3]))))
        return
    from charlm.engines.kernel import choose_precision  # imports NumPy, which a workload must not

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["training", "parts"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--units", type=int, nargs="+", default=[128, 512])
    for name, number in (("layers", 1), ("batch", 64), ("time", 100)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--kernel", choices=["compiled", "keras"], default="compiled")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default=choose_precision().name
    )
    parser.add_argument("-c", "--config", default="shakespeare", help="a recipe")
    given = parser.parse_args()
    lines: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    if given.what == "parts":
        arguments = {"recipe": given.config, "precision": given.precision}
        lines[f"{given.config}, ms"] = [("parts", arguments)]
    for units in given.units if given.what == "training" else ():
        sizes = {
            "units": units,
            "layers": given.layers,
            "batch": given.batch,
            "time": given.time,
        }
        precisions = ["float32", *["bfloat16"] * multiplies_bfloat16()]
        own = [
            ("charlm", {**sizes, "kernel": given.kernel, "precision": precision})
            for precision in precisions
        ]
        lines[f"{units} units"] = own + [
            (peer, sizes) for peer in ("keras", "torch") if find_spec(peer)
        ]
    found: dict[str, list[Figures]] = {label: [] for label in lines}
    for _ in range(given.rounds):
        for label, workloads in lines.items():
            found[label].append(
                with_ratios({k: v for workload in workloads for k, v in measure(*workload).items()})
            )
    for label, rounds in found.items():
        names = dict.fromkeys(name for figures in rounds for name in figures)
        medians = {
            name: statistics.median(figures[name] for figures in rounds if name in figures)
            for name in names
        }
        print(f"{label}: {', '.join(f'{name} {median:,.4g}' for name, median in medians.items())}")


if __name__ == "__main__":
    main()
