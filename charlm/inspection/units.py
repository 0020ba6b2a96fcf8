"""Which units of a network follow a feature of the text, compared with what chance gives.

`charlm.inspection.unit_scores` has the scores on one feature. Axes: T the characters of the text, H units of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.association import MIN_COUNT
from charlm.inspection.features import Feature, features_of
from charlm.inspection.states import read_states
from charlm.inspection.unit_scores import (
    FeatureScores,
    Scores,
    UnitScore,
    most_interpretable,
    rank_units,
    score_feature,
    summarize_scores,
)
from charlm.network.rnn import Floats, Parameters
from charlm.text.vocabulary import Vocabulary

MIN_POSITIONS = 200
MAX_POSITIONS = 5000
SHIFTS = 200
EXCERPT = (64, 400)
"""The least and the most characters of the excerpt."""
EXCERPT_VALUES = 200_000
"""How many outputs the excerpt has in all, unless that makes it shorter than the least."""


@dataclass(frozen=True, eq=False)
class LayerOutputs:
    """The outputs of a layer on an excerpt, for a browser of its units."""

    layer: int
    values: NDArray[np.float64]
    """h_t, [T, H], rounded to two decimals."""
    features: tuple[str | None, ...]
    """The feature that each unit follows most closely; None if it is not beyond chance on any."""
    strengths: NDArray[np.float64]
    """The strength of each unit on that feature, [H]; 0 if there is none."""


@dataclass(frozen=True, eq=False)
class Units:
    """What the units of a network follow."""

    positions: int
    """How many characters the scores are computed on."""
    shifts: int
    """How many circular shifts, and as many random labels, `chance` was estimated from."""
    features: tuple[FeatureScores, ...]
    """Those that vary in the text; a yes/no feature occurs, and is missing, MIN_COUNT times or more. None if the text
    has fewer than MIN_POSITIONS characters."""
    interpretable: tuple[UnitScore, ...]
    """The strongest score of each of the most interpretable units, strongest first; all are beyond chance. Those that
    are learnt come first."""
    excerpt_start: int
    """The position of the excerpt's first character in the text."""
    excerpt: NDArray[np.int64]
    """The ids of the excerpt, int64 [T]; `layers` has the outputs of every unit after each."""
    layers: tuple[LayerOutputs, ...]


def score_units(
    parameters: Parameters,
    ids: NDArray[Any],
    vocabulary: Vocabulary,
    *,
    untrained: Parameters | None = None,
    features: Sequence[Feature] | None = None,
    max_positions: int = MAX_POSITIONS,
    shifts: int = SHIFTS,
    seed: int = 0,
) -> Units:
    """Score every unit of a network on every feature of a text.

    Args:
        parameters: The weights.
        ids: The text, integers [T]; T may be 0.
        vocabulary: The characters by id.
        untrained: A network before training, to compare with; None = there is none.
        features: The features, each [min(T, max_positions)]; None = those of `features_of`.
        max_positions: If the text is longer, only its beginning is used.
        shifts: How many circular shifts, and as many random labels, chance is estimated from; 1 or more.
        seed: Of the shifts and labels.

    Raises:
        CharlmError: an output of a network is not finite.

    """
    ids = np.asarray(ids[:max_positions], np.int64)
    outputs = read_states(parameters, ids)
    before = None if untrained is None else read_states(untrained, ids)
    found = features_of(ids, vocabulary) if features is None else features
    measured = [feature for feature in found if _is_frequent(feature)]
    scores = _score_all(outputs, before, ids, measured, shifts=shifts, seed=seed)
    widths = [output.shape[1] for output in outputs]
    start, length = _choose_excerpt(ids, vocabulary, units=sum(widths))
    return Units(
        positions=len(ids),
        shifts=shifts,
        features=tuple(summarize_scores(score, widths) for score in scores),
        interpretable=most_interpretable(scores, widths),
        excerpt_start=start,
        excerpt=ids[start : start + length],
        layers=_layers([output[start : start + length] for output in outputs], scores),
    )


def _is_frequent(feature: Feature) -> bool:
    if len(feature.values) < MIN_POSITIONS:
        return False
    count = int(np.count_nonzero(feature.values))
    return feature.kind == "number" or MIN_COUNT <= count <= len(feature.values) - MIN_COUNT


def _score_all(
    outputs: Sequence[Floats],
    before: Sequence[Floats] | None,
    ids: NDArray[np.int64],
    features: Sequence[Feature],
    *,
    shifts: int,
    seed: int,
) -> list[Scores]:
    rng = np.random.default_rng(seed)
    units = rank_units(outputs, ids)
    untrained = None if before is None else rank_units(before, ids)
    return [score_feature(feature, units, untrained, count=shifts, rng=rng) for feature in features]


def _choose_excerpt(ids: NDArray[np.int64], vocabulary: Vocabulary, *, units: int) -> tuple[int, int]:
    """Return the start and the length of the excerpt: from the first line that begins after a quarter of the text."""
    shortest, longest = EXCERPT
    length = min(max(EXCERPT_VALUES // units, shortest), longest)
    quarter = len(ids) // 4
    breaks = [index for index, glyph in enumerate(vocabulary.glyphs) if glyph == "\n"]
    after = np.flatnonzero(np.isin(ids[quarter:], breaks))
    start = quarter + (int(after[0]) + 1 if len(after) else 0)
    return max(0, min(start, len(ids) - length)), length


def _layers(excerpt: Sequence[Floats], scores: Sequence[Scores]) -> tuple[LayerOutputs, ...]:
    widths = [output.shape[1] for output in excerpt]
    strengths = np.array([np.where(found.is_beyond_chance, found.strength, 0) for found in scores])
    strengths = strengths if len(scores) else np.zeros((1, sum(widths)))
    best = strengths.argmax(0)
    highest = strengths.max(0)
    names = [scores[index].feature.name if high else None for index, high in zip(best, highest, strict=True)]
    borders = np.cumsum(widths)[:-1]
    return tuple(
        LayerOutputs(
            layer=layer,
            values=np.asarray(np.round(output.astype(np.float64), 2), np.float64),
            features=tuple(names[sum(widths[:layer]) : sum(widths[: layer + 1])]),
            strengths=part,
        )
        for layer, (output, part) in enumerate(zip(excerpt, np.split(highest, borders), strict=True))
    )
