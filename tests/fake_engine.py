"""A tiny engine in NumPy, without TensorFlow. It learns how often each id occurs.

It has the weights of the config's network, all zero except the bias of the logits, which is trained
with momentum. The gradient also depends on the hidden state and on a random seed that changes at
every step, so that the tests notice a checkpoint without one of them.
"""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config, section_of, walk
from charlm.core.architecture import architecture
from charlm.core.batches import Batches
from charlm.core.engine import Engine, EngineFactory, StepMetrics
from charlm.core.model_file import Tensors
from charlm.core.rnn import Floats, Parameters
from charlm.core.scoring import Score
from charlm.core.vocabulary import Ids

LEARNING_RATE_SCALE = 20.0
STATE = ("bias", "momentum", "seed", "step", "hidden")
"""Names of the tensors of a checkpoint."""
SETTINGS = {key for key, field in walk(Config) if not section_of(field)}
OF_ENGINES = {key for key in SETTINGS if key.startswith(("model.", "training.optimizer."))} | {
    "training.loss_temperature",
    "training.clip_norm",
    "training.average_momentum",
    "training.state_reset",
    "training.precision",
    "training.kernel",
    "training.parts",
}
"""Settings that only a real engine reads; see tests/engines/test_keras_engine.py."""


@dataclass
class Faults:
    """Faults of an engine, as functions of the number of steps that it has taken."""

    after_call: Callable[[int], object] = lambda _step: None
    """Function that is called after some steps: it may raise, send signals or damage files."""
    loss: Callable[[int, float], float | None] = lambda _step, _rate: None
    """Loss that a step reports at a learning rate; None = the true one."""
    norm: Callable[[int], float | None] = lambda _step: None
    """Gradient norm that a step reports; None = the true one."""
    seconds: Callable[[int], float | None] = lambda _step: None
    """Time that a call claims to take, by its last step; None = the true one."""
    weights: Callable[[int], float] = lambda _step: 1.0
    """Factor for the weights that are evaluated and saved in models."""
    state: Callable[[int], float] = lambda _step: 0.0
    """Number that is added to the tensors that are saved."""
    evaluation: Callable[[], object] = lambda: None
    """Function that is called when a network is scored."""
    is_slow: bool = False
    """Whether a call claims to take a second, so that the next one has a single step."""


FIRST_IS_BEST = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
"""Faults that make each evaluation after step 10 worse than the one before."""


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


class Call(NamedTuple):
    """The arguments of a call of `take_steps`."""

    windows: Ids
    reset_state: bool
    soft_targets: NDArray[np.float16] | None


@dataclass
class FakeEngines(EngineFactory):
    """A factory of fake engines with the same faults, which keeps them for inspection."""

    faults: Faults = field(default_factory=Faults)
    made: list["FakeEngine"] = field(default_factory=list)

    def __call__(
        self,
        config: Config,
        batches: Batches,
        *,
        vocabulary_size: int,
    ) -> "FakeEngine":
        engine = FakeEngine(config, batches, vocabulary_size=vocabulary_size, faults=self.faults)
        self.made.append(engine)
        return engine


class FakeEngine(Engine):
    """A fake engine."""

    def __init__(
        self, config: Config, batches: Batches, *, vocabulary_size: int, faults: Faults
    ) -> None:
        self.faults = faults
        self.calls: list[Call] = []
        self.batches = batches
        self.rows = slice(None)
        self.config = config
        self.architecture = architecture(config, vocabulary_size)
        rng = np.random.default_rng(config.seed)
        self.bias = 0.1 * rng.standard_normal(vocabulary_size).astype(np.float32)
        self.momentum = np.zeros(vocabulary_size, np.float32)
        self.seed = np.array(config.seed, np.int64)
        self.step = np.array(0, np.int64)
        self.hidden = np.zeros((batches.batch_size, 3), np.float32)

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        self.bias = weights["logits.bias"].copy()

    def take_steps(
        self,
        windows: Ids,
        rates: Floats,
        *,
        reset_state: bool,
        soft_targets: NDArray[np.float16] | None = None,
    ) -> StepMetrics:
        self.calls.append(Call(windows, reset_state, soft_targets))
        started = time.perf_counter()
        if reset_state:
            self.hidden = np.zeros_like(self.hidden)
        losses: list[float] = []
        norms: list[float] = []
        with np.errstate(all="ignore"):  # a rate may be so high that training diverges
            for index, (window, rate) in enumerate(zip(windows, rates, strict=True)):
                loss, norm = self._take_step(window, float(rate))
                losses.append(loss)
                norms.append(norm)
                if soft_targets is not None:
                    mean = soft_targets[index].astype(np.float32).mean((0, 1))
                    self.bias += np.float32(0.01) * mean
        self.faults.after_call(int(self.step))
        seconds = 1.0 if self.faults.is_slow else time.perf_counter() - started
        claimed = self.faults.seconds(int(self.step))
        if claimed is not None:
            seconds = claimed
        return StepMetrics(losses, norms, seconds)

    def _take_step(self, window: NDArray[np.int32], rate: float) -> tuple[float, float]:
        predicted = np.exp(self.bias) / np.exp(self.bias).sum()
        observed = np.bincount(window[1:].ravel(), minlength=len(predicted)) / window[1:].size
        noise = np.random.default_rng(int(self.seed)).standard_normal(len(predicted))
        gradient = predicted - observed + 1e-3 * noise + 1e-4 * self.hidden.mean()
        self.momentum = (0.9 * self.momentum + gradient).astype(np.float32)
        loss = float(-(observed * np.log(predicted)).sum())
        self.bias = (self.bias - LEARNING_RATE_SCALE * rate * self.momentum).astype(np.float32)
        self.hidden = (0.5 * self.hidden + window[:-1].mean(0)[:, None]).astype(np.float32)
        self.seed = self.seed + 1
        self.step = self.step + 1
        reported = self.faults.loss(int(self.step), rate)
        norm = self.faults.norm(int(self.step))
        return (
            loss if reported is None else reported,
            float(np.linalg.norm(gradient)) if norm is None else norm,
        )

    def parameters(self) -> Parameters:
        factor = np.float32(self.faults.weights(int(self.step)))
        tensors = {name: tensor * factor for name, tensor in self.weights().items()}
        return Parameters(self.architecture, tensors)

    def score(
        self,
        parameters: Parameters,
        ids: Ids,
    ) -> Score:
        self.faults.evaluation()
        return super().score(parameters, ids)

    def weights(self) -> dict[str, Floats]:
        shapes = self.architecture.shapes()
        zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        return zeros | {"logits.bias": self.bias.copy()}

    def tensors(self) -> Tensors:
        tensors: dict[str, NDArray[Any]] = {name: np.array(getattr(self, name)) for name in STATE}
        tensors["bias"] += np.float32(self.faults.state(int(self.step)))
        return tensors | self.parameters().tensors

    def restore(self, tensors: Tensors) -> None:
        for name in STATE:
            setattr(self, name, tensors[name].copy())
