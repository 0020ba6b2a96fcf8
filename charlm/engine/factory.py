"""Makes the engines of a program, once it is known how many workers there are; TensorFlow starts with the first."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from charlm.config.schema import Config
from charlm.engine import runtime
from charlm.engine.resolving import resolve_kernel, resolve_precision
from charlm.errors import CharlmError
from charlm.events import EngineStarting, OnEvent, ThreadsKept, WaitingForWorkers
from charlm.text.batches import Batches
from charlm.training.interface import EngineFactory
from charlm.training.session import Session
from charlm.training.workers import Workers

if TYPE_CHECKING:
    from charlm.engine.keras_engine import KerasEngine


class KerasEngines(EngineFactory):
    """Makes engines in Keras; implements `charlm.training.interface.EngineFactory`.

    Args:
        session: The user of the training.
        workers: The workers that share each batch.

    """

    def __init__(self, session: Session, workers: Workers | None = None) -> None:
        self._session, self.workers = session, workers or Workers()

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int) -> "KerasEngine":
        """Return an engine with newly drawn weights."""
        if not runtime.is_loaded():
            self._session.on_event(EngineStarting())
        if not runtime.start():
            self._session.on_event(ThreadsKept())
        from charlm.engine.keras_engine import KerasEngine

        return KerasEngine(config, batches, vocabulary_size=vocabulary_size, workers=self.workers)

    def resolve(self, config: Config, *, on_event: OnEvent, is_recorded: bool) -> Config:
        """Return the config with the kernel and the precision that this machine trains with."""
        config = resolve_precision(config, on_event=on_event, is_recorded=is_recorded)
        return resolve_kernel(config, on_event=on_event, is_recorded=is_recorded)


class _Task(BaseModel):
    type: Literal["worker"]
    index: int = Field(ge=0)


class _TfConfig(BaseModel):
    cluster: dict[Literal["worker"], list[Annotated[str, Field(pattern=r"^\S+:\d{1,5}$")]]] = Field(
        min_length=1
    )
    task: _Task


def read_tf_config(variables: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return how many workers the variable TF_CONFIG names, and which of them this is; 1 and 0 if it is not set.

    Raises:
        CharlmError: the variable is not JSON of the one form that is taken.

    """
    text = variables.get("TF_CONFIG", "")
    if not text.strip():
        return 1, 0
    with contextlib.suppress(ValidationError):
        found = _TfConfig.model_validate_json(text)
        workers = found.cluster["worker"]
        if found.task.index < len(workers):
            return len(workers), found.task.index
    raise CharlmError(
        'TF_CONFIG: must be {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}, '
        "with N from 0 to the number of workers less 1"
    )


@contextlib.contextmanager
def connected_engines(session: Session) -> Iterator[KerasEngines]:
    """Return what makes the engines of a training, for a block; the workers of TF_CONFIG are connected before.

    Args:
        session: The user of the training.

    Raises:
        CharlmError: TF_CONFIG is not valid, the address of this worker cannot be used, TensorFlow has been used
            before in this program, or another worker is lost in the block.

    """
    count, index = read_tf_config()
    if count == 1:
        yield KerasEngines(session)
        return
    session.on_event(WaitingForWorkers(index, count - 1))
    _start_with_others(count, index)
    from charlm.engine.workers import LOST, connect

    try:
        yield KerasEngines(session, connect(count, index))
    except LOST:
        raise CharlmError(
            "TF_CONFIG: another worker has ended or does not answer; it may say why; resume the run to continue it "
            "from its last checkpoint"
        ) from None


def _start_with_others(count: int, index: int) -> None:
    """Start TensorFlow with the other workers.

    Ctrl-C ends the program while it waits for them; TensorFlow's own handler of SIGTERM is replaced by the one before.
    """
    before = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        if not runtime.start(count, index):
            raise CharlmError(
                "TF_CONFIG: this program has used TensorFlow before; connect the workers first"
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
