"""The network in training: weights, optimizer, hidden state, and the compiled step that changes them."""

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.batches import Batches
from charlm.config import Config
from charlm.rnn import Parameters
from charlm.training.average import WeightAverage
from charlm.training.checkpoints import Tensors
from charlm.training.model import build_model, to_parameters, undecayed_weights, zero_state
from charlm.training.optimizer import build_optimizer, learning_rates
from charlm.training.step import compile_steps


class Lesson(NamedTuple):
    """What some steps brought."""

    losses: list[float]
    """Nats per character of each step."""
    norms: list[float]
    """The gradient norm of each step, before clipping."""
    seconds: float


class Learner:
    """A network that learns from a text of ids [n], cut into windows."""

    def __init__(
        self,
        config: Config,
        ids: NDArray[Any],
        cut: Batches,
        *,
        vocabulary_size: int,
        total_steps: int,
        cores: int,
        precision: str,
    ) -> None:
        self.settings, self.ids, self.cut, self.total_steps = config.training, ids, cut, total_steps
        self.model = build_model(config, vocabulary_size, precision=precision)
        self.optimizer = build_optimizer(self.settings.optimizer, precision=precision)
        self.optimizer.exclude_from_weight_decay(undecayed_weights(self.model, self.settings.undecayed))
        weights = self.model.trainable_variables
        self.optimizer.build(weights)
        momentum = self.settings.average_momentum
        self.average = None if momentum is None else WeightAverage(weights, momentum)
        self.state = zero_state(self.model, cut.batch_size)
        self._steps = compile_steps(
            self.model,
            self.optimizer,
            cut,
            clip_norm=self.settings.clip_norm,
            parts=cores,
            average=self.average,
            reset_rate=self.settings.state_reset,
            loss_temperature=self.settings.loss_temperature,
        )

    def build(self) -> None:
        """Build the graph, so that the first step takes no longer than the others."""
        self.learn(0, 0, rate_scale=1.0)

    def learn(self, first: int, count: int, *, rate_scale: float) -> Lesson:
        """Take `count` steps, all of one epoch, after step `first` of the run."""
        epoch, window = divmod(first, self.cut.steps_per_epoch)
        state = zero_state(self.model, self.cut.batch_size) if window == 0 else self.state
        windows = self.cut.windows(self.ids, epoch=epoch, first=window, count=count)
        rates = self.rates(first, count, scale=rate_scale)
        started = time.perf_counter()
        results = self._steps(windows, state, rates)
        losses, norms = results.losses.numpy().tolist(), results.gradient_norms.numpy().tolist()
        seconds = time.perf_counter() - started
        if count:
            self.state = results.state
        return Lesson(losses, norms, seconds)

    def rates(self, first: int, count: int, *, scale: float) -> NDArray[np.float32]:
        """Return the learning rates of `count` steps after step `first`: the schedule's, times `scale`."""
        optimizer = self.settings.optimizer
        rates = learning_rates(
            optimizer.learning_rate, self.settings.schedule, first=first, count=count, total=self.total_steps
        )
        return rates * np.float32(scale)

    def parameters(self) -> Parameters:
        """Return a copy of the weights for the NumPy engine: their average where one is kept."""
        if self.average is None:
            return to_parameters(self.model)
        return to_parameters(self.model, averages=self.average.variables)

    def tensors(self) -> Tensors:
        """Return a copy of everything that decides the next step, by a name that does not change."""
        tensors = {name: np.array(variable.numpy()) for name, variable in self._variables().items()}
        return tensors | {f"state.{index}": np.array(layer) for index, layer in enumerate(self.state)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of these tensors."""
        shapes = {name: tuple(variable.shape) for name, variable in self._variables().items()}
        return shapes | {f"state.{index}": tuple(layer.shape) for index, layer in enumerate(self.state)}

    def restore(self, tensors: Tensors) -> None:
        """Put back what `tensors` returned; the shapes are those of this network."""
        for name, variable in self._variables().items():
            variable.assign(tensors[name])
        self.state = tuple(tensors[f"state.{index}"] for index in range(len(self.state)))

    def _variables(self) -> dict[str, Any]:
        model = {f"model.{index}": variable for index, variable in enumerate(self.model.variables)}
        optimizer = {f"optimizer.{index}": variable for index, variable in enumerate(self.optimizer.variables)}
        averages = self.average.variables if self.average is not None else []
        return model | optimizer | {f"average.{index}": variable for index, variable in enumerate(averages)}
