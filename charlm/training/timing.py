"""Time of a run: the measured costs of its parts, and the deadline of a run with a time limit.

A few steps and one evaluation are timed, and then undone. With S steps, a run takes

    seconds(S) = start + teachers + n-grams + S * step + evaluations * evaluation + end

where the end is the choice of the sampling temperature. If windows grow, steps are converted to
steps of `sequence_length`.

During training, the rest of a run with a time limit is planned again at each evaluation, and
between evaluations if the plan is far off. The config of the run records every change, so that the
run is repeatable.
"""

import bisect
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from charlm.config.schema import MAX_EVALUATIONS, Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.ngrams import NGrams, count_ngrams, predict_ngrams
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
"""Maximum number of steps that are timed, and the maximum time for them."""
TIMED_SHARE = 0.03
"""Largest share of a time limit for timing steps."""
TIMED_CHARACTERS, TIMED_SAMPLE = 32_768, 200
"""Number of characters scored to time an evaluation, and number generated to time the end of a
run."""
TIMED_NGRAM_CHARACTERS, TIMED_PREDICTIONS = 50_000, 2_000
"""Number of characters counted, and number of characters predicted, to time n-grams."""
SORTING = 1.3
"""Time per character of a long text, relative to its timed part, since n-grams are sorted."""
READ_BYTES_PER_SECOND, COMPRESSION = 20_000_000, 4
"""Speed of tokenizing on two cores of an AMD EPYC, and typical compression ratio of a .gz file."""
READING_SHARE = 0.25
"""Largest share of a time limit that reading the text may take."""
TOO_SHORT, TOO_LONG = 0.9, 1.03
"""Bounds for the expected time of the rest of a run, as a share of the time left, at an
evaluation."""
FAR_TOO_SHORT, FAR_TOO_LONG = 0.8, 1.15
"""Wider bounds, which apply between evaluations."""
MEASURED_SHARE = 0.05
"""Weight of the speed that was measured before the run, as a share of the time limit."""
KEPT_SHARE = 0.3
"""Factor for the weight of earlier steps in the measured speed, at each evaluation."""
MIN_RANGE = 1_000
"""The remaining steps of a run stay below twice its length plus this number."""


def check_reading(sources: Sequence[str], minutes: float) -> None:
    """Refuse a text that is too large for a time limit; - (standard input) counts as empty.

    Raises:
        CharlmError: A source does not exist, or the files are too large.

    """
    documents, _ = find_documents(path for path in sources if path != "-")
    size = 0
    for document in documents:
        if document.path is not None:
            factor = COMPRESSION if document.path.suffix.lower() == ".gz" else 1
            size += factor * document.path.stat().st_size
    seconds = size / READ_BYTES_PER_SECOND
    if seconds > READING_SHARE * 60 * minutes:
        enough = math.ceil(seconds / READING_SHARE / 60)
        raise CharlmError(
            f"minutes {minutes:g}: reading {size / 1e9:,.1f} GB of text takes about "
            f"{duration(seconds)}; allow {enough:,} minutes, or use less text"
        )


def timed_seconds(minutes: float) -> float:
    """Return for how many seconds to time steps within a time limit."""
    return min(TIMED_SECONDS, TIMED_SHARE * 60 * minutes)


