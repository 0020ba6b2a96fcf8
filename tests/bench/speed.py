"""The speed of training, of the parts of a step, and of sampling.

    PYTHONPATH=tests python tests/bench/speed.py training --units 512 --layers 2     beside stock Keras and PyTorch
    PYTHONPATH=tests python tests/bench/speed.py parts -c shakespeare                where the time of a step goes
    PYTHONPATH=tests python tests/bench/speed.py sampling                            sampling, start, tokenizing

training: characters a second, charlm/peer beside the faster of the others. The networks are the same except for the
input, which charlm looks up in the kernel and the others in an embedding. A step is the forward and the backward pass,
clipping the gradient to a norm of 1, and Adam. charlm runs in float32 and, if the processor multiplies it, in bfloat16.
CHARLM_CFLAGS=-march=x86-64-v3 ONEDNN_MAX_CPU_ISA=AVX2 measures it as on a processor that has no more than AVX2.
parts: milliseconds of a step; its gradients, the optimizer and the average alone; and what the whole takes longer.
sampling: characters a second at temperature 1; milliseconds from the start of a process to the first character of
`charlm sample` and to the first step of `charlm train`; megabytes a second of `charlm tokenize`.

Each workload runs in a process of its own, since workloads want different threads and settings. There it is warmed up,
and the best of several repetitions counts. Workloads take turns, round by round, so that all are measured under the
same load. Ratios are formed within a round. The median of the rounds is printed.
"""

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from processes import Process, command_line, started

Figures = dict[str, float]
REPETITIONS, VOCABULARY, EMBEDDING, LEARNING_RATE = 3, 65, 64, 1e-3
PARTS = ("gradients", "optimizer", "average")


def per_second(run: Callable[[int], object], *, seconds: float = 0.2, min_turns: int = 5) -> float:
    """Return the turns per second of the fastest repetition of at least some seconds, after a warm-up of one turn."""

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


# Workloads


def charlm(*, units: int, layers: int, batch: int, time: int, precision: str, kernel: str) -> Figures:
    """Measure the step that `charlm train` takes, with ten steps in one call."""
    from charlm.engine import runtime

    runtime.start()
    import numpy as np

    from charlm.config.schema import Config, ModelConfig, OptimizerConfig, TrainingConfig
    from charlm.engine.keras_engine import KerasEngine
    from charlm.hardware import core_count
    from charlm.text.batches import Batches
    from charlm.training.machines import Machines

    parts = Machines().default_parts(batch, cores=core_count())
    settings: dict[str, Any] = {"steps": 1, "clip_norm": 1.0, "parts": parts, "kernel": kernel, "precision": precision}
    training = TrainingConfig(optimizer=OptimizerConfig(learning_rate=LEARNING_RATE), **settings)
    config = Config(model=ModelConfig(layers=layers, units=units), training=training)
    batches = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
    engine = KerasEngine(config, batches, vocabulary_size=VOCABULARY)
    windows, rates = random_ids(10, time + 1, batch), np.full(10, LEARNING_RATE, np.float32)

    def run(turns: int) -> None:
        for first in range(0, turns, 10):
            engine.take_steps(windows[: turns - first], rates[: turns - first], reset_state=False)

    return {"charlm" if precision == "float32" else f"charlm {precision}": batch * time * per_second(run)}


def keras(*, units: int, layers: int, batch: int, time: int) -> Figures:
    """Measure `fit` of `keras.layers.SimpleRNN`, with TensorFlow's own settings."""
    import keras
    import tensorflow as tf

    cells = [keras.layers.SimpleRNN(units, return_sequences=True) for _ in range(layers)]
    inputs = [keras.Input((time,), batch_size=batch, dtype="int32"), keras.layers.Embedding(VOCABULARY, EMBEDDING)]
    model = keras.Sequential([*inputs, *cells, keras.layers.Dense(VOCABULARY)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0), loss)
    window = tf.data.Dataset.from_tensors(tuple(random_ids(2, batch, time)))
    fit = per_second(lambda turns: model.fit(window.repeat(turns), shuffle=False, verbose=0))
    return {"Keras": batch * time * fit}


def torch(*, units: int, layers: int, batch: int, time: int) -> Figures:
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


def parts(*, recipe: str, kernel: str) -> Figures:
    """Measure the milliseconds of a recipe's step and of each part of it, with random weights and characters."""
    import numpy as np
    import tensorflow as tf

    from charlm.config.file import load_config
    from charlm.config.recipes import find_recipe
    from charlm.engine import runtime
    from charlm.hardware import core_count, multiplies_bfloat16

    overrides = {"training.parts": core_count(), "training.kernel": kernel}
    overrides |= {} if multiplies_bfloat16() else {"training.precision": "float32"}
    config = load_config(find_recipe(recipe), overrides=overrides)
    runtime.start()

    from charlm.engine.keras_engine import KerasEngine
    from charlm.engine.step import GradientsOfParts, make_objective, part_sizes
    from charlm.text.batches import Batches

    settings = config.training
    batch, time = settings.batch_size, settings.sequence_length
    batches = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
    engine = KerasEngine(config, batches, vocabulary_size=VOCABULARY)
    sizes, objective = part_sizes(batch, settings.parts or 1), make_objective(settings)
    compiled, machines = settings.kernel == "compiled", engine.machines
    of_parts = GradientsOfParts(engine.model, sizes, objective, machines=machines, compiled=compiled)
    windows = random_ids(1, time + 1, batch)
    soft_targets = engine.blank_soft_targets(windows)[0]
    weights, iterations = engine.model.trainable_variables, engine.optimizer.iterations
    updates = [tf.Variable(tf.random.normal(weight.shape, stddev=1e-3)) for weight in weights]

    def optimizer() -> Any:
        engine.optimizer.apply([update.read_value() for update in updates], weights)
        return iterations.value

    def average() -> Any:
        if engine.average is not None:
            engine.average.update(iterations)
        return iterations.value

    def milliseconds(piece: Callable[[], Any]) -> float:
        return 1000 / per_second(lambda turns: [piece() for _ in range(turns)], min_turns=1)

    def in_a_graph(function: Callable[[], Any]) -> float:
        graph = tf.function(function, autograph=False).get_concrete_function()
        return milliseconds(lambda: [result.numpy() for result in tf.nest.flatten(graph())])

    rate = np.full(1, LEARNING_RATE, np.float32)
    return {
        "step": milliseconds(lambda: engine.take_steps(windows, rate, reset_state=False)),
        "gradients": in_a_graph(lambda: of_parts(tf.constant(windows[0]), engine.state, soft_targets)),
        "optimizer": in_a_graph(optimizer),
        "average": in_a_graph(average),
    }


