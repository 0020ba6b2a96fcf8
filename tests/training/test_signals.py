"""Signals: recorded, or raised at once."""

import signal
from collections.abc import Iterator

import pytest

from charlm.training.signals import CAUGHT, Session, Stopped, stop_on_signal


@pytest.fixture(autouse=True)
def hangup_is_not_ignored() -> Iterator[None]:
    """Give SIGHUP its default action during a test: under nohup it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_is_raised_at_once_unless_it_is_deferred_and_the_first(number: signal.Signals) -> None:
    with stop_on_signal(Session()), pytest.raises(Stopped, match=f"stopped by {number.name}") as stopped:
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number
    with stop_on_signal(Session()) as request, request.deferred():
        assert request.signal is None
        signal.raise_signal(number)
        assert request.signal == number
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)
    assert request.signal == signal.SIGINT


def test_a_block_at_once_can_be_interrupted_inside_a_deferred_block() -> None:
    with stop_on_signal(Session()) as request, request.deferred():
        with pytest.raises(Stopped), request.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert request.is_deferred


def fail(*numbers: signal.Signals) -> None:
    """Raise an error after some signals."""
    try:
        for number in numbers:
            signal.raise_signal(number)
    finally:
        raise AssertionError("Concurrent access?")


def test_an_error_after_a_signal_becomes_stopped() -> None:
    with stop_on_signal(Session()) as request, pytest.raises(Stopped), request.at_once():
        fail(signal.SIGTERM)
    with stop_on_signal(Session()) as request, pytest.raises(AssertionError), request.at_once():
        fail()


def test_an_ignored_hangup_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_signal(Session()) as request:
        signal.raise_signal(signal.SIGHUP)
    assert request.signal is None
