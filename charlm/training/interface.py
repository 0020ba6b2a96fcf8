"""The interface between training and an engine, which hides TensorFlow.

Training decides which windows are read, at which learning rates, and when. The engine holds and changes the weights,
the optimizer, the random seeds and the hidden state. `charlm.engine.keras_engine` is the real engine.

Axes: B batch, T time, V vocabulary, K steps in one call.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.evaluation.scoring import Score, estimate_stream
from charlm.events import OnEvent
from charlm.network.model_file import Tensors
from charlm.network.rnn import Floats, Parameters
from charlm.text.batches import Batches
from charlm.text.vocabulary import Ids
from charlm.training.workers import Workers

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each of these arrays."""


class StepMetrics(NamedTuple):
    """The results of K steps of training."""

    losses: list[float]
    """The loss of each step in nats per character, [K]."""
    norms: list[float]
    """The gradient norm of each step before clipping, [K]."""
    seconds: float
    """The time that all steps took together."""


class Engine(Protocol):
    """A network in training."""

    batches: Batches
    """How the training text is cut into windows of `sequence_length`."""
    rows: slice
    """The rows of a batch that this machine reads: all, unless several workers share each batch."""
    workers: Workers = Workers()
    """The workers that share each batch."""
    library: str | None = None
    """The SHA-256 of the compiled program that takes the steps, as its results differ in the last bits; None = none."""

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        """Replace the weights that were drawn, before the first step.

        Args:
            weights: All weights by their names in a model file, float32, of the shapes that the engine has.

        """

    def build(self, lengths: Iterable[int]) -> None:
        """Do everything that would make the first step with windows of one of these lengths slower than the others."""

    def take_steps(
        self,
        windows: NDArray[np.int32],
        rates: NDArray[np.float32],
        *,
        reset_state: bool,
        soft_targets: NDArray[np.float16] | None = None,
    ) -> StepMetrics:
        """Take K steps of training, one for each window.

        Args:
            windows: Ids, int32 [K, T + 1, B], only the columns `rows`; the first T rows of a window are the inputs, the
                last T the targets.
            rates: The learning rate of each step, float32 [K].
            reset_state: Whether the first window starts from the zero state, as at the start of an epoch.
            soft_targets: The teachers' probabilities of the next character, float16 [K, T, B, V], only the columns
                `rows`; None if the config has no teachers.

        """

    def parameters(self) -> Parameters:
        """Return a copy of the weights to evaluate and save: of their average if one is kept."""

    def score(self, parameters: Parameters, ids: Ids) -> Score:
        """Return the loss on a text, as `charlm.evaluation.scoring.estimate_stream` does.

        Args:
            parameters: The weights of the network.
            ids: The text, integers [n], n >= 2.

        """
        return estimate_stream(parameters, ids)

    def weights(self) -> dict[str, Floats]:
        """Return a copy of the trained weights, float32, by their names in a model file, for histograms."""

    def tensors(self) -> Tensors:
        """Return a copy of everything that decides the next step, by names that do not depend on a framework.

        Among them are the tensors of `parameters`, under their names in a model file.
        """

    def shapes(self) -> Shapes:
        """Return the shape of each of these tensors."""

    def restore(self, tensors: Tensors) -> None:
        """Restore what `tensors` returned; the caller has checked the shapes."""


class EngineFactory(Protocol):
    """Makes the engines of a program."""

    workers: Workers = Workers()
    """The workers that share each batch."""

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int) -> Engine:
        """Return an engine with newly drawn weights.

        Args:
            config: Every setting, as `resolve` has left it.
            batches: How the training text is cut into windows.
            vocabulary_size: V, the number of ids.

        Raises:
            CharlmError: the config asks for something that the framework does not have.

        """

    def resolve(self, config: Config, *, on_event: OnEvent, is_recorded: bool) -> Config:
        """Return the config with the kernel and the precision that this machine trains with.

        Args:
            config: Every setting.
            on_event: Called with SettingReplaced for each setting that this machine lacks.
            is_recorded: Whether the config is that of a run which has begun: what this machine lacks is then replaced.

        Raises:
            CharlmError: the config, which is not recorded, asks for something that this machine does not have.

        """
        return config
