"""Signals, which end a program immediately, or after the present step."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from charlm.errors import CAUGHT, CharlmError
from charlm.runs.session import Interruption, Stopped, stop_on_signal

each_signal = pytest.mark.parametrize("number", CAUGHT)


@pytest.fixture(autouse=True)
def default_actions() -> Iterator[None]:
    """Give the signals their default action during a test; nohup, for instance, ignores SIGHUP."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in CAUGHT}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    """Catch signals during a test."""
    caught = Interruption()
    with stop_on_signal(caught):
        yield caught


@pytest.mark.usefixtures("interruption")
@each_signal
def test_a_signal_is_raised_unless_it_is_deferred(number: signal.Signals) -> None:
    said = f"stopped by {number.name} before training; nothing was saved"
    with pytest.raises(Stopped, match=said) as stopped:
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number


@each_signal
def test_a_deferred_signal_is_recorded(number: signal.Signals, interruption: Interruption) -> None:
    interruption.is_deferred = True
    assert interruption.signal is None
    signal.raise_signal(number)
    assert interruption.signal == number


@each_signal
def test_a_second_signal_is_raised_although_signals_are_deferred(
    number: signal.Signals, interruption: Interruption
) -> None:
    interruption.is_deferred = True
    signal.raise_signal(number)
    with pytest.raises(Stopped, match=r"^stopped by SIGINT$"):
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


def fail(
    error: Exception,
    interruption: Interruption,
    *signals: signal.Signals,
) -> None:
    """Raise an error after some signals, of which the second raises Stopped."""
    interruption.is_deferred = True
    try:
        for number in signals:
            signal.raise_signal(number)
    except Stopped:
        raise error from None
    raise error


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("error", [CharlmError("full"), ZeroDivisionError()], ids=repr)
def test_an_error_after_a_signal(error: Exception, count: int) -> None:
    """Code that is interrupted may raise an error of its own, but a CharlmError always counts."""
    is_interrupted = count == 2 and not isinstance(error, CharlmError)
    interruption = Interruption()
    expected = Stopped if is_interrupted else type(error)
    with pytest.raises(expected), stop_on_signal(interruption):
        fail(error, interruption, *count * [signal.SIGTERM])


@each_signal
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    interruption = Interruption()
    with stop_on_signal(interruption):
        signal.raise_signal(number)
    assert interruption.signal is None
