"""One run on several machines: the chief runs the training loop, the others do what it tells them.

The engine of the chief sends a command before each of its methods that all machines must take part in. `follow` obeys
these commands on another machine, which reads the same steps from its own copy of the text. The answer to a command
tells the chief of a signal that came to another machine. So the loop, the clock and every file are the chief's alone.

Axes: B batch, K steps in one call.
"""

from collections.abc import Iterable
from enum import IntEnum
from signal import Signals

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.engine.distribution import Machines
from charlm.engine.keras_engine import KerasEngine
from charlm.text.batches import Batches
from charlm.text.corpus import Corpus
from charlm.training.cluster import Followed
from charlm.training.engine import StepMetrics, Tensors
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session
from charlm.training.steps import WindowReader

NO_RATES = np.zeros(0, np.float32)
WORD = 1 << 31
"""A count is sent as two numbers below this."""


class Command(IntEnum):
    """What all machines do next."""

    RESTORE = 0
    BUILD = 1
    STEPS = 2
    TENSORS = 3
    END = 4


class Commander:
    """Sends the commands of the chief.

    Args:
        machines: The machines of the cluster; this is the chief.
        session: Records a signal that another machine has received.
        steps_per_call: The most steps of a call.

    """

    def __init__(self, machines: Machines, session: Session, *, steps_per_call: int) -> None:
        self.machines, self._session, self._steps_per_call = machines, session, steps_per_call

    def send(self, command: Command, *, first: int = 0, rates: NDArray[np.float32] = NO_RATES) -> None:
        """Send a command to the others, and record a signal that one of them has received.

        Args:
            command: What they do next.
            first: For STEPS, the number of steps before the first of these; for END, the exit code.
            rates: For STEPS, the learning rate of each step, float32 [K].

        Raises:
            WorkerLostError: one of them is lost.

        """
        head = np.array([command, *divmod(first, WORD), len(rates)], np.int32)
        padding = np.zeros(self._steps_per_call - len(rates), np.int32)
        words = np.concatenate([head, np.asarray(rates, np.float32).view(np.int32), padding])
        received = [int(answer) for answer in self.machines.exchange(words)[1:, 0] if answer]
        if received and self._session.signal is None:
            self._session.signal = Signals(received[0])

    def end(self, how: Followed) -> None:
        """Tell the others that the run has ended, and how."""
        self.send(Command.END, first=how.exit_code)
        self.machines.broadcast(how.reason.encode())


class LeaderEngine(KerasEngine):
    """The engine of the chief; implements `charlm.training.engine.Engine`.

    Args:
        config: Every setting.
        batches: How the text is cut into windows.
        vocabulary_size: V, the number of ids.
        precision: The precision of matrix products, float32 or bfloat16.
        commander: Sends commands to the other machines.

    """

    def __init__(
        self, config: Config, batches: Batches, *, vocabulary_size: int, precision: str, commander: Commander
    ) -> None:
        super().__init__(
            config, batches, vocabulary_size=vocabulary_size, precision=precision, machine=commander.machines
        )
        self._commander, self._are_others_alike = commander, False

    def build(self, lengths: Iterable[int]) -> None:
        """Give all machines the same state, if that was not done, and build the graphs of a step on each."""
        if not self._are_others_alike:
            self.restore(self.first_tensors())
        self._commander.send(Command.BUILD)
        super().build(lengths)

    def restore(self, tensors: Tensors) -> None:
        """Restore what `tensors` returned on all machines."""
        self._commander.send(Command.RESTORE)
        self._commander.machines.broadcast(
            safetensors.numpy.save({name: np.asarray(value) for name, value in tensors.items()})
        )
        self._are_others_alike = True
        super().restore(tensors)

    def take_steps(
        self,
        windows: NDArray[np.int32],
        rates: NDArray[np.float32],
        *,
        reset_state: bool,
        soft_targets: NDArray[np.float16] | None = None,
    ) -> StepMetrics:
        """Take K steps of training on all machines; see `KerasEngine.take_steps`."""
        self._commander.send(Command.STEPS, first=self.steps_taken, rates=rates)
        return super().take_steps(windows, rates, reset_state=reset_state, soft_targets=soft_targets)

    def tensors(self) -> Tensors:
        """Return a copy of everything that decides the next step, with the rows of all machines."""
        self._commander.send(Command.TENSORS)
        return super().tensors()


def follow(engine: KerasEngine, machines: Machines, corpus: Corpus, *, session: Session) -> Followed:
    """Do what the chief tells until the run ends.

    Args:
        engine: The engine of this machine.
        machines: The machines of the cluster; this is not the chief.
        corpus: Its own copy of the text.
        session: A signal that it records is passed on to the chief, which ends the run.

    Returns:
        How the run has ended.

    Raises:
        WorkerLostError: the chief or another machine is lost.
        CharlmError: the text cannot be read.

    """
    schedule = make_schedule(engine.settings, engine.batches)
    read_windows = WindowReader(corpus, schedule, engine.rows)
    while True:
        answer = np.zeros(4 + engine.settings.steps_per_call, np.int32)
        answer[0] = session.signal or 0
        message = machines.exchange(answer)[0]
        first, count = int(message[1]) * WORD + int(message[2]), int(message[3])
        match Command(message[0]):
            case Command.RESTORE:
                engine.restore(safetensors.numpy.load(machines.broadcast(b"")))
            case Command.BUILD:
                engine.build(schedule.lengths)
            case Command.STEPS:
                rates = message[4 : 4 + count].view(np.float32)
                engine.take_steps(read_windows(first, count), rates, reset_state=schedule.resets_state_at(first))
            case Command.TENSORS:
                engine.tensors()
            case Command.END:
                return Followed(machines.broadcast(b"").decode(), first)