def measure(
    config: Config,
    corpus: Corpus,
    engine: Engine,
    *,
    session: Session,
    step_seconds: float = TIMED_SECONDS,
) -> Costs:
    """Measure the costs of a run on worker 0, and set its engine back to its first state.

    Args:
        config: Resolved config of the run.
        corpus: Text of the run.
        engine: Engine in its first state, which then gives the same bytes as a new engine.
        session: Session of a `stop_on_signal` block.
        step_seconds: Longest time for steps; 0 = a single call of the engine after the first.

    Raises:
        CharlmError: The temporary folder cannot be written.
        Stopped: A signal arrived.

    """
    endless = config.model_copy(update={"training": config.training.with_steps(MAX_STEPS)})
    schedule = make_schedule(endless.training, engine.batches)
    first = next(phase.first for phase in schedule.phases if phase.batches == schedule.batches)
    with (
        temporary_folder() as folder,
        session.interruption.immediate(),
        contextlib.closing(RunLog(folder)) as log,
    ):
        started = session.clock()
        run = Run(folder, endless, corpus)
        text = open_text(run, baselines=())
        part = replace(text, ids=None if text.ids is None else text.ids[:TIMED_CHARACTERS])
        silent = Session(clock=session.clock)
        progress = Progress(step=first)
        training = ActiveRun(run, engine, schedule, silent, part, None, log, progress)
        engine.build(schedule.lengths)
        first_state = engine.tensors()
        _time_steps(training, 0.0)  # the first call is slower than the others
        start = session.clock() - started
        step = _time_steps(training, step_seconds)
        engine.restore(first_state)
        training.progress = Progress(step=first)
        evaluation = _time_evaluation(training, 0 if text.ids is None else len(text.ids))
        end = _time_end(training)
    return Costs(*map(engine.workers.share_seconds, (step, evaluation, start, end)))


def _time_evaluation(training: ActiveRun, characters: int) -> float:
    """Return the seconds of an evaluation on a number of characters, measured on a part of them."""
    clock, ids = training.session.clock, training.text.ids
    training.evaluate()  # the first evaluation is slower than the others
    started = clock()
    training.evaluate()
    seconds = clock() - started
    if ids is None:
        return seconds
    return seconds + (ids_read(characters) / ids_read(len(ids)) - 1) * training.scoring_seconds


def _time_end(training: ActiveRun) -> float:
    """Return the seconds for choosing a sampling temperature, measured with a short text."""
    run, clock = training.run, training.session.clock
    if not run.config.sampling.chooses_temperature:
        return 0.0
    model = training.network()
    started = clock()
    with one_thread():
        str(generate_text(model, TextRequest(TIMED_SAMPLE, Sampler(), run.config.seed)))
    return TYPICAL_CHARACTERS / TIMED_SAMPLE * (clock() - started)


def time_ngrams(
    corpus: Corpus, *, session: Session, count: Callable[..., NGrams] = count_ngrams
) -> float:
    """Return the seconds for computing soft targets of n-grams, measured on a part of the text.

    `count` counts the n-grams, like `count_ngrams`.
    """
    ids = corpus.split("train")
    part = ids[:TIMED_NGRAM_CHARACTERS].astype("int64")
    predicted = part[:TIMED_PREDICTIONS]
    started = session.clock()
    model = count(part, vocabulary_size=len(corpus.vocabulary), order=NGRAM_ORDER)
    counted = session.clock()
    for _ in predict_ngrams(model, predicted, first=1):
        pass
    ended = session.clock()
    slowness = 1.0 if len(part) == len(ids) else SORTING
    counting = (NGRAM_PARTS - 1) * (counted - started) / len(part) * slowness
    return len(ids) * (counting + (ended - counted) / len(predicted))


def _time_steps(training: ActiveRun, seconds: float) -> float:
    """Return the seconds of a step, from at least one call of the engine."""
    progress, clock = training.progress, training.session.clock
    workers = training.engine.workers
    first = progress.step
    step_seconds = math.inf
    started = clock()
    elapsed = -math.inf
    while True:
        is_done = elapsed >= seconds or progress.step - first >= TIMED_STEPS
        count = workers.share(0 if is_done else training.next_count(step_seconds=step_seconds))
        if not count:
            return elapsed / (progress.step - first)
        before = progress.seconds
        with contextlib.suppress(DivergenceError):  # all steps are undone
            training.take_steps(count)
        step_seconds = (progress.seconds - before) / count
        elapsed = clock() - started


