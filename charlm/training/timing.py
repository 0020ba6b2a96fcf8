"""The time of a run: what its parts take on this machine, and the deadline of a run with a time limit.

A few steps and one evaluation are timed, and then undone:

    seconds(S) = start + teachers + n-grams + S * step + evaluations * evaluation + end

S steps; at the end, the sampling temperature is chosen. If windows grow, S steps take as long as the characters that
they read do in steps of `sequence_length`. The figures are those of this machine under its present load.

While a run with a time limit trains, what is left of it is planned again at each evaluation, from the speed since the
last one, between evaluations only if the plan is far off. The config of the run records every change, so that the run
can be repeated.
"""

import bisect
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from charlm.config.schema import MAX_EVALUATIONS, Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams, predict_ngrams
from charlm.evaluation.scoring import ids_read
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.storage import temporary_folder
from charlm.text.corpus import Corpus
from charlm.text.documents import find_documents
from charlm.training.active_run import ActiveRun
from charlm.training.checkpoints import Progress
from charlm.training.costs import EVALUATION_SHARE, MAX_STEPS, Costs
from charlm.training.decision import USED_SHARE
from charlm.training.evaluating import DivergenceError, one_thread, open_text
from charlm.training.interface import Engine
from charlm.training.logs import RunLog
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.session import Session
from charlm.training.soft_targets import NGRAM_ORDER, NGRAM_PARTS
from charlm.training.temperature import TYPICAL_CHARACTERS
from charlm.wording import duration

TIMED_STEPS, TIMED_SECONDS = 20, 3.0
"""How many steps are timed, at most for so long; at least one call of the engine."""
TIMED_SHARE = 0.03
"""The largest share of a time limit for which steps are timed."""
TIMED_CHARACTERS, TIMED_SAMPLE = 32_768, 200
"""How much of the validation text is scored to time an evaluation, enough for all streams side by side; and how much is
generated to time the end."""
TIMED_NGRAM_CHARACTERS, TIMED_PREDICTIONS = 50_000, 2_000
"""How much of a text is counted, and how many of its characters are predicted, to time n-grams."""
SORTING = 1.3
"""A long text takes this much more time per character to count than the part that is timed, since n-grams are sorted.
"""


READ_BYTES_PER_SECOND, COMPRESSION = 20_000_000, 4
"""How fast text is tokenized on two cores of an AMD EPYC, and how many bytes one of a .gz file stands for."""
READING_SHARE = 0.25
"""The largest share of a time limit in which text may be read."""


def check_reading(sources: Sequence[str], minutes: float) -> None:
    """Refuse a text that cannot be read within a time limit, before any of it is read.

    Args:
        sources: Files, folders, or - for standard input, whose size is not known.
        minutes: The time limit.

    Raises:
        CharlmError: a source does not exist, or the files are too large.

    """
    documents, _ = find_documents(path for path in sources if path != "-")
    sizes = (
        (document.path, document.path.stat().st_size)
        for document in documents
        if document.path is not None
    )
    size = sum(
        bytes * (COMPRESSION if path.suffix.lower() == ".gz" else 1) for path, bytes in sizes
    )
    seconds = size / READ_BYTES_PER_SECOND
    if seconds > READING_SHARE * 60 * minutes:
        enough = math.ceil(seconds / READING_SHARE / 60)
        raise CharlmError(
            f"minutes {minutes:g}: reading {size / 1e9:,.1f} GB of text takes about {duration(seconds)}; give it "
            f"{enough:,} minutes, or less text"
        )


def measure(
    config: Config,
    corpus: Corpus,
    engine: Engine,
    *,
    session: Session,
    step_seconds: float = TIMED_SECONDS,
) -> Costs:
    """Take some steps of a run, evaluate and save it, all in a temporary folder that is removed.

    The engine is then set back: a run that uses it ends with the same bytes as one with a new engine.

    Args:
        config: Every setting of the run; `training.parts` is a number.
        corpus: Its text.
        engine: The engine of the run, in its first state.
        session: Of a `stop_on_signal` block; a signal ends the measurement immediately. Nothing is printed.
        step_seconds: How long to take steps, at most; 0 = a single call of the engine after the first.

    Returns:
        The costs, the same on every worker; those of worker 0.

    Raises:
        CharlmError: the temporary folder cannot be written.
        Stopped: a signal came.

    """
    endless = config.model_copy(update={"training": config.training.with_steps(MAX_STEPS)})
    with (
        temporary_folder() as folder,
        session.interruption.at_once(),
        contextlib.closing(RunLog(folder)) as log,
    ):
        started, run = session.clock(), Run(folder, endless, corpus)
        schedule = make_schedule(endless.training, engine.batches)
        first = next(phase.first for phase in schedule.phases if phase.batches == schedule.batches)
        text = open_text(run, baselines=())
        part = replace(text, ids=None if text.ids is None else text.ids[:TIMED_CHARACTERS])
        training = ActiveRun(
            run,
            engine,
            schedule,
            Session(clock=session.clock),
            part,
            None,
            log,
            Progress(step=first),
        )
        engine.build(schedule.lengths)
        first_state = engine.tensors()
        _time_steps(training, 0.0)  # the first call is slower than the others
        start = session.clock() - started
        step = _time_steps(training, step_seconds)
        engine.restore(first_state)
        training.progress = Progress(step=first)
        evaluation = _time_evaluation(training, 0 if text.ids is None else len(text.ids))
        end = _time_end(training)
    shared = [
        engine.workers.share(round(1e9 * seconds)) / 1e9
        for seconds in (step, evaluation, start, end)
    ]
    return Costs(*shared)


