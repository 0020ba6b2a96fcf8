"""A network that does not fit into the memory is refused if the memory is known."""

import pytest

from charlm.config.schema import Config, ModelConfig, OptimizerConfig, TrainingConfig
from charlm.errors import CharlmError
from charlm.training.memory import check_memory

WEIGHTS = (3 * 2 + 2 * 2 + 2) + (2 * 3 + 3)


def config(optimizer: str = "adam") -> Config:
    return Config(
        model=ModelConfig(units=2), training=TrainingConfig(epochs=1, optimizer=OptimizerConfig(name=optimizer))
    )


@pytest.mark.parametrize(("optimizer", "numbers"), [("adam", 4), ("AdamW", 4), ("sgd", 2)])
def test_a_network_that_just_fits_is_accepted_and_with_a_byte_less_it_is_refused(optimizer: str, numbers: int) -> None:
    check_memory(config(optimizer), 3, available_bytes=4 * numbers * WEIGHTS)
    with pytest.raises(CharlmError, match=f"^model: {WEIGHTS} weights; training them with {optimizer} needs"):
        check_memory(config(optimizer), 3, available_bytes=4 * numbers * WEIGHTS - 1)


def test_the_error_says_how_much_memory_is_needed_and_available() -> None:
    large = Config(model=ModelConfig(units=20_000))
    with pytest.raises(CharlmError, match=r"at least 6\.4 GB of memory, and there is 2\.0 GB: lower model\.units"):
        check_memory(large, 3, available_bytes=2_000_000_000)


def test_nothing_is_refused_if_the_memory_is_not_known() -> None:
    check_memory(Config(model=ModelConfig(units=60_000)), 3, available_bytes=None)
