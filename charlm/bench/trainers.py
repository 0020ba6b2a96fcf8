"""The workloads of `charlm bench` that train: charlm's step and its parts, other programs, and bare products.

What runs in TensorFlow is prepared in `charlm.engine`; `charlm.bench.workloads` runs each in its own process.

Axes: B batch, T time, V vocabulary, H units.
"""

import numpy as np

from charlm.bench.cases import PARTS_OF_STEP
from charlm.bench.timing import Figures, per_second


def charlm(
    *,
    units: int,
    layers: int,
    vocabulary: int,
    batch: int,
    time: int,
    repetitions: int,
    seconds: float,
    precision: str = "float32",
) -> Figures:
    """Measure characters per second of the step that `charlm train` takes."""
    from charlm.engine.workloads import train_charlm

    run = train_charlm(units=units, layers=layers, vocabulary=vocabulary, batch=batch, time=time, precision=precision)
    name = "charlm" if precision == "float32" else f"charlm_{precision}"
    return {name: batch * time * per_second(run, repetitions=repetitions, seconds=seconds)}


def keras(
    *, units: int, layers: int, vocabulary: int, batch: int, time: int, repetitions: int, seconds: float
) -> Figures:
    """Measure characters per second of `keras.layers.SimpleRNN` under `fit`, with TensorFlow's own settings."""
    from charlm.engine.workloads import train_keras

    run = train_keras(units=units, layers=layers, vocabulary=vocabulary, batch=batch, time=time)
    return {"keras": batch * time * per_second(run, repetitions=repetitions, seconds=seconds)}


def torch(
    *, units: int, layers: int, vocabulary: int, batch: int, time: int, repetitions: int, seconds: float
) -> Figures:
    """Measure characters per second of `torch.nn.RNN`, with PyTorch's own settings."""
    import torch
    from torch import nn

    embedding = nn.Embedding(vocabulary, 64)
    rnn = nn.RNN(64, units, layers, batch_first=True)
    logits = nn.Linear(units, vocabulary)
    weights = list(nn.ModuleList([embedding, rnn, logits]).parameters())
    optimizer = torch.optim.Adam(weights, 1e-3)
    ids = np.random.default_rng(0).integers(0, vocabulary, (2, batch, time))
    inputs, targets = torch.from_numpy(ids).long()

    def run(turns: int) -> None:
        """Take steps on the same windows."""
        for _ in range(turns):
            optimizer.zero_grad(set_to_none=True)
            outputs, _ = rnn(embedding(inputs))
            nn.functional.cross_entropy(logits(outputs).flatten(0, 1), targets.flatten()).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()

    return {"torch": batch * time * per_second(run, repetitions=repetitions, seconds=seconds)}


def step_part(*, recipe: str, part: str, vocabulary: int, repetitions: int, seconds: float) -> Figures:
    """Measure the milliseconds that a part of a recipe's step takes, and its share of the step.

    If the part has products of matrices, their operations per second are measured, too.
    """
    from charlm.config.file import load_config
    from charlm.config.recipes import find_recipe
    from charlm.engine import runtime
    from charlm.hardware import core_count, usable_precision

    config = load_config(find_recipe(recipe), overrides={"training.parts": core_count()})
    runtime.start()
    from charlm.engine.profile import Piece, StepPieces

    pieces = StepPieces(config, vocabulary, precision=usable_precision(config.training.precision)[0])

    def seconds_of(piece: Piece) -> float:
        """Return how long one run of a piece takes."""

        def run(turns: int) -> None:
            for _ in range(turns):
                piece.run()

        return 1 / per_second(run, repetitions=repetitions, seconds=seconds, min_turns=1)

    whole, *removed = PARTS_OF_STEP[part]
    measured = {name: getattr(pieces, name)() for name in dict.fromkeys(["step", whole, *removed])}
    elapsed = {name: seconds_of(piece) for name, piece in measured.items()}
    part_seconds = elapsed[whole] - sum(elapsed[name] for name in removed)
    figures = {"milliseconds": 1000 * part_seconds, "of_step": part_seconds / elapsed["step"]}
    operations = measured[whole].operations - sum(measured[name].operations for name in removed)
    return figures | ({"operations_per_second": operations / part_seconds} if operations > 0 else {})


def tensorflow_product(*, rows: int, units: int, repetitions: int, seconds: float) -> Figures:
    """Measure operations per second of TensorFlow's product [rows, H] x [H, H], computed on all cores."""
    from charlm.engine.workloads import CHAIN, multiply_in_tensorflow

    run = multiply_in_tensorflow(rows=rows, units=units)
    products = CHAIN * per_second(run, repetitions=repetitions, seconds=seconds)
    return {"tensorflow_product": 2 * rows * units**2 * products}


def peak_product(*, precision: str, repetitions: int, seconds: float) -> Figures:
    """Measure operations per second of a product that is large enough to use all cores fully: the peak of this machine.

    Args:
        precision: float32 or bfloat16.
        repetitions: As for all workloads.
        seconds: As for all workloads.

    """
    from charlm.engine.workloads import multiply_large

    run, operations = multiply_large(precision=precision)
    name = "peak" if precision == "float32" else f"peak_{precision}"
    return {name: operations * per_second(run, repetitions=repetitions, seconds=seconds, min_turns=1)}
