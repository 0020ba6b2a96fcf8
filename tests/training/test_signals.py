"""Signals: recorded, or raised at once."""

import contextlib
import signal
from collections.abc import Iterator

import pytest

from charlm.training.signals import CAUGHT, Interruption, Stopped, stop_on_signal


@pytest.fixture(autouse=True)
def hangup_is_not_ignored() -> Iterator[None]:
    """Give SIGHUP its default action during a test: under nohup it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_is_raised_at_once_unless_it_is_deferred(number: signal.Signals) -> None:
    with (
        stop_on_signal(Interruption()),
        pytest.raises(Stopped, match=f"stopped by {number.name}") as stopped,
    ):
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number


@pytest.mark.parametrize("number", CAUGHT)
def test_a_deferred_signal_is_recorded(number: signal.Signals) -> None:
    interruption = Interruption()
    with stop_on_signal(interruption), interruption.deferred():
        assert interruption.signal is None
        signal.raise_signal(number)
        assert interruption.signal == number


@pytest.mark.parametrize("number", CAUGHT)
def test_a_second_signal_is_raised_although_signals_are_deferred(number: signal.Signals) -> None:
    interruption = Interruption()
    with stop_on_signal(interruption), interruption.deferred():
        signal.raise_signal(number)
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)
    assert interruption.signal == signal.SIGINT


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_after_stopped_was_raised_disturbs_no_cleaning_up(number: signal.Signals) -> None:
    cleaned_up: list[bool] = []

    def clean_up() -> None:
        """Clean up while another signal comes."""
        signal.raise_signal(number)
        cleaned_up.append(True)

    def stop() -> None:
        """Send a signal, and clean up."""
        with contextlib.ExitStack() as stack:
            stack.callback(clean_up)
            signal.raise_signal(signal.SIGTERM)

    with stop_on_signal(Interruption()), pytest.raises(Stopped, match="SIGTERM"):
        stop()
    assert cleaned_up == [True]


def test_a_signal_after_a_stop_that_was_withstood_is_raised() -> None:
    interruption = Interruption()
    with stop_on_signal(interruption):
        with pytest.raises(Stopped, match="SIGINT"):
            signal.raise_signal(signal.SIGINT)
        interruption.withstand()
        with pytest.raises(Stopped, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)


def test_a_block_at_once_can_be_interrupted_inside_a_deferred_block() -> None:
    interruption = Interruption()
    with stop_on_signal(interruption), interruption.deferred():
        with pytest.raises(Stopped), interruption.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert interruption.is_deferred


def fail(*numbers: signal.Signals) -> None:
    """Raise an error after some signals."""
    try:
        for number in numbers:
            signal.raise_signal(number)
    finally:
        raise AssertionError("Concurrent access?")


def test_an_error_after_a_signal_becomes_stopped() -> None:
    interruption = Interruption()
    with stop_on_signal(interruption), pytest.raises(Stopped), interruption.at_once():
        fail(signal.SIGTERM)


def test_an_error_without_a_signal_stays_what_it_is() -> None:
    interruption = Interruption()
    with stop_on_signal(interruption), pytest.raises(AssertionError), interruption.at_once():
        fail()


def test_an_ignored_hangup_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interruption = Interruption()
    with stop_on_signal(interruption):
        signal.raise_signal(signal.SIGHUP)
    assert interruption.signal is None
