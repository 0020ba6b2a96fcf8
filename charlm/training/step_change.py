"""What a single step of training did to the weights of each layer: norms of the gradient and of the update."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from charlm.network.rnn import Floats


@dataclass(frozen=True, eq=False)
class StepChange:
    """The weights before and after one step, and its gradient."""

    step: int
    """The number of steps after it."""
    gradient_norms: Mapping[str, float]
    """The norm of the gradient of each tensor before clipping, by its name; empty if the engine does not know it."""
    before: Mapping[str, Floats]
    """The weights by their names in weights.safetensors."""
    after: Mapping[str, Floats]

    def scalars(self) -> dict[str, float]:
        """Return the norms of each layer, and their ratios to the norm of its weights, by tags for TensorBoard.

        A layer is all tensors with the same name before the last dot: kernel, recurrent kernel and bias. The update is
        what the optimizer adds to the weights in the step.
        """
        weights: dict[str, float] = {}
        updates: dict[str, float] = {}
        for name, after in self.after.items():
            weights[name] = _norm(self.before[name])
            updates[name] = _norm(after - self.before[name])
        found: dict[str, float] = {}
        for kind, norms in (("gradient", self.gradient_norms), ("update", updates)):
            sizes = _by_layer(weights)
            for layer, norm in _by_layer(norms).items():
                found[f"{kind}_norm/{layer}"] = norm
                found[f"{kind}_to_weights/{layer}"] = norm / max(sizes[layer], 1e-30)
        return found


def _norm(values: Floats) -> float:
    return float(np.linalg.norm(values))


def _by_layer(norms: Mapping[str, float]) -> dict[str, float]:
    """Return the norm of all tensors of each layer together, given the norm of each tensor."""
    squares: dict[str, float] = {}
    for name, norm in norms.items():
        layer = name.rpartition(".")[0] or name
        squares[layer] = squares.get(layer, 0.0) + norm * norm
    return {layer: math.sqrt(square) for layer, square in squares.items()}
