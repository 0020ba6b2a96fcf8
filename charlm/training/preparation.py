"""Preparation of a run: its text is read, its settings are decided, and its engine is made.

In each process, a new run passes through `prepare`, and a run that continues through `reopen`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from charlm.checks import check_each, check_text_path
from charlm.config.file import Overrides, nest
from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.evaluation.baselines import NGRAM
from charlm.events import LengthAdded, OnEvent, Resuming, ignore
from charlm.hardware import core_count, fastest_precision, memory_bytes
from charlm.network.architecture import architecture
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Parameters
from charlm.runs.folder import CHECKPOINTS, CORPUS, saved_steps
from charlm.runs.initial_weights import (
    InitialModel,
    adapt_initial_model,
    check_initial_model,
    read_initial_weights,
)
from charlm.runs.ownership import RunFolder, is_one_corpus
from charlm.runs.run import Run, open_run
from charlm.text.corpus import Corpus, read_manifest, resolve_corpus_settings
from charlm.text.documents import name_text
from charlm.text.tokenization import memorize
from charlm.training.costs import Costs, MachineCosts, TextFacts, fixed_share
from charlm.training.decision import (
    MEMORIZED_CHARACTERS,
    Decision,
    UserSettings,
    batches_of,
    decide,
)
from charlm.training.evaluating import BASELINES, EvaluatedText, open_text
from charlm.training.interface import Engine, EngineFactory
from charlm.training.session import Session
from charlm.training.soft_targets import check_teachers, open_soft_targets
from charlm.training.timing import Deadline, check_reading, measure, time_ngrams, timed_seconds

Text = str | Path | Corpus | Sequence[str | Path] | None
"""A text to train on: files, folders, .gz files, or - for standard input, each file a document; or
a corpus that `tokenize` made, or the folder of a corpus. None = the plays that come with charlm."""
MINUTES_FOR_LZMA = 1.0
"""Shortest time limit for a comparison with lzma, which takes seconds."""
TOLERANCE = 1.3
"""Factor by which costs may be wrong before a recipe is replaced after its engine was made."""
Measure = Callable[..., Costs]
TWO_SLOTS = {"adam", "adamw"}
"""Optimizers that always keep two numbers for each weight."""


@dataclass(frozen=True)
class Preparation:
    """A run that is ready to begin."""

    corpus: Corpus
    decision: Decision
    config: Config
    """Resolved config, with every setting."""
    initial: TrainedModel | None
    """Model with the initial weights; None = random weights."""
    engine: Engine
    """Engine in its first state."""
    costs: Costs | None = None
    """Measured costs of a run with a time limit."""
    text: EvaluatedText | None = None
    """Text for the evaluations of a run with a time limit."""
    deadline: Deadline | None = None
    """Deadline of a run with a time limit."""
    teachers: Mapping[int, Config] = field(default_factory=dict)
    """Config of each teacher that the run trains first, by seed."""

    def begin(self, folder: RunFolder) -> Run:
        """Begin the run in the folder with its text; raises CharlmError if it cannot be written."""
        return folder.begin(self.config, self.corpus, initial=self.initial, teachers=self.teachers)


def prepare(
    text: Text,
    *,
    user: UserSettings,
    folder: RunFolder,
    engines: EngineFactory,
    session: Session,
    init: InitialModel | None = None,
    started: float | None = None,
    is_plan: bool = False,
    measure: Measure = measure,
) -> Preparation:
    """Read the text into the folder, decide how a new run is trained, and make its engine.

    With a time limit, the engine is timed and n-grams are counted, so that their costs are known. A
    plan only estimates the time to count the n-grams. `started` is the time when the command began,
    by the clock of the session; None = now. `measure` returns the costs of a run, like
    `timing.measure`.

    Raises:
        CharlmError: A setting is not valid, the initial weights do not fit, the text or a teacher
            cannot be read, there is too little memory, or the workers differ.
        Stopped: A signal arrived.

    """
    started = session.clock() if started is None else started
    if init is not None:
        user = replace(user, architecture=init.model.architecture.settings())
    config = user.check()
    check_initial_model(config, init)
    sources = as_sources(text)
    if user.minutes is not None and not is_one_corpus(sources):
        check_reading(sources, user.minutes)
    known = None if init is None else init.model.vocabulary
    corpus = folder.add_text(sources, config.corpus, known=known, on_event=session.on_event)
    is_memorized = _is_memorized(user, config, corpus)
    if is_memorized:
        corpus = memorize(corpus, folder.path / CORPUS)
    facts = TextFacts.of(corpus, is_memorized=is_memorized)
    maker = _Maker(corpus, facts, user, folder.path, engines, session, init, started, measure)
    decision = maker.decide()
    if decision.minutes is None:
        prepared = maker.make(decision)
    else:
        prepared = maker.make_within(decision.minutes, decision, is_plan=is_plan)
    if not is_plan:
        session.on_event(prepared.decision.event(prepared.engine.batches))
        for note in prepared.decision.notes:
            session.on_event(note)
    return prepared


def _is_memorized(user: UserSettings, config: Config, corpus: Corpus) -> bool:
    if user.recipe is not None:
        return config.training.until_recited
    has_one_document = len(corpus.manifest.sources) == 1
    is_short = has_one_document and len(corpus.ids) < MEMORIZED_CHARACTERS
    return is_short and not user.architecture and "corpus" not in user.overrides


@dataclass
class _Maker:
    """Makes the decisions for a run whose text has been read, and builds its engine."""

    corpus: Corpus
    facts: TextFacts
    user: UserSettings
    folder: Path
    engines: EngineFactory
    session: Session
    init: InitialModel | None
    started: float
    measure: Measure
    costs: MachineCosts = field(default_factory=MachineCosts)

    def decide(self, *, kept: str | None = None, tolerance: float = math.inf) -> Decision:
        seconds = self.session.clock() - self.started
        return decide(
            self.facts,
            self.user,
            precision=fastest_precision(),
            costs_of=self.costs,
            spent_seconds=self.engines.workers.share_seconds(seconds),
            memory_bytes=memory_bytes(),
            kept=kept,
            tolerance=tolerance,
        )

    def make(self, decision: Decision) -> Preparation:
        corpus, engines, on_event = self.corpus, self.engines, self.session.on_event
        check_initial_model(decision.config, self.init)
        config = resolve(
            decision.config, corpus, engines=engines, init=self.init, on_event=on_event
        )
        initial = weights = None
        if self.init is not None:
            initial = adapt_initial_model(self.init, config, corpus, on_event=on_event)
            weights = initial.parameters
        engine = new_engine(config, corpus, engines, initial=weights, session=self.session)
        seeds = config.training.used_teachers.seeds
        teachers = {seed: resolve_teacher(config, corpus, seed, engines=engines) for seed in seeds}
        return Preparation(corpus, decision, config, initial, engine, teachers=teachers)

    def make_within(self, minutes: float, decision: Decision, *, is_plan: bool) -> Preparation:
        """Make an engine, measure it, and fit the run into the time."""
        if decision.config.training.ngram_weight or decision.notes:
            seconds = time_ngrams(self.corpus, session=self.session)
            self.costs.ngram_seconds = self.engines.workers.share_seconds(seconds)
            decision = self.decide()
        prepared = self._make_and_measure(minutes, decision)
        decision = self.decide(kept=decision.recipe, tolerance=TOLERANCE)
        if decision.recipe != prepared.decision.recipe:
            prepared = self._make_and_measure(minutes, decision)
        config = prepared.config
        run = Run(self.folder, config, self.corpus)
        text = open_text(run, baselines=(NGRAM,) if minutes < MINUTES_FOR_LZMA else BASELINES)
        if not is_plan:
            open_soft_targets(run, on_event=self.session.on_event)
            if config.training.ngram_weight:
                self.costs.ngram_seconds = 0.0
        decision = self.decide(kept=decision.recipe)
        training = config.training.with_steps(decision.steps)
        training = training.model_copy(update={"evaluations": decision.evaluations})
        costs = self.costs(decision.config, self.facts)
        fixed = fixed_share(training)
        deadline = Deadline(60 * minutes, self.started, self.session.clock, costs, fixed)
        return replace(
            prepared,
            decision=decision,
            config=config.model_copy(update={"training": training}),
            costs=costs,
            text=text,
            deadline=deadline,
        )

    def _make_and_measure(self, minutes: float, decision: Decision) -> Preparation:
        prepared = self.make(decision)
        costs = self.measure(
            prepared.config,
            self.corpus,
            prepared.engine,
            session=self.session,
            step_seconds=timed_seconds(minutes),
        )
        self.costs.note(decision.config, self.facts, costs)
        return prepared


def resolve_teacher(config: Config, corpus: Corpus, seed: int, *, engines: EngineFactory) -> Config:
    """Return the resolved config of a run's teacher, which shares only its text with the run."""
    assert config.training.teachers is not None, "the run has teachers"
    settings = {"seed": seed, "corpus": config.corpus.model_dump(mode="json"), "sampling.length": 0}
    user = UserSettings(recipe=config.training.teachers.recipe, overrides=nest(settings.items()))
    decision = decide(TextFacts.of(corpus), user, precision=fastest_precision())
    return resolve(decision.config, corpus, engines=engines)


