"""The interface between training and an engine, which hides TensorFlow.

Training chooses the windows and the learning rate of each step. The engine holds and changes the
weights, the optimizer, the random seeds and the hidden state. It does not read the clock except to
measure its time, and gives the same bits however steps are grouped into calls. It is not told the
step, the epoch, the folder or, except to score it, the validation text. The real engine is
`charlm.engines.keras_engine`; the loss of a step is computed in `charlm.engines.step` or kernel.c,
and `charlm.core.rnn` is the reference.

Axes: B batch, T time, V vocabulary, K steps in one call.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.core.batches import Batches
from charlm.core.model_file import Tensors
from charlm.core.rnn import Floats, Parameters
from charlm.core.scoring import Score, estimate_stream
from charlm.core.vocabulary import Ids

SoftTargets = NDArray[np.float16]
"""Probabilities of the next character, float16 [..., V]."""


class StepMetrics(NamedTuple):
    """The results of K steps of training."""

    losses: list[float]
    """Loss of each step in nats per character, [K]."""
    norms: list[float]
    """Gradient norm of each step before clipping, [K]."""
    seconds: float
    """Time of all steps together."""


class Engine(Protocol):
    """A network in training."""

    batches: Batches
    """Division of the training text into windows."""
    kernel_sha256: str | None = None
    """SHA-256 of the compiled kernel, which determines the last bits of the results; None =
    Keras."""

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        """Replace the random weights, before the first step.

        Args:
            weights: All weights by their names in a model file, float32, in the engine's shapes.

        """

    def take_steps(
        self,
        windows: Ids,
        rates: Floats,
        *,
        reset_state: bool,
        soft_targets: SoftTargets | None = None,
    ) -> StepMetrics:
        """Take K steps of training, one for each window.

        Args:
            windows: Ids, int32 [K, T + 1, B]; the first T rows of a window are the inputs, the last
                T the targets.
            rates: Learning rate of each step, float32 [K].
            reset_state: Whether the first window starts from the zero state, as in a new epoch. The
                engine also resets single streams at random by `training.state_reset`, as a function
                of the seed and the step.
            soft_targets: Probabilities of the next character, float16 [K, T, B, V];
                None if the run has no soft targets.

        """

    def parameters(self) -> Parameters:
        """Return a copy of the weights to evaluate and save, or of their average if it is kept."""

    def score(self, parameters: Parameters, ids: Ids) -> Score:
        """Return the loss on a text, as `charlm.core.scoring.estimate_stream` does.

        Args:
            parameters: Weights of the network.
            ids: The text, integers [n], n >= 2.

        """
        return estimate_stream(parameters, ids)

    def weights(self) -> dict[str, Floats]:
        """Return a copy of the trained weights for histograms, float32, by name in a model file."""

    def tensors(self) -> Tensors:
        """Return a copy of all state that the next step depends on, by framework-independent names.

        The state contains the tensors of `parameters` under their names in a model file.
        """

    def restore(self, tensors: Tensors) -> None:
        """Restore the state that `tensors` has returned for the same settings and text."""


class EngineFactory(Protocol):
    """A factory for the engines of a program."""

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int) -> Engine:
        """Return an engine with random weights.

        Args:
            config: Every setting, resolved.
            batches: Division of the training text into windows.
            vocabulary_size: V, the number of ids.

        Raises:
            CharlmError: The config asks for something that the framework does not have.

        """

    def resolve(self, config: Config, *, is_recorded: bool) -> Config:
        """Return the config with the parts, kernel and precision that this machine trains with.

        Args:
            config: Every setting.
            is_recorded: Whether the config is from a run that has begun; settings that this machine
                lacks are then replaced instead of refused.

        Raises:
            CharlmError: This machine lacks something that a config without a run asks for; a
                precision that it lacks is replaced with a note.

        """
        return config
