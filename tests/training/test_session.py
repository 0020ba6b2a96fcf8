"""Signals, which end a program immediately, or after the present step."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from charlm.training.session import CAUGHT, Interruption, Stopped, stop_on_signal

each_signal = pytest.mark.parametrize("number", CAUGHT)


@pytest.fixture(autouse=True)
def hangup_is_not_ignored() -> Iterator[None]:
    """Give SIGHUP its default action during a test, since nohup ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    """Catch signals during a test."""
    caught = Interruption()
    with stop_on_signal(caught):
        yield caught


@pytest.mark.usefixtures("interruption")
@each_signal
def test_a_signal_is_raised_unless_it_is_deferred(number: signal.Signals) -> None:
    with pytest.raises(Stopped, match=f"stopped by {number.name}") as stopped:
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number


@each_signal
def test_a_deferred_signal_is_recorded(number: signal.Signals, interruption: Interruption) -> None:
    with interruption.deferred():
        assert interruption.signal is None
        signal.raise_signal(number)
    assert interruption.signal == number


@each_signal
def test_a_second_signal_is_raised_although_signals_are_deferred(
    number: signal.Signals, interruption: Interruption
) -> None:
    with interruption.deferred():
        signal.raise_signal(number)
        with pytest.raises(Stopped, match="SIGINT"):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("interruption")
def test_a_signal_does_not_disturb_the_cleaning_up_after_another() -> None:
    with contextlib.suppress(Stopped):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)


@each_signal
def test_the_program_handles_a_signal_itself_after_the_block(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signal(Interruption()):
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before


def test_outside_the_main_thread_signals_are_left_to_the_program() -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def run() -> None:
        with stop_on_signal(Interruption()):
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]


def fail(interruption: Interruption, *signals: signal.Signals) -> None:
    """Raise an error after some signals."""
    with interruption.deferred():
        for number in signals:
            signal.raise_signal(number)
    raise AssertionError("Concurrent access?")


def test_an_error_after_a_signal_becomes_stopped() -> None:
    """Code that is interrupted may raise an error of its own."""
    interruption = Interruption()
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signal(interruption):
        fail(interruption, signal.SIGTERM)


def test_an_error_without_a_signal_is_unchanged() -> None:
    interruption = Interruption()
    with pytest.raises(AssertionError), stop_on_signal(interruption):
        fail(interruption)


def test_an_ignored_hangup_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interruption = Interruption()
    with stop_on_signal(interruption):
        signal.raise_signal(signal.SIGHUP)
    assert interruption.signal is None
