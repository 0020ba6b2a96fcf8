"""A tiny engine without TensorFlow, in a few lines of NumPy: it learns how often each id occurs.

Its weights are those of the config's network, all zero except the bias of the logits, which is trained with momentum.
The gradient also depends on the hidden state, on a random seed that changes at every step, and on the number of steps,
so that the tests notice a checkpoint in which one of them is missing.
"""

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.file import section_of, walk
from charlm.config.schema import Config
from charlm.network.architecture import architecture
from charlm.network.model_file import Tensors
from charlm.network.rnn import Floats, Parameters
from charlm.text.batches import Batches
from charlm.training.interface import Engine, EngineFactory, Shapes, StepMetrics

LEARNING_RATE_SCALE = 20.0
SETTINGS = {key for key, field in walk(Config) if not section_of(field)}
OF_ENGINES = {key for key in SETTINGS if key.startswith(("model.", "training.optimizer."))} | {
    *(
        "training.loss_temperature",
        "training.clip_norm",
        "training.average_momentum",
        "training.state_reset",
    ),
    *("training.precision", "training.kernel", "training.parts"),
}
"""Settings that an engine reads, which this one does not do: see tests/engine/test_keras_engine.py."""


@dataclass
class Faults:
    """What goes wrong, as functions of the number of steps that the engine has taken."""

    after_call: Callable[[int], object] = lambda _step: None
    """Called after some steps: it may raise, send signals or damage files."""
    loss: Callable[[int, float], float | None] = lambda _step, _rate: None
    """Returns the loss that a step reports at a learning rate; None = the true one."""
    weights: Callable[[int], float] = lambda _step: 1.0
    """Returns a factor for the weights that are evaluated and saved in models."""
    state: Callable[[int], float] = lambda _step: 0.0
    """Returns a number that is added to the tensors that are saved."""
    is_slow: bool = False
    """Whether a call claims to take a second, so that the next one has a single step."""


def interrupt_after(step: int) -> Faults:
    """Send SIGINT once, as soon as a run has taken exactly this many steps."""
    signals = [signal.SIGINT]
    return Faults(
        after_call=lambda taken: (
            signal.raise_signal(signals.pop()) if taken == step and signals else None
        ),
        is_slow=True,
    )


def crash_after(step: int) -> Faults:
    """Raise ZeroDivisionError as soon as a run has taken this many steps."""
    return Faults(after_call=lambda taken: 1 / (taken < step))


@dataclass
class FakeEngines(EngineFactory):
    """Makes fake engines with the same faults, and keeps them for inspection."""

    faults: Faults = field(default_factory=Faults)
    made: list["FakeEngine"] = field(default_factory=list)

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int) -> "FakeEngine":
        engine = FakeEngine(config, batches, vocabulary_size=vocabulary_size, faults=self.faults)
        self.made.append(engine)
        return engine


class FakeEngine(Engine):
    """Implements `charlm.training.interface.Engine`."""

    def __init__(
        self, config: Config, batches: Batches, *, vocabulary_size: int, faults: Faults
    ) -> None:
        self.faults, self.is_built, self.batches = faults, False, batches
        self.rows = slice(None)
        self.architecture = architecture(config, vocabulary_size)
        rng = np.random.default_rng(config.seed)
        self.bias = 0.1 * rng.standard_normal(vocabulary_size).astype(np.float32)
        self.momentum = np.zeros(vocabulary_size, np.float32)
        self.seed = np.array(config.seed, np.int64)
        self.step = np.array(0, np.int64)
        self.hidden = np.zeros((batches.batch_size, 3), np.float32)

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        self.bias = weights["logits.bias"].copy()

    def build(self, lengths: Iterable[int]) -> None:
        self.is_built = True

    def take_steps(
        self,
        windows: NDArray[np.int32],
        rates: NDArray[np.float32],
        *,
        reset_state: bool,
        soft_targets: NDArray[np.float16] | None = None,
    ) -> StepMetrics:
        assert self.is_built
        started = time.perf_counter()
        if reset_state:
            self.hidden = np.zeros_like(self.hidden)
        with np.errstate(all="ignore"):  # a rate may be so high that training diverges
            results = []
            for index, (window, rate) in enumerate(zip(windows, rates, strict=True)):
                results.append(self._take_step(window, float(rate)))
                if soft_targets is not None:
                    self.bias += np.float32(0.01) * soft_targets[index].astype(np.float32).mean(
                        (0, 1)
                    )
        self.faults.after_call(int(self.step))
        losses, norms = ([*column] for column in zip(*results, strict=True))
        return StepMetrics(
            losses, norms, 1.0 if self.faults.is_slow else time.perf_counter() - started
        )

    def _take_step(self, window: NDArray[np.int32], rate: float) -> tuple[float, float]:
        predicted = np.exp(self.bias) / np.exp(self.bias).sum()
        observed = np.bincount(window[1:].ravel(), minlength=len(predicted)) / window[1:].size
        noise = np.random.default_rng(int(self.seed)).standard_normal(len(predicted))
        gradient = predicted - observed + 1e-3 * noise + 1e-4 * self.hidden.mean()
        self.momentum = (0.9 * self.momentum + gradient).astype(np.float32)
        loss = float(-(observed * np.log(predicted)).sum())
        self.bias = (self.bias - LEARNING_RATE_SCALE * rate * self.momentum).astype(np.float32)
        self.hidden = (0.5 * self.hidden + window[:-1].mean(0)[:, None]).astype(np.float32)
        self.seed, self.step = self.seed + 1, self.step + 1
        reported = self.faults.loss(int(self.step), rate)
        return loss if reported is None else reported, float(np.linalg.norm(gradient))

    def parameters(self) -> Parameters:
        factor = np.float32(self.faults.weights(int(self.step)))
        return Parameters(
            self.architecture, {name: tensor * factor for name, tensor in self.weights().items()}
        )

    def weights(self) -> dict[str, Floats]:
        zeros = {
            name: np.zeros(shape, np.float32) for name, shape in self.architecture.shapes().items()
        }
        return zeros | {"logits.bias": self.bias.copy()}

    def tensors(self) -> Tensors:
        names = ("bias", "momentum", "seed", "step", "hidden")
        shift = self.faults.state(int(self.step))
        tensors: dict[str, NDArray[Any]] = {name: np.array(getattr(self, name)) for name in names}
        if shift:
            tensors["bias"] = self.bias + np.float32(shift)
        return tensors | self.parameters().tensors

    def shapes(self) -> Shapes:
        return {name: tensor.shape for name, tensor in self.tensors().items()}

    def restore(self, tensors: Tensors) -> None:
        for name in ("bias", "momentum", "seed", "step", "hidden"):
            setattr(self, name, tensors[name].copy())
