"""The training loop: windows in, weights out, and on the way logs, evaluations, samples and checkpoints.

A step never depends on the clock or on how steps are grouped into calls, so that a run is repeatable to the bit.
"""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import numpy as np
from tqdm import tqdm

from charlm import runs, scoring
from charlm.batches import Batches, fit_batches
from charlm.bundle import Bundle, write_bundle
from charlm.config import dump_config
from charlm.errors import CharlmError
from charlm.lock import only_writer
from charlm.preparation import Run, write_config
from charlm.sampling import Choice, generate_text
from charlm.training import checkpoints
from charlm.training.checkpoints import Progress, Tensors
from charlm.training.model import architecture, build_model, to_parameters, zero_state
from charlm.training.optimizer import build_optimizer, learning_rates
from charlm.training.signals import StopWish, stop_on_signal
from charlm.training.step import compile_steps
from charlm.training.tensorboard import Journal, rewind

SECONDS_PER_CALL = 0.5
"""Calls longer than this get fewer steps, so that a signal is answered soon."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    progress: Progress
    characters_per_second: float
    """Of training alone."""
    split: str
    """What `progress.best_nats` was measured on: validation, or train where there is no validation text."""
    reason: str
    """Why it ended, for a person."""
    signal: Signals | None
    """The signal that ended it, or None."""


def train(run: Run, *, resume: bool, cores: int, say: Say, show_progress: bool = True) -> Outcome:
    """Train, or go on training, until a limit of the config or a signal.

    `say` is told, in a line each, what a person should know. Raises CharlmError where the config asks for
    something that Keras does not have, the text is too short, the loss is no longer finite, or a file cannot
    be written; the last checkpoint is then as it was.
    """
    with only_writer(run.folder), stop_on_signal() as wish:
        training = Training(run, cores=cores, say=say)
        if resume:
            training.restore()
        else:
            training.begin()
        with contextlib.closing(training.journal), training.progress_bar(disable=not show_progress) as bar:
            reason = training.advance(wish, bar)
            training.finish()
    return Outcome(
        progress=training.progress,
        characters_per_second=training.characters / max(training.progress.seconds, 1e-9),
        split="validation" if training.has_validation else "train",
        reason=reason,
        signal=wish.signal if training.progress.step < training.total_steps else None,
    )


class Training:
    """A run in the making: the model, the optimizer, the hidden state and where the run stands."""

    def __init__(self, run: Run, *, cores: int, say: Say) -> None:
        self.run, self.say = run, say
        self.config, self.settings = run.config, run.config.training
        self.ids = run.corpus.split("train")
        self.validation = run.corpus.split("validation")[: self.settings.evaluate_characters]
        self.has_validation = len(self.validation) > 1
        self.cut, shrunk = fit_batches(
            len(self.ids),
            batch_size=self.settings.batch_size,
            sequence_length=self.settings.sequence_length,
            seed=self.config.seed,
        )
        if shrunk:
            say(shrunk)
        if not self.has_validation:
            say("there is no validation text: the best checkpoint is the one with the lowest training loss")
        self.total_steps = total_steps(self.settings.epochs, self.settings.steps, self.cut)
        self.progress = Progress()
        self.model = build_model(self.config, len(run.corpus.vocabulary))
        self.optimizer = build_optimizer(self.settings.optimizer)
        self.optimizer.build(self.model.trainable_variables)
        self.state = zero_state(self.model, self.cut.batch_size)
        self.steps = compile_steps(
            self.model, self.optimizer, self.cut, clip_norm=self.settings.clip_norm, parts=cores
        )

    @property
    def characters(self) -> int:
        """Characters learnt from so far, repetitions counted."""
        return self.progress.step * self.cut.characters_per_step

    def begin(self) -> None:
        """Open the log files of a new run and describe it there and to the person."""
        self.journal = Journal(self.run.folder)
        self.journal.describe(self.config, self.model)
        model = self.config.model
        self.say(f"corpus: {self.run.corpus.summary}")
        self.say(
            f"model: {model.layers} x {model.units} units, {to_parameters(self.model).size:,} weights; "
            f"{self.total_steps:,} steps of {self.cut.batch_size} x {self.cut.sequence_length} characters, "
            f"{self.cut.steps_per_epoch:,} an epoch"
        )

    def restore(self) -> None:
        """Go back to the newest whole checkpoint and cut the log files to where they were then."""
        folder = self.run.folder / runs.CHECKPOINTS
        tensors, self.progress, sizes = checkpoints.restore(folder, warn=self.say)
        expected = {name: tuple(variable.shape) for name, variable in self._variables().items()}
        expected |= {f"state.{index}": tuple(layer.shape) for index, layer in enumerate(self.state)}
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise CharlmError(
                f"{folder}: the checkpoint is of another network, optimizer or batch: "
                f"--resume needs model, training.optimizer.name and training.batch_size as they were"
            )
        for name, variable in self._variables().items():
            variable.assign(tensors[name])
        self.state = tuple(tensors[f"state.{index}"] for index in range(len(self.state)))
        write_config(self.run.folder, self.config)
        rewind(self.run.folder, sizes)
        self.journal = Journal(self.run.folder)
        self.say(f"resumed at step {self.progress.step:,} of {self.total_steps:,}")

    def progress_bar(self, *, disable: bool) -> "tqdm[Any]":
        """Return the bar over all characters that the run will see."""
        return tqdm(
            total=self.total_steps * self.cut.characters_per_step,
            initial=self.characters,
            unit="char",
            unit_scale=True,
            disable=disable,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def advance(self, wish: StopWish, bar: "tqdm[Any]") -> str:
        """Take steps until the run ends; returns why it ended."""
        self._take_steps(0)  # builds the graph, so that it does not count as training
        started, earlier = time.monotonic(), self.progress.elapsed_seconds
        reason = self._limit() or self._early_stop()
        while reason is None:
            count = self._steps_until_next_event()
            self._take_steps(count)
            self.progress.elapsed_seconds = earlier + time.monotonic() - started
            self._show(bar, count)
            limit = self._limit()
            self._handle_events(is_last=limit is not None)
            reason = limit or self._early_stop()
            if reason is None and wish.signal is not None:
                reason = f"stopped by {wish.signal.name}"
        return reason

    def finish(self) -> None:
        """Write what is not written yet."""
        if self._last_saved != self.progress.step:
            self._save()

    _last_saved = -1
    _seconds_per_step = 0.0

    def _take_steps(self, count: int) -> None:
        """Run the next `count` steps, all of the same epoch."""
        epoch, first = divmod(self.progress.step, self.cut.steps_per_epoch)
        if first == 0 and count:
            self.state = zero_state(self.model, self.cut.batch_size)
        windows = self.cut.windows(self.ids, epoch=epoch, first=first, count=count)
        optimizer = self.settings.optimizer
        rates = learning_rates(
            optimizer.learning_rate,
            self.settings.schedule,
            first=self.progress.step,
            count=count,
            total=self.total_steps,
        )
        started = time.perf_counter()
        results = self.steps(windows, self.state, rates)
        losses = results.losses.numpy().tolist()
        seconds = time.perf_counter() - started
        if count == 0:
            return
        self.state = results.state
        self.progress.step += count
        self.progress.seconds += seconds
        self.progress.pending_losses += losses
        self.progress.last_norm = float(results.gradient_norms[-1])
        self._seconds_per_step = seconds / count
        self._rate = float(rates[-1])
        if not math.isfinite(losses[-1] + self.progress.last_norm):
            raise CharlmError(
                f"the loss is {losses[-1]} and the gradient norm {self.progress.last_norm} at step "
                f"{self.progress.step:,}; the checkpoint before it is whole: "
                f"try a lower training.optimizer.learning_rate or training.clip_norm"
            )

    def _steps_until_next_event(self) -> int:
        """Return how many steps the next call takes: up to the next log, evaluation, checkpoint or epoch."""
        step = self.progress.step
        periods = [
            self.settings.log_every,
            self.settings.evaluate_every,
            self.settings.checkpoint_every,
            self.cut.steps_per_epoch,
        ]
        wanted = [period - step % period for period in periods]
        wanted += [self.total_steps - step, self.settings.steps_per_call]
        if self._seconds_per_step:
            wanted.append(max(1, int(SECONDS_PER_CALL / self._seconds_per_step)))
        return min(wanted)

    def _limit(self) -> str | None:
        """Return which limit of the run is reached, or None."""
        if self.progress.step >= self.total_steps:
            return "all steps done"
        minutes = self.settings.max_minutes
        if minutes is not None and self.progress.elapsed_seconds >= 60 * minutes:
            return f"training.max_minutes: {minutes:g} are over"
        return None

    def _early_stop(self) -> str | None:
        stopping = self.settings.early_stopping
        if stopping is None or self.progress.evaluations_without_best < stopping.patience:
            return None
        return f"no new best in {stopping.patience} evaluations"

    def _handle_events(self, *, is_last: bool) -> None:
        """Log, evaluate and save where it is time to."""
        step = self.progress.step
        evaluate = is_last or step % self.settings.evaluate_every == 0
        train_nats = float(np.mean(self.progress.pending_losses))
        if evaluate or step % self.settings.log_every == 0:
            self._log(train_nats)
        if evaluate:
            self._evaluate(train_nats)
        if is_last or step % self.settings.checkpoint_every == 0:
            self._save()

    def _log(self, nats: float) -> None:
        count = len(self.progress.pending_losses)
        seconds = self.progress.seconds - self.progress.logged_seconds
        self.journal.log(
            {
                **self._position("train", nats),
                "learning_rate": self._rate,
                "gradient_norm": self.progress.last_norm,
                "characters_per_second": count * self.cut.characters_per_step / max(seconds, 1e-9),
            }
        )
        self.progress.pending_losses = []
        self.progress.logged_seconds = self.progress.seconds

    def _evaluate(self, train_nats: float) -> None:
        """Score the validation text, keep the weights if they are the best so far, and write a sample."""
        bundle = self._bundle()
        nats = train_nats
        if self.has_validation:
            nats = scoring.estimate_stream(bundle.parameters, self.validation).nats_per_char
            nats = math.inf if math.isnan(nats) else nats  # so that every later figure is lower
            self.journal.log(self._position("validation", nats))
        margin = self.settings.early_stopping.min_delta if self.settings.early_stopping else 0.0
        if self.progress.best_nats is None or nats < self.progress.best_nats - margin:
            self.progress.best_nats, self.progress.best_step = nats, self.progress.step
            self.progress.evaluations_without_best = 0
            write_bundle(self.run.folder / "best", self._bundle())
        else:
            self.progress.evaluations_without_best += 1
        self.journal.show(self.model, self._sample(bundle), step=self.progress.step)

    def _sample(self, bundle: Bundle) -> str | None:
        settings = self.config.sampling
        if not settings.length:
            return None
        choice = Choice(settings.temperature, settings.top_k, settings.top_p, settings.min_p)
        generation = generate_text(
            bundle,
            prompt=settings.prompt,
            length=settings.length,
            choice=choice,
            seed=self.config.seed,
            unknown="skip",
        )
        for _ in generation:
            pass
        return settings.prompt + generation.samples[0].text

    def _position(self, split: str, nats: float) -> dict[str, float | str]:
        return {
            "step": self.progress.step,
            "epoch": self.progress.step / self.cut.steps_per_epoch,
            "characters": self.characters,
            "seconds": self.progress.seconds,
            "split": split,
            "nats_per_char": nats,
        }

    def _bundle(self) -> Bundle:
        vocabulary = self.run.corpus.vocabulary
        score = {
            "split": "validation" if self.has_validation else "train",
            "nats_per_char": self.progress.best_nats,
        }
        facts = {"step": self.progress.step, "epoch": self.progress.step / self.cut.steps_per_epoch}
        return Bundle(
            architecture=architecture(self.config, len(vocabulary)),
            parameters=to_parameters(self.model),
            vocabulary=vocabulary,
            config=dump_config(self.config),
            facts={**facts, "score": score} if self.progress.best_step == self.progress.step else facts,
        )

    def _save(self) -> None:
        """Write the checkpoint of this step, and the bundle last/."""
        tensors: Tensors = {name: np.asarray(variable.numpy()) for name, variable in self._variables().items()}
        tensors |= {f"state.{index}": np.array(layer) for index, layer in enumerate(self.state)}
        folder: Path = self.run.folder / runs.CHECKPOINTS
        checkpoints.save(folder, tensors, self.progress, self.journal.sizes())
        write_bundle(self.run.folder / "last", self._bundle())
        self._last_saved = self.progress.step

    def _variables(self) -> dict[str, Any]:
        """Return everything that TensorFlow keeps between steps, by a name that does not change."""
        model = {f"model.{index}": variable for index, variable in enumerate(self.model.variables)}
        return model | {f"optimizer.{index}": variable for index, variable in enumerate(self.optimizer.variables)}

    def _show(self, bar: "tqdm[Any]", count: int) -> None:
        nats = self.progress.pending_losses[-1]
        epoch = min(self.progress.step, self.total_steps - 1) // self.cut.steps_per_epoch + 1
        epochs = -(-self.total_steps // self.cut.steps_per_epoch)
        bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
        bar.set_postfix_str(f"loss {nats:.3f}, {nats / math.log(2):.3f} bits/char", refresh=False)
        bar.update(count * self.cut.characters_per_step)


def total_steps(epochs: int | None, steps: int | None, cut: Batches) -> int:
    """Return the steps of a whole run: whichever of the two limits comes first."""
    limits = [epochs * cut.steps_per_epoch] if epochs is not None else []
    return min([*limits, steps] if steps is not None else limits)
