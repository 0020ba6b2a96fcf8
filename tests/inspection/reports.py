"""Reports made up of small numbers, to draw and write pages from."""

from typing import Any

import numpy as np

from charlm.inspection.calibration import Bin, Calibration
from charlm.inspection.context import Memory, UsableContext
from charlm.inspection.curves import Curve, Curves, Level, RunSample
from charlm.inspection.diagram import Diagram, Part, Weight
from charlm.inspection.fixed_points import FixedPoint, FixedPoints, HeldCharacter
from charlm.inspection.impulse import ImpulseResponse
from charlm.inspection.loss_by_class import ClassLoss, LossByClass
from charlm.inspection.sections.section import Report
from charlm.inspection.stability import Lyapunov, RecurrentSpectrum
from charlm.inspection.states import CharacterMap, LayerSaturation, Projection, Saturation, Trajectory
from charlm.inspection.surprise import Edit, Predictions
from charlm.inspection.units import Chance, FeatureScores, LayerOutputs, Units, UnitScore
from charlm.inspection.vanishing import GradientByLag, TruncationBias
from charlm.network.gradients import LagCurve

CHARACTERS = (" ", "\n", "a", "b", "<", "&", '"', "\x1b", "\u202e", "\u05d0", "\u0301", "$", "\u4e2d", None)
"""With those that could break a page: markup, a control character, right-to-left marks and letters, a bare accent."""


def report(*, name: str = "runs/one", length: int = 60, layers: int = 2, units: int = 5, **parts: Any) -> Report:
    """Return a report with every quantity; `parts` replaces some."""
    random = np.random.default_rng(7)
    ids = random.integers(0, len(CHARACTERS), length)
    lags, windows = np.arange(9), np.array([1, 2, 4, 8, 16])
    halves, most = np.array([0.5**lag for lag in range(9)]), np.array([0.95**lag for lag in range(9)])
    everything: dict[str, Any] = {
        "surprise": _predictions(random, ids),
        "gradient_by_lag": _gradient(lags, layers, 0.6),
        "gradient_by_lag_layer": _gradient(lags, layers, 0.3),
        "initial_gradient_by_lag": _gradient(lags, layers, 1.1),
        "truncation": TruncationBias(
            windows, 60.0 / windows, 1 - 0.5 / windows, np.tile(50.0 / windows, (layers, 1)),
            np.tile(1 - 0.4 / windows, (layers, 1)), 16, 3,
        ),
        "usable_context": UsableContext(
            windows, 1 + 2.0 / windows, 1.2 + 2.0 / windows, np.array([1.0, 0.5, 0.2, 0.1]),
            np.array([2, 3]), np.array([2.4, 2.1]), 40,
        ),
        "impulse_response": ImpulseResponse(
            lags, halves, 0.4 * halves, 2 * halves, 1.5 * halves, 0.3 * halves, "infinite", None, 1.0, 20
        ),
        "edits": (Edit(3, 2, 3, np.arange(3, 10), ids[3:10], random.random(7), random.random(7)),),
        "memory": Memory(lags, most, np.full(9, 0.2), most - 0.05, np.full(9, 1e-3), 800, 200),
        "lyapunov": Lyapunov(np.array([-0.05, -0.4, -np.inf]), layers * units, 20.0, 100),
        "initial_lyapunov": Lyapunov(np.array([0.02, -0.1, -0.8]), layers * units, None, 100),
        "spectrum": tuple(_spectrum(random, layer, units) for layer in range(layers)),
        "units": _units(random, ids[:20], layers, units),
        "saturation": Saturation(
            length, 0.19, (-0.9, 0.9), tuple(_saturation(layer, units) for layer in range(layers))
        ),
        "trajectory": Trajectory(
            layers - 1, 4, ids[4:16], random.normal(size=(12, 2)), random.normal(size=(50, 2)), (0.31, 0.22)
        ),
        "fixed_points": _fixed_points(),
        "loss_by_class": _loss(),
        "calibration": Calibration(
            50, (Bin(0.2, 0.4, 20, 0.31, 0.25), Bin(0.8, 1.0, 30, 0.93, 0.9)), 0.042, 1.07, False, 1.5, 1.48,
            np.array([0.5, 1.0, 2.0]), np.array([2.0, 1.5, 1.8]),
        ),
        "curves": Curves(
            Curve(np.array([10, 20, 30]), np.array([0.1, 0.2, 0.3]), np.array([3.0, 2.0, 1.5])),
            Curve(np.array([15, 30]), np.array([0.15, 0.3]), np.array([2.6, 1.9])),
            (Level("uniform", 4.1), Level("unigram", 3.3), Level("5-gram", 1.8), Level("bz2", 1.7)),
            30, 1.9, 0.4, (RunSample(15, "</script><b>ab\x1b[31m"), RunSample(30, "a\u202eb")),
        ),
        "character_map": CharacterMap(
            np.arange(len(CHARACTERS)), ("blank", "blank", "vowel", *("other",) * (len(CHARACTERS) - 3)),
            np.bincount(ids, minlength=len(CHARACTERS)),
            Projection(random.normal(size=(len(CHARACTERS), 2)), (0.4, 0.2)),
            Projection(random.normal(size=(len(CHARACTERS), 2)), (0.5, 0.1)),
        ),
        "network": _network(layers, units),
    }  # fmt: skip
    return bare(name=name, **(everything | parts))


