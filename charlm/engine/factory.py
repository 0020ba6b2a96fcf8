"""Makes the engines of a program, once it is known how many machines there are; TensorFlow starts with the first."""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.config.file import parse_config
from charlm.config.schema import Config
from charlm.engine import runtime
from charlm.engine.cluster import Cluster, check_agreement, facts_to_agree_on
from charlm.engine.kernel import settle_kernel
from charlm.hardware import multiplies_bfloat16
from charlm.runs.run import files_to_resume
from charlm.storage.files import writing
from charlm.text.batches import Batches
from charlm.text.corpus import Corpus
from charlm.training.interface import EngineFactory
from charlm.training.signals import Session

if TYPE_CHECKING:
    from charlm.engine.distribution import Machines
    from charlm.engine.keras_engine import KerasEngine


class KerasEngines(EngineFactory):
    """Makes engines in Keras; implements `charlm.training.interface.EngineFactory`.

    Args:
        session: The user of the training.
        connection: The other machines; None = there are none.

    """

    def __init__(self, session: Session, connection: "Machines | None" = None) -> None:
        self._session, self._connection = session, connection
        self.machines = 1 if connection is None else connection.count
        self.is_chief = connection is None or connection.task == 0
        """Whether the run is kept in the folder of this machine."""

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int) -> "KerasEngine":
        """Return an engine with newly drawn weights."""
        if self._connection is None and not runtime.start():
            self._session.say("TensorFlow was used before in this program and keeps its threads: training is slower")
        from charlm.engine.keras_engine import KerasEngine

        return KerasEngine(config, batches, vocabulary_size=vocabulary_size, machine=self._connection)

    def settle(self, config: Config, *, say: Callable[[str], None], is_recorded: bool) -> Config:
        """Return the config with the kernel and the precision that this machine trains with."""
        training = config.training
        if training.precision == "bfloat16" and not multiplies_bfloat16():
            consequence = "continuing in float32, so results will not be bit-identical"
            say(f"training.precision: no bfloat16 here; {consequence if is_recorded else 'training in float32'}")
            training = training.model_copy(update={"precision": "float32"})
        return settle_kernel(config.model_copy(update={"training": training}), say=say, is_recorded=is_recorded)

    def agree(self, config: Config, corpus: Corpus) -> Config:
        """Return the config of the chief, once it is known that all machines would train the same."""
        if self._connection is None:
            return config
        facts = json.dumps(facts_to_agree_on(config, corpus)).encode()
        everyones = [json.loads(found) for found in self._connection.exchange(facts)]
        check_agreement(self._connection.cluster, everyones)
        return parse_config(everyones[0]["config"], origin=self._connection.cluster.name(0))

    def share(self, value: int) -> int:
        """Return the number that the chief has passed."""
        return value if self._connection is None else int(self._connection.share(str(value).encode()))

    def copy_run(self, folder: Path) -> None:
        """Give the other machines what a resume of the chief's run needs of its folder.

        Args:
            folder: On the chief the run, on the others a folder to write.

        Raises:
            CharlmError: a file cannot be read or written, or another machine is lost or has failed.

        """
        if self._connection is None:
            return
        names = json.loads(self._connection.share(json.dumps(files_to_resume(folder)).encode()))
        for name in names:
            path = folder / name
            with writing(path):
                data = self._connection.share(path.read_bytes() if self.is_chief else b"")
                if not self.is_chief:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)


@contextlib.contextmanager
def start_engines(session: Session, cluster: Cluster | None = None) -> Iterator[KerasEngines]:
    """Return what makes the engines of a program; several machines are connected for the length of a block.

    Args:
        session: The user of the training.
        cluster: The machines; None = this one alone.

    Raises:
        CharlmError: the address of this machine cannot be used, or another one is lost, never came or has failed.

    """
    if cluster is None:
        yield KerasEngines(session)
        return
    connection = _connect(cluster, session)
    try:
        yield KerasEngines(session, connection)
    except BaseException as error:
        connection.close(error)
        raise
    connection.close()


def _connect(cluster: Cluster, session: Session) -> "Machines":
    """Start TensorFlow with the other machines.

    Ctrl-C ends the program while it waits for them; TensorFlow's own handler of SIGTERM is replaced by the one before.
    """
    connections: list[Machines] = []

    def connect() -> None:
        """Connect; the modules of the engine can be imported only now."""
        from charlm.engine.distribution import Machines

        connections.append(Machines(cluster, session))

    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        runtime.start(connect)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return connections[0]