def _time_evaluation(training: ActiveRun, characters: int) -> float:
    """Return in how many seconds the network is evaluated on a text of some characters, from a part of it."""
    clock, ids = training.session.clock, training.text.ids
    training.evaluate()  # the first evaluation is slower than the others
    started = clock()
    training.evaluate()
    seconds = clock() - started
    if ids is None:
        return seconds
    return seconds + (ids_read(characters) / ids_read(len(ids)) - 1) * training.scoring_seconds


def _time_end(training: ActiveRun) -> float:
    """Generate a little text; return in how many seconds a sampling temperature is usually found."""
    run, clock = training.run, training.session.clock
    if not run.config.sampling.chooses_temperature:
        return 0.0
    model, started = training.network(), clock()
    with one_thread():
        str(generate_text(model, TextRequest(TIMED_SAMPLE, Sampler(), run.config.seed)))
    return TYPICAL_CHARACTERS / TIMED_SAMPLE * (clock() - started)


def time_ngrams(corpus: Corpus, *, session: Session) -> float:
    """Return in how many seconds the n-grams of a text would be counted for soft targets, from a part of the text."""
    ids = corpus.split("train")
    part = ids[:TIMED_NGRAM_CHARACTERS].astype("int64")
    started = session.clock()
    model = count_ngrams(part, vocabulary_size=len(corpus.vocabulary), order=NGRAM_ORDER)
    counted = session.clock()
    predicted = part[:TIMED_PREDICTIONS]
    for _ in predict_ngrams(model, predicted, first=1):
        pass
    ended = session.clock()
    counting = (
        (NGRAM_PARTS - 1)
        * (counted - started)
        / len(part)
        * (1.0 if len(part) == len(ids) else SORTING)
    )
    return len(ids) * (counting + (ended - counted) / len(predicted))


def _time_steps(training: ActiveRun, seconds: float) -> float:
    """Take TIMED_STEPS, or those of some seconds, at least one call of the engine; return the seconds of one step."""
    progress, clock, step_seconds = training.progress, training.session.clock, math.inf
    first, started, now = progress.step, clock(), -math.inf
    while count := training.engine.workers.share(
        training.next_count(step_seconds=step_seconds)
        if now - started < seconds and progress.step - first < TIMED_STEPS
        else 0
    ):
        before = progress.seconds
        with contextlib.suppress(DivergenceError):  # what was learned is undone in any case
            training.take_steps(count)
        step_seconds, now = (progress.seconds - before) / count, clock()
    return (now - started) / (progress.step - first)


TOO_SHORT, TOO_LONG = 0.9, 1.03
"""At an evaluation, the rest of a run is changed if it takes less or more than these shares of the time left."""
FAR_TOO_SHORT, FAR_TOO_LONG = 0.8, 1.15
"""The same between evaluations."""
MEASURED_SHARE = 0.05
"""The speed that was measured before the run counts as much as that of steps for this share of the time limit."""
KEPT_SHARE = 0.3
"""At an evaluation, how much the steps before it still count in the speed."""
MIN_RANGE = 1_000
"""A run may become up to three times as long as it was, or this many steps."""


