"""The mixture of networks, n-gram counts and the longest match: a distribution that never looks ahead."""

import numpy as np
import pytest
from numpy.typing import NDArray

from charlm.evaluation.mixture import Counts, Match, Mixture, mix

V = 5
RNG = np.random.default_rng(0)
TRAINING = RNG.integers(0, V, 200)
IDS = np.concatenate([TRAINING[:60], RNG.integers(0, V, 60)])
LOGITS = 2 * RNG.standard_normal((2, len(IDS) - 1, V)).astype(np.float32)


def score(ids: NDArray[np.int64], *, logits: NDArray[np.float32] = LOGITS) -> NDArray[np.float32]:
    """Return the nats of ids 1 to n - 1; each network gives its logits in two blocks."""
    streams = [np.split(stream[: len(ids) - 1], [7]) for stream in logits]
    return np.concatenate(list(mix(streams, ids, vocabulary_size=V, training_ids=TRAINING)))


def test_the_probabilities_of_all_ids_sum_to_one_at_every_id() -> None:
    mixture = Mixture(V, networks=1, training_ids=TRAINING)
    for logits, target in zip(LOGITS[0], IDS[1:].tolist(), strict=True):
        log_probabilities = logits - np.log(np.exp(logits).sum())
        logs = mixture.log_probabilities([log_probabilities])
        np.testing.assert_allclose(np.exp(logs).sum(-1), 1, atol=1e-5)
        found = mixture.mix(logs)
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)
        mixture.update(target, logs, found)


@pytest.mark.parametrize("place", [1, 30, 90])
def test_a_score_does_not_depend_on_later_ids(place: int) -> None:
    changed = IDS.copy()
    changed[place + 1 :] = (changed[place + 1 :] + 1) % V
    np.testing.assert_array_equal(score(changed)[:place], score(IDS)[:place])
    assert not np.array_equal(score(changed), score(IDS))


def test_the_first_score_is_that_of_the_mean_of_the_networks() -> None:
    mean = LOGITS[:, 0].astype(np.float64).mean(0)
    assert score(IDS[:2])[0] == pytest.approx(np.log(np.exp(mean).sum()) - mean[IDS[1]], rel=1e-6)


def test_the_weights_follow_the_gradient_of_the_score() -> None:
    ids, difference = IDS[:2], 1e-6
    mixture = Mixture(V, networks=2, training_ids=TRAINING)
    mixture.learn(int(ids[0]))
    rows = [row - np.log(np.exp(row).sum()) for row in LOGITS[:, 0].astype(np.float64)]
    logs, weights, after = mixture.log_probabilities(rows), mixture.weights.copy(), mixture.weights_after.copy()
    found, slopes = mixture.mix(logs), []
    for index in range(len(weights)):
        mixture.weights[index] += difference
        slopes.append((mixture.mix(logs) - found)[ids[1]] / difference)
        mixture.weights[index] -= difference
    mixture.update(int(ids[1]), logs, found)
    after[ids[0]] += 5e-4 * np.array(slopes)
    np.testing.assert_allclose(mixture.weights - weights, 5e-4 * np.array(slopes), atol=5e-9)
    np.testing.assert_allclose(mixture.weights_after, after, atol=5e-9)


def test_networks_that_know_nothing_are_left_behind_on_a_text_that_repeats_itself() -> None:
    ids = np.tile(TRAINING[:40], 30)
    nats = score(ids, logits=np.zeros((1, len(ids), V), np.float32))
    assert nats[:40].mean() == pytest.approx(np.log(V), abs=0.3)
    assert nats[-200:].mean() < 0.5 * np.log(V)


def test_counts_are_interpolated_with_the_next_lower_order() -> None:
    counts, read = Counts(3, orders=(1, 2)), [0, 1]
    for index in (2, 2, 0):
        counts.update(read, index)
    lower = np.array([0.4, 0, 1.4]) / 3 + 1.2 / 3 / 3
    upper = np.array([0.4, 0, 1.4]) / 3 + 1.2 / 3 * lower
    for found, expected in zip(counts.predict(read), (lower, upper), strict=True):
        np.testing.assert_allclose(found, expected)


def test_the_longest_match_predicts_what_followed_it() -> None:
    match, read = Match(V), list[int]()
    for index in [*range(V), *range(V), 3, *range(V), *range(V)]:
        read.append(index)
        match.update(read, index)
    found = match.predict(read)
    assert found.argmax() == 3
    assert found.sum() == pytest.approx(1)
