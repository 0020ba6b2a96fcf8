"""How far a run is: the counters of the training loop, which a checkpoint keeps besides the tensors."""

from dataclasses import dataclass, field
from typing import Any


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
