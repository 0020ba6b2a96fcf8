"""Texts that nobody would write: every part that reads a text still returns finite numbers for it."""

import math

import numpy as np
import pytest
from inspection.networks import states_of
from inspection.reports import numbers_in
from models import random_parameters

from charlm.evaluation.baselines import baseline_nats
from charlm.evaluation.scoring import score_stream
from charlm.inspection.fixed_points import find_fixed_points
from charlm.inspection.surprise import divide_loss
from charlm.inspection.units import score_units
from charlm.text.vocabulary import Vocabulary

BYTES = Vocabulary((*map(chr, range(256)), None), end_of_text_id=256)
RESERVED = Vocabulary(characters=(None, "a", None), unknown_id=0, end_of_text_id=2)
CONTROLS = Vocabulary(characters=tuple("\x00\x07\x1b\u200f\u202e\u0301\ud7ff\U0010ffff"))
ONE = Vocabulary(characters=("\u202e",))

TEXTS = {
    "two characters": (ONE, np.zeros(2, np.uint8)),
    "one character 300 times": (ONE, np.zeros(300, np.uint8)),
    "every byte and the end of the text": (BYTES, np.arange(257, dtype=np.uint16)),
    "reserved ids": (RESERVED, np.tile(np.array([0, 2, 0, 1], np.uint8), 75)),
    "controls, a mark and the last code point": (CONTROLS, np.random.default_rng(0).integers(0, 8, 300)),
}


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("vocabulary", "ids"), TEXTS.values(), ids=TEXTS)
def test_every_number_is_finite(vocabulary: Vocabulary, ids: np.ndarray, activation: str) -> None:
    parameters = random_parameters(vocabulary_size=len(vocabulary), layers=2, units=6, activation=activation, scale=0.3)
    nats = np.concatenate([*score_stream(parameters, ids)])
    states = states_of(parameters, ids)
    parts = (
        score_units(states, ids, vocabulary, shifts=5),
        find_fixed_points(parameters, ids, states),
        divide_loss(nats, ids, vocabulary, ngram_nats=nats, ngram_order=2),
        baseline_nats(ids, vocabulary, ids),
    )
    for part in parts:
        found = [*numbers_in(part)]
        assert found
        assert all(math.isfinite(number) for number in found)
