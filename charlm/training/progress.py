"""How far a run is: the counters of the training loop, which a checkpoint keeps besides the tensors.

`ProgressFile` is what the progress.json of a checkpoint may hold: the type and the range of every field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charlm.config.mistakes import demand
from charlm.config.schema import Config
from charlm.errors import CharlmError, shorten

MAX_COUNT = 1 << 53
"""The largest count in progress.json: a float holds every smaller one exactly."""


@dataclass
class Progress:
    """How far a run is; the only state of the training loop that is resumed.

    The names of the fields are part of the checkpoint format.
    """

    step: int = 0
    """The number of steps taken."""
    seconds: float = 0.0
    """The time of training alone, without evaluation and start-up."""
    elapsed_seconds: float = 0.0
    """The time since the first step, evaluations included, over all resumptions."""
    best_nats: float | None = None
    """The lowest loss on the validation text so far, in nats per character."""
    best_step: int = 0
    """The step of that loss."""
    evaluations_without_best: int = 0
    """The number of evaluations since that loss."""
    evaluated_step: int = 0
    """The step of the last complete evaluation; one that a signal cut short is repeated on resume."""
    pending_losses: list[float] = field(default_factory=list)
    """The losses of the steps since the last log line, in nats per character."""
    train_nats: float = 0.0
    """The training loss of the last log line, in nats per character."""
    last_norm: float = 0.0
    """The gradient norm of the last step, before clipping."""
    logged_seconds: float = 0.0
    """`seconds` at the last log line."""
    watched_losses: list[float] = field(default_factory=list)
    """The losses of the steps since the mean loss was last compared with the lowest, in nats per character."""
    lowest_nats: float | None = None
    """The lowest mean training loss of `patience_steps` steps, in nats per character."""
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    """The line in metrics.jsonl for each rollback to a checkpoint."""


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RollbackFields(_Section):
    """The line in metrics.jsonl for a rollback; `charlm.training.divergence` writes it."""

    event: Literal["rollback"]
    step: Count
    split: None
    nats_per_char: float | None
    from_step: Count
    rate_scale: Annotated[float, Field(ge=0, le=1)]
    reason: Annotated[str, Field(max_length=10_000)]


class ProgressFields(_Section):
    """The fields of `Progress`; one that is missing has its default there."""

    step: Count
    seconds: Seconds = 0.0
    elapsed_seconds: Seconds = 0.0
    best_nats: float | None = None
    best_step: Count = 0
    evaluations_without_best: Count = 0
    evaluated_step: Count = 0
    pending_losses: list[float] = []
    train_nats: float = 0.0
    last_norm: float = 0.0
    logged_seconds: Seconds = 0.0
    watched_losses: list[float] = []
    lowest_nats: float | None = None
    rollbacks: list[RollbackFields] = []


class ProgressFile(_Section):
    """What a progress.json holds."""

    format: int
    versions: dict[str, str | None]
    parts: Annotated[int, Field(ge=1, le=1024)]
    config: Config | None = None
    corpus: dict[str, Any] | None = None
    progress: ProgressFields
    file_sizes: dict[str, Annotated[int, Field(ge=0, lt=1 << 63)]]
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]

    def to_progress(self) -> Progress:
        """Return the progress, with the defaults of the fields that are missing."""
        return Progress(**self.progress.model_dump(exclude_unset=True))


def check_progress_file(contents: Mapping[str, Any], *, origin: str) -> ProgressFile:
    """Return the contents of a progress.json.

    Args:
        contents: Its JSON.
        origin: What the message of an error starts with.

    Raises:
        CharlmError: a field is missing, unknown, of another type or out of range.

    """
    try:
        return ProgressFile.model_validate(contents)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        found = shorten(first["input"])
        raise CharlmError(f"{origin}: damaged: {shorten(key)[1:-1]}: found {found}; {demand(first)}") from None
