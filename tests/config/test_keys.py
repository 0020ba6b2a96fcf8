"""The settings by dotted keys, as completion knows them."""

import pytest

from charlm.config.file import flatten
from charlm.config.keys import known_values, read_settings
from charlm.config.schema import ACTIVATIONS, Config, EarlyStoppingConfig, TrainingConfig

SETTINGS = read_settings()


def test_every_setting_is_known_and_nothing_else() -> None:
    config = Config(training=TrainingConfig(epochs=1, early_stopping=EarlyStoppingConfig()))
    assert {*SETTINGS} == {*flatten(config)}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.rnn.activation", list(ACTIVATIONS)),
        ("training.shuffle", ["true", "false"]),
        ("model.embedding", ["null"]),
        ("model.units", []),
        ("corpus.encoding", []),
    ],
)
def test_the_words_that_a_setting_can_have_are_known(key: str, words: list[str]) -> None:
    assert known_values(SETTINGS[key]) == words
