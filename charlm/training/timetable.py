"""When what happens in a run: counted in steps, never by the clock, so that a run is repeatable."""

from dataclasses import dataclass

from charlm.batches import Batches
from charlm.config import TrainingConfig


@dataclass(frozen=True)
class Timetable:
    """The steps at which a run logs, evaluates, saves, begins an epoch and ends."""

    total: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    steps_per_epoch: int

    def logs_at(self, step: int) -> bool:
        """Return whether a line is logged after a step: also before every evaluation."""
        return step % self.log_every == 0 or self.evaluates_at(step)

    def evaluates_at(self, step: int) -> bool:
        """Return whether the network is evaluated after a step: not before the first, but after the last."""
        return step >= self.total or (step > 0 and step % self.evaluate_every == 0)

    def saves_at(self, step: int) -> bool:
        """Return whether a checkpoint is written after a step."""
        return step >= self.total or step % self.checkpoint_every == 0

    def steps_to_next_event(self, step: int) -> int:
        """Return after how many more steps something happens: 1 or more, before the last step."""
        periods = (self.log_every, self.evaluate_every, self.checkpoint_every, self.steps_per_epoch)
        return min(self.total - step, *(period - step % period for period in periods))


def make_timetable(settings: TrainingConfig, cut: Batches) -> Timetable:
    """Return the timetable of a run over a text that is cut like this."""
    return Timetable(
        total=total_steps(settings.epochs, settings.steps, cut),
        log_every=settings.log_every,
        evaluate_every=settings.evaluate_every,
        checkpoint_every=settings.checkpoint_every,
        steps_per_epoch=cut.steps_per_epoch,
    )


def total_steps(epochs: int | None, steps: int | None, cut: Batches) -> int:
    """Return the steps of a whole run: whichever of the two limits comes first."""
    limits = [epochs * cut.steps_per_epoch] if epochs is not None else []
    return min([*limits, steps] if steps is not None else limits)