@dataclass
class Deadline:
    """The time limit of a run, and how fast the run is."""

    seconds: float
    """The time limit of the whole command."""
    started: float
    """When the command began, by `clock`."""
    clock: Callable[[], float]
    """Returns the time in seconds."""
    costs: Costs
    """The costs of the run, as measured before its first step."""
    fixed_share: float
    """The share of a step's time that does not depend on how many characters it reads."""

    def __post_init__(self) -> None:
        """Begin with the speed that was measured."""
        self._evaluation_seconds = self.costs.evaluation_seconds
        self._elapsed = MEASURED_SHARE * self.seconds
        self._work = self._elapsed / self.costs.step_seconds

    def _work_of(self, schedule: Schedule, first: int, last: int) -> float:
        """Return how many steps of `sequence_length` the steps between two of a run take as long as."""
        characters = schedule.characters(last) - schedule.characters(first)
        read = characters / schedule.batches.characters_per_step
        return self.fixed_share * (last - first) + (1 - self.fixed_share) * read

    @property
    def _step_seconds(self) -> float:
        """How long a step of `sequence_length` takes at present."""
        return self._elapsed / self._work

    @property
    def _left(self) -> float:
        """Seconds that are left for steps and evaluations."""
        end_seconds = self.costs.end_seconds * self._step_seconds / self.costs.step_seconds
        return USED_SHARE * self.seconds - (self.clock() - self.started) - end_seconds

    @property
    def is_over(self) -> bool:
        """Whether the time limit has passed."""
        return self.clock() > self.started + self.seconds

    def note_steps(self, schedule: Schedule, first: int, last: int, seconds: float) -> None:
        """Note how long the steps after step `first`, up to step `last`, took."""
        self._work += self._work_of(schedule, first, last)
        self._elapsed += seconds

    def note_evaluation(self, seconds: float) -> None:
        """Note how long an evaluation took."""
        self._evaluation_seconds = seconds
        self._work *= KEPT_SHARE
        self._elapsed *= KEPT_SHARE

    def review(
        self, settings: TrainingConfig, schedule: Schedule, step: int, *, is_evaluation: bool
    ) -> tuple[int, int] | None:
        """Return the length in steps and the evaluations that the run should have; None = leave them as they are.

        Args:
            settings: The section `training` of the config.
            schedule: The schedule that these settings give.
            step: The steps that the run has taken, fewer than its length and more than 0.
            is_evaluation: Whether the run has just been evaluated.

        """
        left = self._left
        evaluations = schedule.evaluations_after(step)
        done = schedule.evaluations_until(step)
        needed = self._seconds(schedule, step) + evaluations * self._evaluation_seconds
        shortest, longest = (
            (TOO_SHORT, TOO_LONG) if is_evaluation else (FAR_TOO_SHORT, FAR_TOO_LONG)
        )
        if shortest * left <= needed <= longest * left:
            return None
        evaluations = self._affordable(evaluations, left)
        left -= evaluations * self._evaluation_seconds
        most = 2 * schedule.total + MIN_RANGE
        more = self._steps_within(left, settings, schedule, step, most=most)
        return None if step + more == schedule.total else (step + more, done + evaluations)

    def lengthened(self, settings: TrainingConfig, engine: Engine, step: int) -> TrainingConfig:
        """Return settings with as many more steps as fit, one at least.

        Args:
            settings: The section `training` of the config of a run.
            engine: Its engine.
            step: The steps that it has taken.

        """
        left = self._left
        evaluations = self._affordable(settings.evaluations, left)
        left -= evaluations * self._evaluation_seconds
        schedule = make_schedule(settings, engine.batches)
        more = engine.workers.share(
            self._steps_within(left, settings, schedule, step, most=MAX_STEPS - step)
        )
        done = schedule.evaluations_until(step)
        total = engine.workers.share(min(MAX_EVALUATIONS, done + evaluations))
        longer = settings.with_steps(step + more).model_copy(update={"evaluations": total})
        return longer.after(settings, at=step, total=schedule.total)

    def _steps_within(
        self, left: float, settings: TrainingConfig, schedule: Schedule, step: int, *, most: int
    ) -> int:
        """Return how many more steps fit into the seconds that are left, one at least.

        Args:
            left: The seconds.
            settings: The section `training` of the config so far.
            schedule: The schedule that these settings give.
            step: The steps that are taken.
            most: The largest number of steps to return.

        """

        def seconds(more: int) -> float:
            """Return how long some more steps take."""
            changed = settings.with_steps(step + more).after(
                settings, at=step, total=schedule.total
            )
            return self._seconds(make_schedule(changed, schedule.batches), step)

        return max(1, bisect.bisect_right(range(1, most), left, key=seconds))

    def _affordable(self, evaluations: int, left: float) -> int:
        """Return how many of some evaluations fit into their share of the seconds that are left, one at least."""
        affordable = int(EVALUATION_SHARE * left / max(self._evaluation_seconds, 1e-9))
        return max(1, min(evaluations, affordable))

    def _seconds(self, schedule: Schedule, step: int) -> float:
        """Return how long the rest of the steps of a schedule takes."""
        return self._work_of(schedule, step, schedule.total) * self._step_seconds