@dataclass
class Deadline:
    """The time limit of a run, and the speed of the run."""

    seconds: float
    """Time limit of the whole command."""
    started: float
    """Time when the command began, by `clock`."""
    clock: Callable[[], float]
    """Function that returns the time in seconds."""
    costs: Costs
    """Costs of the run, measured before its first step."""
    fixed_share: float
    """Share of a step's time that is independent of its characters."""

    def __post_init__(self) -> None:
        """Begin with the measured speed."""
        self._evaluation_seconds = self.costs.evaluation_seconds
        self._elapsed = MEASURED_SHARE * self.seconds
        self._work = self._elapsed / self.costs.step_seconds

    def _work_of(self, schedule: Schedule, first: int, last: int) -> float:
        """Return the work between two steps, in steps of `sequence_length`."""
        characters = schedule.characters(last) - schedule.characters(first)
        converted = characters / schedule.batches.characters_per_step
        return self.fixed_share * (last - first) + (1 - self.fixed_share) * converted

    @property
    def _step_seconds(self) -> float:
        """Current time of a step of `sequence_length`."""
        return self._elapsed / self._work

    @property
    def _left(self) -> float:
        """Seconds left for steps and evaluations."""
        end_seconds = self.costs.end_seconds * self._step_seconds / self.costs.step_seconds
        return USED_SHARE * self.seconds - (self.clock() - self.started) - end_seconds

    @property
    def is_over(self) -> bool:
        """Whether the time limit has passed."""
        return self.clock() > self.started + self.seconds

    def note_steps(self, schedule: Schedule, first: int, last: int, seconds: float) -> None:
        """Record the time of the steps after `first`, up to `last`."""
        self._work += self._work_of(schedule, first, last)
        self._elapsed += seconds

    def note_evaluation(self, seconds: float) -> None:
        """Record the time of an evaluation."""
        self._evaluation_seconds = seconds
        self._work *= KEPT_SHARE
        self._elapsed *= KEPT_SHARE

    def review(
        self, settings: TrainingConfig, schedule: Schedule, step: int, *, is_evaluation: bool
    ) -> tuple[int, int] | None:
        """Return the steps and evaluations that the run should have; None = leave them unchanged.

        Args:
            settings: The section `training` of the config.
            schedule: Schedule of these settings.
            step: Step of the run, after the first and before the last.
            is_evaluation: Whether the run has just been evaluated.

        """
        left = self._left
        evaluations = schedule.evaluations_after(step)
        needed = self._seconds(schedule, step) + evaluations * self._evaluation_seconds
        shortest, longest = FAR_TOO_SHORT, FAR_TOO_LONG
        if is_evaluation:
            shortest, longest = TOO_SHORT, TOO_LONG
        if shortest * left <= needed <= longest * left:
            return None
        most = 2 * schedule.total + MIN_RANGE
        more, evaluations = self._fit(left, evaluations, settings, schedule, step, most=most)
        if step + more == schedule.total:
            return None
        return step + more, schedule.evaluations_until(step) + evaluations

    def lengthened(self, settings: TrainingConfig, engine: Engine, step: int) -> TrainingConfig:
        """Return settings that extend a run at `step` by as many steps as fit, at least one."""
        schedule = make_schedule(settings, engine.batches)
        more, evaluations = self._fit(
            self._left, settings.evaluations, settings, schedule, step, most=MAX_STEPS - step
        )
        total = min(MAX_EVALUATIONS, schedule.evaluations_until(step) + evaluations)
        share = engine.workers.share
        longer = settings.with_steps(step + share(more))
        longer = longer.model_copy(update={"evaluations": share(total)})
        return longer.after(settings, at=step, total=schedule.total)

    def _fit(
        self,
        left: float,
        evaluations: int,
        settings: TrainingConfig,
        schedule: Schedule,
        step: int,
        *,
        most: int,
    ) -> tuple[int, int]:
        """Return how many more steps (below `most`) and evaluations fit, at least one of each."""
        affordable = int(EVALUATION_SHARE * left / max(self._evaluation_seconds, 1e-9))
        evaluations = max(1, min(evaluations, affordable))
        left -= evaluations * self._evaluation_seconds

        def seconds(more: int) -> float:
            longer = settings.with_steps(step + more)
            longer = longer.after(settings, at=step, total=schedule.total)
            return self._seconds(make_schedule(longer, schedule.batches), step)

        steps = bisect.bisect_right(range(1, most), left, key=seconds)
        return max(1, steps), evaluations

    def _seconds(self, schedule: Schedule, step: int) -> float:
        """Return the time of all steps after the given step."""
        return self._work_of(schedule, step, schedule.total) * self._step_seconds
