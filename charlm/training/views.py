"""What TensorBoard shows of an evaluation: plain data by tag, and what each tag means."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Floats

Picture = NDArray[np.uint8]
"""Red, green and blue, uint8 [height, width, 3]."""


@dataclass(frozen=True)
class Views:
    """What is shown of one evaluation, by tag."""

    scalars: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Floats] = field(default_factory=dict)
    """Values of any shape."""
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


DESCRIPTIONS: Mapping[str, str] = {
    "gradient_norm": "Norm of the gradient of the step before the evaluation, before clipping.",
    "gradient_to_weights": "Norm of that gradient, divided by the norm of the weights of the layer.",
    "update_norm": "Norm of what the optimizer added to the weights of the layer in that step.",
    "update_to_weights": "Norm of that update, divided by the norm of the weights; about 1e-3 is usual.",
    "spectral_radius": "Largest size of an eigenvalue of the recurrent kernel V.",
    "saturated": "Share of the units and positions at which the slope of the activation is below 0.19 of its largest: "
    "|h| > 0.9 for tanh, an output of 0 for relu.",
    "state": "Outputs h of the units while the network reads validation text.",
    "gradient_by_lag": "|dL_t/dh_(t-k)| / |dL_t/dh_t| by the lag k in characters: how far back the gradient of one "
    "prediction reaches. Line: median of the windows; band: 10th to 90th percentile.",
    "surprise": "The sampled text; the darker a character, the more nats it took the network to expect it.",
    "nats_per_char/5-gram": "What a 5-gram model (interpolated modified Kneser-Ney) scores on the same text.",
    "search": "The loss of each trial of a search, and by each setting; a ring marks the best trial, a cross the last "
    "loss of one that was pruned.",
    "best_nats_per_char": "The lowest loss of all evaluations so far.",
}
"""What a tag, or all tags that begin with it and a slash, mean; TensorBoard shows it beside the chart."""


def description(tag: str) -> str | None:
    """Return what a tag means, or None if that needs no words."""
    return DESCRIPTIONS.get(tag, DESCRIPTIONS.get(tag.partition("/")[0]))
