"""Answers to unknown names of settings."""

import pytest

from charlm.config.file import nearest_key
from charlm.config.schema import Config


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("unit", "model.units"),
        ("UNITS", "model.units"),
        ("batch", "training.batch_size"),
        ("model.rnn.drop_out", "model.rnn.dropout"),
        ("optimiser", "training.optimizer.name"),
        ("training.schedule.warmup_step", "training.schedule.warmup_steps"),
        ("modell", "model"),
        ("xyzzy", None),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(name: str, meant: str | None) -> None:
    assert nearest_key(name, Config) == meant
