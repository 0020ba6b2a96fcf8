"""A network larger than the memory is refused, where the memory is known."""

from pathlib import Path

import pytest

from charlm.config import Config, ModelConfig, OptimizerConfig, TrainingConfig
from charlm.errors import CharlmError
from charlm.training import memory
from charlm.training.memory import check_memory, memory_bytes

WEIGHTS = (3 * 2 + 2 * 2 + 2) + (2 * 3 + 3)


def config(optimizer: str = "adam") -> Config:
    return Config(
        model=ModelConfig(units=2), training=TrainingConfig(epochs=1, optimizer=OptimizerConfig(name=optimizer))
    )


@pytest.fixture
def grant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that says how much memory a container has."""
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path / "memory.max")
    return tmp_path / "memory.max"


@pytest.mark.parametrize(("optimizer", "numbers"), [("adam", 4), ("AdamW", 4), ("sgd", 2)])
def test_as_much_as_is_needed_at_least_will_do_and_a_byte_less_will_not(
    optimizer: str, numbers: int, grant: Path
) -> None:
    grant.write_text(f"{4 * numbers * WEIGHTS}\n")
    check_memory(config(optimizer), 3)
    grant.write_text(f"{4 * numbers * WEIGHTS - 1}\n")
    with pytest.raises(CharlmError, match=f"^model: {WEIGHTS} weights; training them with {optimizer} needs"):
        check_memory(config(optimizer), 3)


def test_the_message_says_how_much_is_needed_and_how_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2_000_000_000)
    large = Config(model=ModelConfig(units=20_000))
    with pytest.raises(CharlmError, match=r"at least 6\.4 GB of memory, and there is 2\.0 GB: lower model\.units"):
        check_memory(large, 3)


@pytest.mark.parametrize("text", [None, "max\n", ""])
def test_without_a_limit_of_a_container_the_machine_counts(text: str | None, grant: Path) -> None:
    if text is not None:
        grant.write_text(text)
    assert memory_bytes() == memory._physical_bytes()


def test_where_the_memory_is_not_known_nothing_is_refused(grant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_known(_: str) -> int:
        raise ValueError

    monkeypatch.setattr("charlm.training.memory.os.sysconf", not_known)
    assert memory_bytes() is None
    check_memory(Config(model=ModelConfig(units=60_000)), 3)
