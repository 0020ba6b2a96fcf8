"""The speed of charlm's training step, beside stock Keras, and PyTorch if it is installed.

    PYTHONPATH=tests python tests/bench/training.py
    PYTHONPATH=tests python tests/bench/training.py --units 512 --layers 2 --batch 64

A table in characters a second, by the number of units. The networks are the same except for the input, which charlm
looks up in the kernel and the others in an embedding. A step is the forward and the backward pass, clipping the
gradient to a norm of 1, and Adam. charlm runs in float32 and, if the processor multiplies it, in bfloat16; the others
in float32. CHARLM_CFLAGS=-march=x86-64-v3 ONEDNN_MAX_CPU_ISA=AVX2 measures charlm as on a processor that has no more
than AVX2; --kernel keras measures it without its kernel.
"""

import math
from importlib.util import find_spec
from typing import Any

from bench.rounds import Figures, Workloads, numbers, parser, per_second, print_table

VOCABULARY = 65
"""The distinct characters of the Tiny Shakespeare text."""
EMBEDDING = 64
LEARNING_RATE = 1e-3
COLUMNS = {"charlm": ",.0f", "charlm bfloat16": ",.0f", "Keras": ",.0f", "PyTorch": ",.0f"}
COLUMNS |= {"charlm/peer": ".2f", "bfloat16/peer": ".2f"}


def charlm(*, units: int, layers: int, batch: int, time: int, precision: str, kernel: str) -> Figures:
    """Measure the step that `charlm train` takes, with the default number of steps in one call."""
    from charlm.engine import runtime

    runtime.start()
    import numpy as np

    from charlm.config.schema import Config, ModelConfig, OptimizerConfig, TrainingConfig
    from charlm.engine.keras_engine import KerasEngine
    from charlm.hardware import core_count
    from charlm.text.batches import Batches
    from charlm.training.machines import Machines
    from charlm.training.marks import MAX_STEPS_PER_CALL

    parts = Machines().default_parts(batch, cores=core_count())
    settings: dict[str, Any] = {"steps": 1, "clip_norm": 1.0, "parts": parts, "kernel": kernel, "precision": precision}
    training = TrainingConfig(optimizer=OptimizerConfig(learning_rate=LEARNING_RATE), **settings)
    config = Config(model=ModelConfig(layers=layers, units=units), training=training)
    batches = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
    engine = KerasEngine(config, batches, vocabulary_size=VOCABULARY)
    windows = random_ids(MAX_STEPS_PER_CALL, time + 1, batch)
    rates = np.full(len(windows), LEARNING_RATE, np.float32)

    def run(turns: int) -> None:
        for first in range(0, turns, len(windows)):
            engine.take_steps(windows[: turns - first], rates[: turns - first], reset_state=False)

    name = "charlm" if precision == "float32" else f"charlm {precision}"
    return {name: batch * time * per_second(run)}


def keras(*, units: int, layers: int, batch: int, time: int) -> Figures:
    """Measure `fit` of `keras.layers.SimpleRNN`, with TensorFlow's own settings."""
    import keras
    import tensorflow as tf

    model = keras.Sequential(
        [
            keras.Input((time,), batch_size=batch, dtype="int32"),
            keras.layers.Embedding(VOCABULARY, EMBEDDING),
            *(keras.layers.SimpleRNN(units, return_sequences=True) for _ in range(layers)),
            keras.layers.Dense(VOCABULARY),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0), loss)
    inputs, targets = random_ids(2, batch, time)
    window = tf.data.Dataset.from_tensors((inputs, targets))
    fit = per_second(lambda turns: model.fit(window.repeat(turns), shuffle=False, verbose=0))
    return {"Keras": batch * time * fit}


def torch(*, units: int, layers: int, batch: int, time: int) -> Figures:
    """Measure `torch.nn.RNN`, with PyTorch's own settings."""
    import torch
    from torch import nn

    embedding = nn.Embedding(VOCABULARY, EMBEDDING)
    rnn = nn.RNN(EMBEDDING, units, layers, batch_first=True)
    logits = nn.Linear(units, VOCABULARY)
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


def random_ids(*shape: int) -> Any:
    """Return random ids from a fixed seed: int32 of the given shape, 0 to V - 1."""
    import numpy as np

    return np.random.default_rng(0).integers(0, VOCABULARY, shape, np.int32)


def compare(_label: str, figures: Figures) -> Figures:
    """Add the ratios to the faster peer; what has no figure is not a number."""
    peer = max((figures[name] for name in ("Keras", "PyTorch") if name in figures), default=math.nan)
    figures["charlm/peer"] = figures.get("charlm", math.nan) / peer
    return figures | {"bfloat16/peer": figures.get("charlm bfloat16", math.nan) / peer}


def main() -> None:
    """Print the table."""
    options = parser(__doc__, charlm, keras, torch)
    options.add_argument("--units", type=numbers, default=[128, 512, 1024], metavar="N,...")
    options.add_argument("--layers", type=int, default=1)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--time", type=int, default=100)
    options.add_argument("--kernel", choices=["compiled", "keras"], default="compiled")
    given = options.parse_args()
    from charlm.hardware import multiplies_bfloat16

    precisions = ["float32", "bfloat16"] if multiplies_bfloat16() else ["float32"]
    others = [keras, torch] if find_spec("torch") else [keras]

    def line(units: int) -> Workloads:
        network = {"units": units, "layers": given.layers, "batch": given.batch, "time": given.time}
        ours = [(charlm, {**network, "precision": precision, "kernel": given.kernel}) for precision in precisions]
        return [*ours, *((other, network) for other in others)]

    print(f"training, characters/s: layers {given.layers}, batch {given.batch}, time {given.time}")
    lines = {f"{units} units": line(units) for units in given.units}
    print_table(lines, columns=COLUMNS, rounds=given.rounds, derive=compare)


if __name__ == "__main__":
    main()