def reopen(
    folder: Path, *, overrides: Overrides = (), engines: EngineFactory, session: Session
) -> tuple[Run, Engine]:
    """Open a run that has begun, and make its engine in its first state.

    If this machine lacks something that the config asks for, the engine uses a replacement and an
    event reports it; the config of the run stays unchanged.

    Raises:
        CharlmError: The folder is not a run, an override is not valid or may not change in a run,
            the corpus or the initial weights are missing or damaged, there is too little memory, or
            the workers differ.
        Stopped: A signal arrived.

    """
    run = open_run(folder, overrides=overrides)
    engines.workers.check_same(run.config, run.corpus)
    session.on_event(Resuming(folder))
    config = engines.resolve(run.config, on_event=session.on_event, is_recorded=True)
    weights = read_initial_weights(run)
    return run, new_engine(config, run.corpus, engines, initial=weights, session=session)


def resolve(
    config: Config,
    corpus: Corpus,
    *,
    engines: EngineFactory,
    init: InitialModel | None = None,
    on_event: OnEvent = ignore,
) -> Config:
    """Return the resolved config of a new run, or refuse it.

    Events report the kernel, and settings that this machine cannot follow.

    Raises:
        CharlmError: The corpus settings differ from those of the text, a teacher is not usable,
            there is too little memory for the soft targets, this machine lacks something that the
            config asks for, or the workers differ.

    """
    training = config.training
    parts = training.parts or engines.workers.default_parts(training.batch_size, cores=core_count())
    weights = None if init is None else init.sha256
    training = training.model_copy(update={"parts": parts, "initial_weights": weights})
    settings = resolve_corpus_settings(corpus, config.corpus)
    config = config.model_copy(update={"corpus": settings, "training": training})
    check_teachers(config, corpus, available_bytes=memory_bytes())
    config = engines.resolve(config, on_event=on_event, is_recorded=False)
    engines.workers.check_same(config, corpus)
    return config