def generate(*, units: int, layers: int) -> Figures:
    """Measure characters per second of charlm at temperature 1."""
    from models import make_random_model

    from charlm.sampling.generation import choose_ids
    from charlm.sampling.sampler import Sampler

    trained = make_random_model([*map(chr, range(32, 97))], layers=layers, units=units, scale=units**-0.5)
    ids = choose_ids(trained, trained.parameters.zero_state(1), sampler=Sampler(), seed=0, length=None)
    return {"characters/s": per_second(lambda turns: deque(itertools.islice(ids, turns), maxlen=0))}


def start() -> Figures:
    """Measure the milliseconds to the first character of `charlm sample`, and to the first step of `charlm train`."""

    def until(seen: Callable[[Process], bool], *line: str) -> float:
        begun = time.perf_counter()
        with started(command_line(*line)) as (process,):
            if not seen(process):
                raise RuntimeError(f"{line} ended too early")
            return 1000 * (time.perf_counter() - begun)

    def writes(process: Process) -> bool:
        return process.stdout is not None and bool(process.stdout.read(1))

    def trains(process: Process) -> bool:
        return any(line.startswith("charlm: nats per character") for line in process.stderr or ())

    first = [until(writes, "sample", "river-plays", "-n", "1", "--seed", "0") for _ in range(2)]  # one reads the disk
    with tempfile.TemporaryDirectory() as folder:
        return {"sample, ms": first[1], "train, ms": until(trains, "train", "-c", "default", "--run", f"{folder}/run")}


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


# The tables


def measure(function: Callable[..., Figures], arguments: dict[str, Any]) -> Figures:
    """Run a workload in its own process; one that fails is named, and has no figures."""
    command = [sys.executable, __file__, "workload", function.__name__, json.dumps(arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        last_line = process.stderr.strip().rpartition("\n")[2]
        print(f"{function.__name__}: exit code {process.returncode}: {last_line}", file=sys.stderr)
    return json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else {}


def with_ratios(figures: Figures) -> Figures:
    """Add the ratios to the faster peer, and what a step takes beside its parts."""
    peers = [figures[name] for name in ("Keras", "PyTorch") if name in figures]
    ours = [name for name in figures if name.startswith("charlm") and peers]
    rest = {"rest": figures["step"] - sum(figures[part] for part in PARTS)} if "step" in figures else {}
    return figures | {f"{name}/peer": figures[name] / max(peers) for name in ours} | rest


def main() -> None:
    """Measure, and print a line for each network, recipe or other thing."""
    if sys.argv[1:2] == ["workload"]:
        print(json.dumps(globals()[sys.argv[2]](**json.loads(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["training", "parts", "sampling"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--units", type=int, nargs="+", default=[128, 512])
    for name, number in (("layers", 1), ("batch", 64), ("time", 100), ("megabytes", 100.0)):
        parser.add_argument(f"--{name}", type=type(number), default=number)
    parser.add_argument("--kernel", choices=["compiled", "keras"], default="compiled")
    parser.add_argument("-c", "--config", default="shakespeare", help="a recipe")
    given = parser.parse_args()
    from charlm.hardware import multiplies_bfloat16

    lines: dict[str, list[tuple[Callable[..., Figures], dict[str, Any]]]] = {}
    for units in given.units if given.what != "parts" else ():
        network = {"units": units, "layers": given.layers}
        window = {"batch": given.batch, "time": given.time}
        ours = [{"precision": "float32", "kernel": given.kernel}, {"precision": "bfloat16", "kernel": given.kernel}]
        own = [(charlm, network | window | settings) for settings in ours[: 1 + multiplies_bfloat16()]]
        others = [(other, network | window) for other in ([keras, torch] if find_spec("torch") else [keras])]
        lines[f"{units} units"] = [(generate, network)] if given.what == "sampling" else [*own, *others]
    if given.what == "parts":
        lines = {f"{given.config}, ms": [(parts, {"recipe": given.config, "kernel": given.kernel})]}
    elif given.what == "sampling":
        lines |= {"start": [(start, {})], "tokenize": [(tokenize, {"megabytes": given.megabytes})]}
    found: dict[str, list[Figures]] = {label: [] for label in lines}
    for _ in range(given.rounds):
        for label, workloads in lines.items():
            found[label].append(with_ratios({k: v for workload in workloads for k, v in measure(*workload).items()}))
    for label, rounds in found.items():
        names = dict.fromkeys(name for figures in rounds for name in figures)
        medians = {name: statistics.median(figures[name] for figures in rounds if name in figures) for name in names}
        print(f"{label}: {', '.join(f'{name} {median:,.4g}' for name, median in medians.items())}")


if __name__ == "__main__":
    main()
