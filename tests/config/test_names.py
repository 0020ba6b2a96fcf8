"""Answers to unknown names of settings."""

import pytest

from charlm.config.file import ALIASES, NO_GATES, NO_GPU, meaning
from charlm.config.schema import Config, walk


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "training.optimizer.learning_rate"),
        ("LR", "training.optimizer.learning_rate"),
        ("hidden_size", "model.units"),
        ("batch", "training.batch_size"),
        ("max_iters", "training.steps"),
        ("seq_len", "training.sequence_length"),
        ("model.dropout", "model.layer_dropout"),
        ("model.rnn.drop_out", "model.rnn.dropout"),
        ("optimiser", "training.optimizer.name"),
        ("training.schedule.nam", "training.schedule.name"),
        ("modell", "model"),
        ("gpu", NO_GPU),
        ("model.cell", NO_GATES),
        ("xyzzy", None),
    ],
)
def test_an_unknown_name_has_a_meaning(name: str, meant: str | None) -> None:
    assert meaning(name) == meant


def test_an_exact_meaning_needs_the_whole_name() -> None:
    assert meaning("units", similarity=1.0) == "model.units"
    assert meaning("unit", similarity=1.0) is None


def test_the_key_of_an_alias_exists() -> None:
    keys = {key for key, _ in walk(Config)}
    settings = {meant for meant in ALIASES.values() if "." in meant}
    assert settings <= keys
    assert len(ALIASES) <= 12
