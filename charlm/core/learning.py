"""How the network learns: the loss of a window, its gradient through time, and a step of Adam.

    a_t = x_t U + h_{t-1} R + b,  h_t = f(a_t),  logits_t = h_t W + c
    loss = mean over all t of H(q_t, p_t),  p_t = softmax(logits_t / temperature)

H is the cross entropy, and q_t is the one-hot vector of the next character, or a mixture of it with
a soft target. With dx for the gradient of the loss with respect to x, and n for the number of
characters:

    dlogits_t = (p_t - q_t) / (n temperature)
    dh_t = dlogits_t W^T + da_{t+1} R^T + the da_t of the layer above times its U^T
    da_t = f'(a_t) dh_t
    dW = sum of h_t^T dlogits_t,  dR = sum of h_{t-1}^T da_t,  dU = sum of x_t^T da_t

This is backpropagation through time (Werbos 1990), truncated at the first character of the window:
the state before it counts as a constant.

Axes: B batch, T time, V vocabulary, L layers, H units.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from charlm.core.architecture import MAX_LAYERS
from charlm.core.rnn import (
    ACTIVATIONS,
    Dropout,
    Floats,
    Parameters,
    State,
    nats,
    probabilities,
    read_outputs,
)
from charlm.core.vocabulary import Ids

Tensors = dict[str, Floats]
ONES = np.ones((MAX_LAYERS, 1, 1), np.float32)
NO_DROPOUT = Dropout(recurrent=ONES, between=ONES, output=ONES[:1])
"""Masks that change nothing."""


@dataclass(frozen=True)
class Objective:
    """What training minimises: the mean over all characters of H(q, softmax(logits / temperature)).

    H is the cross entropy, and q = (1 - soft_weight) * one-hot target + soft_weight * soft target.
    """

    temperature: float = 1.0
    soft_weight: float = 0.0
    """Weight of the soft targets."""

    def gradient(self, logits: Floats, targets: Ids, soft: Floats | None = None) -> Floats:
        """Return the gradient with respect to the logits.

        Args:
            logits: [T, B, V].
            targets: Ids of the next characters, integers [T, B].
            soft: Soft targets, [T, B, V]; None if they have no weight.

        """
        wanted = np.zeros_like(logits)
        np.put_along_axis(wanted, targets[..., None], 1 - self.soft_weight, -1)
        if soft is not None:
            wanted += self.soft_weight * soft
        difference = probabilities(logits / self.temperature) - wanted
        return difference / (targets.size * self.temperature)


@dataclass(frozen=True)
class Learnt:
    """What a window teaches a network."""

    loss: float
    """Mean loss in nats per character, at temperature 1, without soft targets."""
    gradient: Parameters
    """The gradient of the objective with respect to each tensor, in its place."""
    state: State
    """The state after the window."""


def backpropagate(
    parameters: Parameters,
    window: Ids,
    state: State,
    *,
    objective: Objective = Objective(),
    soft: Floats | None = None,
    dropout: Dropout | None = None,
) -> Learnt:
    """Read a window, and follow its loss back to each weight.

    Args:
        parameters: The weights; results have their dtype.
        window: Ids, integers [T + 1, B]: rows 0 to T - 1 are read, rows 1 to T are predicted.
        state: The state before the first character, [B, H] for each layer.
        objective: What is minimised.
        soft: Soft targets, [T, B, V]; None if the objective has no weight for them.
        dropout: The masks; None = no dropout.

    """
    ids, targets = window[:-1], window[1:]
    outputs = read_outputs(parameters, ids, state, dropout=dropout)
    dropout = dropout or NO_DROPOUT
    features = dropout.output * parameters.features(outputs)
    logits = features @ parameters.logits_kernel + parameters.logits_bias
    dlogits = objective.gradient(logits, targets, soft)

    zeros = {name: np.zeros_like(tensor) for name, tensor in parameters.tensors.items()}
    gradient = Parameters(parameters.architecture, zeros)
    gradient.logits_kernel[...] = _sum_of_products(features, dlogits)
    gradient.logits_bias[...] = dlogits.sum((0, 1))
    doutputs = _outputs_of(parameters, dropout.output * (dlogits @ parameters.logits_kernel.T))

    slope = ACTIVATIONS[parameters.activation].derivative
    for index in reversed(range(len(parameters.layers))):
        layer = parameters.layers[index]
        mask = dropout.recurrent[index]
        slopes = slope(outputs[index])
        dsums = _through_time(doutputs[index], slopes, layer.recurrent_kernel, mask)
        before = np.concatenate([state[index][None], outputs[index][:-1]]) * mask
        gradient.layers[index].recurrent_kernel[...] = _sum_of_products(before, dsums)
        dtable = np.zeros_like(parameters.input_tables[index])
        np.add.at(dtable, ids if len(dtable) > 1 else np.zeros_like(ids), dsums)
        add_input_gradient(parameters, gradient, index, dtable)
        if index:
            mask = dropout.between[index - 1]
            gradient.layers[index].from_below[...] = _sum_of_products(
                outputs[index - 1] * mask, dsums
            )
            doutputs[index - 1] += dsums @ layer.from_below.T * mask
    return Learnt(
        loss=float(nats(logits, targets).mean()),
        gradient=gradient,
        state=tuple(output[-1] for output in outputs),
    )


def _outputs_of(parameters: Parameters, features: Floats) -> list[Floats]:
    """Return the part of `Parameters.features`, or of a gradient of them, of each layer."""
    if parameters.architecture.skip_connections:
        return list(parameters.split(features))
    zeros = [np.zeros_like(features) for _ in parameters.layers[1:]]
    return [*zeros, features]


def _through_time(
    doutputs: Floats, slopes: Floats, recurrent_kernel: Floats, mask: Floats
) -> Floats:
    """Return da_t from what the later layers say of h_t: from the last time to the first.

    Args:
        doutputs: The part of dh_t that does not come from a later time, [T, B, H].
        slopes: f'(a_t), [T, B, H].
        recurrent_kernel: R, [H, H].
        mask: Dropout of h_{t-1} before R, [B, H].

    """
    dsums = np.empty_like(doutputs)
    from_later = np.zeros_like(doutputs[0])
    for time in reversed(range(len(doutputs))):
        dsums[time] = slopes[time] * (doutputs[time] + from_later)
        from_later = mask * (dsums[time] @ recurrent_kernel.T)
    return dsums


def add_input_gradient(
    parameters: Parameters, gradient: Parameters, index: int, dtable: Floats
) -> None:
    """Add the gradient of the weights that a layer's `input_table` is made of.

    The table of a layer that reads characters is E U + b, with a row for each character, where E is
    the embedding, or the identity without one. The table of another layer is b.

    Args:
        parameters: The weights.
        gradient: The gradient, which is changed.
        index: The layer.
        dtable: Gradient with respect to its table, [V, H] or [1, H].

    """
    layer = gradient.layers[index]
    layer.bias[...] = dtable.sum(0)
    if not len(layer.from_input):
        return
    if not parameters.architecture.embedding:
        layer.from_input[...] = dtable
        return
    embedding = parameters.tensors["embedding"]
    layer.from_input[...] = embedding.T @ dtable
    gradient.tensors["embedding"] += dtable @ parameters.layers[index].from_input.T


def _sum_of_products(left: Floats, right: Floats) -> Floats:
    """Return the sum of left^T right over time and batch: [T, B, m], [T, B, n] -> [m, n]."""
    return np.tensordot(left, right, ([0, 1], [0, 1]))


@dataclass
class Adam:
    """The optimizer of Kingma and Ba (2015), in the form of the end of their section 2."""

    weights: Tensors
    """The weights, changed in place."""
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    count: int = 0
    """Number of steps."""
    momentums: Tensors = field(default_factory=dict)
    """Moving average of the gradient of each weight."""
    velocities: Tensors = field(default_factory=dict)
    """Moving average of its square."""

    def step(self, gradient: Tensors, rate: float) -> None:
        """Change the weights by a step against the gradient, at a learning rate."""
        self.count += 1
        correction = math.sqrt(1 - self.beta_2**self.count) / (1 - self.beta_1**self.count)
        for name, each in gradient.items():
            momentum = self.momentums.setdefault(name, np.zeros_like(each))
            velocity = self.velocities.setdefault(name, np.zeros_like(each))
            momentum += (1 - self.beta_1) * (each - momentum)
            velocity += (1 - self.beta_2) * (each**2 - velocity)
            change = momentum / (np.sqrt(velocity) + self.epsilon)
            self.weights[name] -= rate * correction * change
