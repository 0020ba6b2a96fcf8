"""What a run advises its user to do, from its length, its learning rate and its losses in nats per character."""

from charlm.training.display import duration
from charlm.training.progress import Progress
from charlm.training.schedule import ENOUGH_EVALUATIONS, Schedule, enough_evaluations

LONG_SECONDS = 900.0
"""A run that takes longer should be what the user wants."""
LOW_SHARE = 0.5
"""If the last learning rate is a smaller share of the present one, most of the gain is still to come."""
CLOSE_NATS, FAR_NATS = 0.05, 0.3
"""The training loss counts as close to the validation loss, or as far below it."""


def advise_on_time(seconds_left: float) -> list[str]:
    """Return lines for the user on how long a run takes, and on what to do if that is long."""
    lines = [f"about {duration(seconds_left)} to go"]
    if seconds_left > LONG_SECONDS:
        lines.append("Ctrl-C stops the run and saves it; --minutes 10 fits one into less time")
    return lines


def advise_on_evaluations(schedule: Schedule) -> str | None:
    """Return a line for the user if a run has so few evaluations that the best network may be far from each of them."""
    every, count = enough_evaluations(schedule.total), -(-schedule.total // schedule.evaluate_every)
    if every >= schedule.evaluate_every:
        return None
    evaluations = "1 evaluation" if count == 1 else f"{count} evaluations"
    return f"best/ is from {evaluations}; for {ENOUGH_EVALUATIONS}: -s training.evaluate_every={every}"


def advise_on_rate(rate: float, last_rate: float) -> str | None:
    """Return a line for the user if the learning rate has most of its fall before it.

    Args:
        rate: The present learning rate.
        last_rate: That of the last step.

    """
    if last_rate > LOW_SHARE * rate:
        return None
    return "the learning rate is still high: most of the gain comes late"


def advise_on_end(progress: Progress, *, split: str) -> list[str]:
    """Return lines for the user on what would help: another length, another network, or nothing.

    Args:
        progress: The progress at the end.
        split: The text that the best loss was measured on, validation or train.

    """
    best = progress.best_nats
    if split != "validation" or best is None:
        return []
    if 2 * progress.best_step <= progress.step:
        return [
            f"the best was at step {progress.best_step:,} of {progress.step:,}: the text is small for this recipe;",
            "use fewer training.epochs or model.units, more dropout, or early stopping",
        ]
    losses = f"training loss {progress.train_nats:.3f}, validation loss {best:.3f}"
    if progress.train_nats < best - FAR_NATS:
        return [f"{losses}: much is learnt by heart;", "more dropout or fewer model.units may help"]
    if progress.best_step == progress.step and progress.train_nats > best - CLOSE_NATS:
        return [f"{losses}: little is learnt by heart;", "more training.epochs or model.units would help"]
    return []