def bare(*, name: str = "runs/one", **parts: Any) -> Report:
    """Return a report with some quantities alone."""
    notes = ("The text was cut after 60 of 1,000 characters.",)
    return Report(name, "the validation text", CHARACTERS, "tanh", notes, parts)


def text_report(*, name: str = "runs/one", **parts: Any) -> Report:
    """Return a report without figures, whose page is made at once: the surprise of a text, and `parts`."""
    return bare(name=name, surprise=report().get("surprise"), **parts)


def _predictions(random: np.random.Generator, ids: Any) -> Predictions:
    count = len(ids) - 1
    likeliest = np.stack([random.permutation(len(CHARACTERS))[:5] for _ in range(count)])
    probabilities = np.tile([0.5, 0.2, 0.1, 0.06, 1e-5], (count, 1))
    influence = np.where(np.arange(8) <= np.arange(count)[:, None], 0.5 ** np.arange(8), 0.0)
    return Predictions(
        np.arange(1, count + 1), ids[1:], random.exponential(1.6, count), likeliest, probabilities, influence
    )


def _gradient(lags: Any, layers: int, base: float) -> GradientByLag:
    curves = tuple(
        LagCurve(layer, lags, (base - 0.1 * layer) ** lags, 0.5 * base**lags, 2 * base**lags) for layer in range(layers)
    )
    return GradientByLag("state", curves, 30)


def _spectrum(random: np.random.Generator, layer: int, units: int) -> RecurrentSpectrum:
    values = random.normal(size=units) + 1j * random.normal(size=units)
    return RecurrentSpectrum(layer, values, float(np.abs(values).max()), 2.5, 0.6, 0.8, 0.5, 1.1, 12)


def _units(random: np.random.Generator, excerpt: Any, layers: int, units: int) -> Units:
    outputs = tuple(
        LayerOutputs(
            layer,
            np.tanh(random.normal(size=(len(excerpt), units))).astype(np.float64).round(2),
            ("vowel next", *(None,) * (units - 1)),
            np.array([0.93, *[0.0] * (units - 1)]),
        )
        for layer in range(layers)
    )
    score = UnitScore(0, 0, "vowel next", 0.965, 0.93, 0.7, True, True)
    chance = Chance(0.31, 0.62, 0.28, 0.5, 0.2)
    features = (
        FeatureScores("vowel next", "yes/no", 0.3, chance, (score,), 1),
        FeatureScores("position in the line", "number", 22.1, Chance(0.4, 0.5, 0.3, None, None), (score,), 0),
    )
    return Units(60, 100, features, (score,), 0, excerpt, outputs)


def _saturation(layer: int, units: int) -> LayerSaturation:
    edges = np.linspace(-1, 1, 21)
    return LayerSaturation(layer, units, 0.12, 1, None, 3.4, np.arange(20), edges)


def _fixed_points() -> FixedPoints:
    stable = FixedPoint(True, 1e-12, 0.83, 0, True, 5.4, 12, 3.0, ((2, 0.8), (8, 0.1)))
    slow = FixedPoint(False, 1e-3, 1.04, 1, False, None, 2, 2.0, ((3, 0.4),))
    return FixedPoints(
        16,
        (HeldCharacter(0, "settles", 1, 14, (stable, slow)), HeldCharacter(8, "cycles", 2, None, (slow,))),
    )


def _loss() -> LossByClass:
    letters = ClassLoss("lower case", 40, 1.4, 1.7, 0.7)
    others = ClassLoss("upper case", 10, 2.4, 2.1, 0.3)
    return LossByClass(50, 1.6, 5, 1.78, (letters, others), (letters, others), (others,))


def _network(layers: int, units: int) -> Diagram:
    size = len(CHARACTERS)
    parts = [Part("one-hot", "one-hot", size, size, (), (), "x_t = one-hot(id_t)", 0)]
    for layer in range(layers):
        inputs = parts[-1].outputs
        weights = (
            Weight(f"rnn.{layer}.kernel", "U", (inputs, units), inputs * units),
            Weight(f"rnn.{layer}.recurrent_kernel", "V", (units, units), units * units),
            Weight(f"rnn.{layer}.bias", "b", (units,), units),
        )
        count = sum(weight.parameters for weight in weights)
        parts.append(Part(f"rnn.{layer}", "rnn", units, inputs, (parts[-1].name,), weights, "h_t = f(a_t)", count))
    top = (Weight("logits.kernel", "W", (units, size), units * size), Weight("logits.bias", "c", (size,), size))
    parts.append(
        Part("logits", "logits", size, units, (parts[-1].name,), top, "logits_t = h_t W + c", units * size + size)
    )
    return Diagram(tuple(parts), "tanh", False, sum(part.parameters for part in parts))