def new_engine(
    config: Config,
    corpus: Corpus,
    engines: EngineFactory,
    *,
    initial: Parameters | None = None,
    session: Session,
) -> Engine:
    """Make the engine of a run.

    If the text is too short for the batches of the config, they become smaller, and an event
    reports it.

    The initial weights have the shapes of the config; None = random weights.

    Raises:
        CharlmError: The text has fewer than 2 characters, there is too little memory, or the engine
            lacks something that the config asks for.
        Stopped: A signal arrived.

    """
    check_memory(config, len(corpus.vocabulary), available_bytes=memory_bytes())
    batches, reduced = batches_of(config, len(corpus.split("train")))
    with session.interruption.immediate():
        engine = engines(config, batches, vocabulary_size=len(corpus.vocabulary))
        if initial is not None:
            engine.load_initial_weights(initial.tensors)
    if reduced is not None:
        session.on_event(reduced)
    return engine


def lengthen(
    run: Run, engine: Engine, *, minutes: float, started: float, session: Session
) -> tuple[Run, Deadline]:
    """Return a run with as many more steps as fit into a time limit, and its deadline.

    `started` is the time when the command began, by the clock of the session.

    Raises:
        Stopped: A signal arrived.

    """
    seconds = timed_seconds(minutes)
    costs = measure(run.config, run.corpus, engine, session=session, step_seconds=seconds)
    settings = run.config.training
    deadline = Deadline(60 * minutes, started, session.clock, costs, fixed_share(settings))
    done = max(saved_steps(run.folder / CHECKPOINTS), default=0)
    settings = deadline.lengthened(settings, engine, done)
    session.on_event(LengthAdded(minutes, (settings.steps or 0) - done))
    config = run.config.model_copy(update={"training": settings})
    return replace(run, config=config, previous=run.previous or run.config), deadline


def as_sources(text: Text, *, argument: str = "text") -> list[str]:
    """Return the files, or the corpus, of a text; raises CharlmError if it is not a Text."""
    if isinstance(text, Corpus):
        return [str(text.folder)]
    if text is None:
        return [str(DEFAULT_CORPUS)]
    sources = check_each(argument, text, check_text_path)
    if not sources:
        raise CharlmError(f"{argument}: found an empty list; must name files or folders")
    return sources


def text_name(text: Text) -> str:
    """Return the name of a text; raises CharlmError if it is a corpus that cannot be read."""
    sources = as_sources(text)
    if is_one_corpus(sources):
        return read_manifest(Path(sources[0])).text_name
    return name_text(sources)


def check_memory(config: Config, vocabulary_size: int, *, available_bytes: int | None) -> None:
    """Check that there is enough memory to train a network.

    The check is a lower limit: 4 bytes for each weight, its gradient, and each optimizer slot. If
    the memory is unknown (None), nothing is refused.

    Raises:
        CharlmError: There is too little memory.

    """
    optimizer = config.training.optimizer.name
    weights = architecture(config, vocabulary_size).size
    needed_bytes = 4 * weights * (4 if optimizer in TWO_SLOTS else 2)
    if available_bytes is not None and needed_bytes > available_bytes:
        raise CharlmError(
            f"model: {weights:,} weights; training them with {optimizer} needs at least "
            f"{needed_bytes / 1e9:,.1f} GB of memory, and this machine has "
            f"{available_bytes / 1e9:,.1f} GB; lower model.units or model.layers"
        )
