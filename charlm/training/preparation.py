"""What happens before a run is trained: its text is read, its settings are decided, its engine is made.

Every run passes through one of two functions, once in each process and on each worker: `prepare` if it is new, for
instance a trial of a search or a teacher, and `reopen` if it continues.
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
from charlm.training.timing import (
    TIMED_SECONDS,
    TIMED_SHARE,
    Deadline,
    check_reading,
    measure,
    time_ngrams,
)

Text = str | Path | Corpus | Sequence[str | Path] | None
"""What `tokenize` takes: files, folders, .gz files, or - for standard input; one of them or several,
each file a document. Or a corpus that it made, or the folder of one. None = the plays that come with charlm."""
MINUTES_FOR_LZMA = 1.0
"""A run with a shorter time limit is not compared with lzma, which takes seconds."""
TOLERANCE = 1.3
"""A recipe whose engine was made is replaced only if its costs are wrong by this factor: making another takes time."""
Measure = Callable[..., Costs]
TWO_SLOTS = {"adam", "adamw"}
"""Optimizers that keep two numbers for each weight with any arguments."""


@dataclass(frozen=True)
class Preparation:
    """A run that could begin."""

    corpus: Corpus
    decision: Decision
    """How the run is trained, and why."""
    config: Config
    """Every setting, with nothing left open."""
    initial: TrainedModel | None
    """The weights that training begins with; None = they are drawn at random."""
    engine: Engine
    """In its first state."""
    costs: Costs | None = None
    """What the parts of the run cost, if it has a time limit."""
    text: EvaluatedText | None = None
    """What the evaluations read, if it was opened already."""
    deadline: Deadline | None = None
    """The deadline of the run, if it has a time limit."""
    teachers: Mapping[int, Config] = field(default_factory=dict)
    """The config of each teacher that the run trains first, by its seed."""

    def begin(self, folder: RunFolder) -> Run:
        """Begin the run in the folder that has its text; raises CharlmError if it cannot be written."""
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
    """Read the text, decide how a new run is trained, and make its engine.

    With a time limit, the engine is timed first, and n-grams are counted, so that their time is known.

    Args:
        text: What is trained on.
        user: What the user gave.
        folder: The folder of the run; the text is written there.
        engines: Makes the engines.
        session: The user of the training.
        init: The model whose weights training begins with; None = random weights.
        started: When the command began, by the clock of the session; None = now.
        is_plan: Whether the run is only planned: then n-grams are estimated instead of counted.
        measure: Finds out how long the parts of a run take, see `charlm.training.timing.measure`.

    Raises:
        CharlmError: a key or value is not valid, the initial model does not fit the overrides or the text, the text or a
            teacher cannot be read, the network or the soft targets of the teachers do not fit into the memory, or the
            workers do not agree.
        Stopped: a signal came.

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
        prepared = maker.prepared(decision, *maker.make(decision))
    else:
        prepared = maker.within_limit(decision, is_plan=is_plan)
    if not is_plan:
        decision = prepared.decision
        for event in (decision.event(prepared.engine.batches), *decision.notes):
            session.on_event(event)
    return prepared


def _is_memorized(user: UserSettings, config: Config, corpus: Corpus) -> bool:
    """Return whether a network is to recite the whole text, because it is short or the recipe says so."""
    if user.recipe is not None:
        return config.training.until_recited
    is_free = not user.architecture and "corpus" not in user.overrides
    has_one_document = len(corpus.manifest.sources) == 1
    return is_free and has_one_document and len(corpus.ids) < MEMORIZED_CHARACTERS


@dataclass
class _Maker:
    """Decides about a run whose text is read, and makes its engine."""

    corpus: Corpus
    facts: TextFacts
    user: UserSettings
    folder: Path
    engines: EngineFactory
    session: Session
    init: InitialModel | None
    started: float
    measure: Measure

    def __post_init__(self) -> None:
        self.costs = MachineCosts()

    def decide(self, *, kept: str | None = None, tolerance: float = math.inf) -> Decision:
        """Decide with the costs that are known; `kept` and `tolerance` are those of `decide`."""
        spent = self.session.clock() - self.started
        return decide(
            self.facts,
            self.user,
            kept=kept,
            tolerance=tolerance,
            costs_of=self.costs,
            precision=fastest_precision(),
            spent_seconds=self._shared(spent),
            memory_bytes=memory_bytes(),
        )

    def _shared(self, seconds: float) -> float:
        """Return the seconds that worker 0 has passed, so that all workers decide the same."""
        return self.engines.workers.share(round(1e9 * seconds)) / 1e9

    def make(self, decision: Decision) -> tuple[Config, TrainedModel | None, Engine]:
        """Return the config with nothing left open, the initial weights and the engine of a decision."""
        config = decision.config
        on_event = self.session.on_event
        check_initial_model(config, self.init)
        config = resolve(
            config, self.corpus, engines=self.engines, init=self.init, on_event=on_event
        )
        initial = (
            None
            if self.init is None
            else adapt_initial_model(self.init, config, self.corpus, on_event=on_event)
        )
        weights = None if initial is None else initial.parameters
        engine = new_engine(
            config, self.corpus, self.engines, initial=weights, session=self.session
        )
        return config, initial, engine

    def within_limit(self, decision: Decision, *, is_plan: bool) -> Preparation:
        """Time the run that was decided on, decide again with its true costs, and open its text."""
        assert decision.minutes is not None, "the run has a time limit"
        if decision.config.training.ngram_weight or decision.notes:
            self.costs.ngram_seconds = self._shared(time_ngrams(self.corpus, session=self.session))
            decision = self.decide()
        made = self._make_and_measure(decision)
        again = self.decide(kept=decision.recipe, tolerance=TOLERANCE)
        if again.recipe != decision.recipe:
            made = self._make_and_measure(again)
        config, initial, engine = made
        run = Run(self.folder, config, self.corpus)
        is_short = (decision.minutes or 0.0) < MINUTES_FOR_LZMA
        text = open_text(run, baselines=(NGRAM,) if is_short else BASELINES)
        if not is_plan:
            open_soft_targets(run, on_event=self.session.on_event)
            if config.training.ngram_weight:
                self.costs.ngram_seconds = 0.0
        decision = self.decide(kept=again.recipe)
        training = config.training.with_steps(decision.steps)
        training = training.model_copy(update={"evaluations": decision.evaluations})
        config = config.model_copy(update={"training": training})
        costs = self.costs(decision.config, self.facts)
        prepared = self.prepared(decision, config, initial, engine)
        deadline = Deadline(
            seconds=60 * (decision.minutes or 0.0),
            started=self.started,
            clock=self.session.clock,
            costs=costs,
            fixed_share=fixed_share(config.training),
        )
        return replace(prepared, costs=costs, text=text, deadline=deadline)

    def _make_and_measure(self, decision: Decision) -> tuple[Config, TrainedModel | None, Engine]:
        """Make an engine, and note what its parts cost."""
        config, initial, engine = self.make(decision)
        seconds = min(TIMED_SECONDS, TIMED_SHARE * 60 * (decision.minutes or 0.0))
        found = self.measure(
            config, self.corpus, engine, session=self.session, step_seconds=seconds
        )
        self.costs.note(decision.config, self.facts, found)
        return config, initial, engine

    def prepared(
        self, decision: Decision, config: Config, initial: TrainedModel | None, engine: Engine
    ) -> Preparation:
        """Return the run that could begin."""
        teachers = {
            seed: resolve_teacher(config, self.corpus, seed, engines=self.engines)
            for seed in config.training.used_teachers.seeds
        }
        return Preparation(self.corpus, decision, config, initial, engine, teachers=teachers)


def resolve_teacher(config: Config, corpus: Corpus, seed: int, *, engines: EngineFactory) -> Config:
    """Return the config of a teacher of a run, with nothing left open.

    It has a recipe, a seed, and the text as the run has read it; no other setting of the run reaches it.

    Args:
        config: Every setting of the run, whose `training.teachers` name a recipe.
        corpus: The text of the run.
        seed: Seed of the teacher.
        engines: Makes the engine.

    Raises:
        CharlmError: as `prepare`.

    """
    assert config.training.teachers is not None, "the run has teachers"
    settings = {"seed": seed, "corpus": config.corpus.model_dump(mode="json"), "sampling.length": 0}
    user = UserSettings(recipe=config.training.teachers.recipe, overrides=nest(settings.items()))
    decision = decide(TextFacts.of(corpus), user, precision=fastest_precision())
    return resolve(decision.config, corpus, engines=engines)


def reopen(
    folder: Path, *, overrides: Overrides = (), engines: EngineFactory, session: Session
) -> tuple[Run, Engine]:
    """Open a run that has begun, and make its engine, in its first state.

    What the run asks for and this machine lacks is replaced in the engine, with a line, but not in the config of the
    run.

    Args:
        folder: That of the run.
        overrides: Values that replace those of its config.
        engines: Makes the engines.
        session: The user of the training.

    Raises:
        CharlmError: the folder is not a run, an override is not valid or may not change in a run, the corpus or the
            initial weights are missing or damaged, there is too little memory, or the workers do not agree.
        Stopped: a signal came.

    """
    run = open_run(folder, overrides=overrides)
    engines.workers.check_same(run.config, run.corpus)
    session.on_event(Resuming(folder))
    config = engines.resolve(run.config, on_event=session.on_event, is_recorded=True)
    return run, new_engine(
        config, run.corpus, engines, initial=read_initial_weights(run), session=session
    )


def resolve(
    config: Config,
    corpus: Corpus,
    *,
    engines: EngineFactory,
    init: InitialModel | None = None,
    on_event: OnEvent = ignore,
) -> Config:
    """Return the config of a new run, in which nothing is left open, or refuse it.

    Args:
        config: Every setting that the user, the recipe or a search has user.
        corpus: The text.
        engines: Makes the engines.
        init: The model whose weights training begins with; None = random weights.
        on_event: Called with SettingReplaced and the events of the kernel.

    Raises:
        CharlmError: a setting of the section corpus is not that of the text, a teacher cannot be used, there is too
            little memory for what teachers say, this machine lacks what is asked for, or the workers do not agree.

    """
    training = config.training
    parts = training.parts or engines.workers.default_parts(training.batch_size, cores=core_count())
    filled = {"parts": parts, "initial_weights": None if init is None else init.sha256}
    settings = resolve_corpus_settings(corpus, config.corpus)
    config = config.model_copy(
        update={"corpus": settings, "training": training.model_copy(update=filled)}
    )
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
    """Make the engine of a run; an event tells if the text is too short for its batches.

    Args:
        config: Every setting of the run, resolved for this machine.
        corpus: Its text.
        engines: Makes the engine.
        initial: The weights that training begins with, of the shapes that the config gives; None = they are drawn at
            random.
        session: The user of the training; a signal ends this at once.

    Raises:
        CharlmError: the text is too short, there is too little memory, or the config asks for something that the engine
            does not have.
        Stopped: a signal came.

    """
    check_memory(config, len(corpus.vocabulary), available_bytes=memory_bytes())
    batches, shrunk = batches_of(config, len(corpus.split("train")))
    with session.interruption.at_once():
        engine = engines(config, batches, vocabulary_size=len(corpus.vocabulary))
        if initial is not None:
            engine.load_initial_weights(initial.tensors)
    if shrunk is not None:
        session.on_event(shrunk)
    return engine


def lengthen(
    run: Run, engine: Engine, *, minutes: float, started: float, session: Session
) -> tuple[Run, Deadline]:
    """Return a run with as many more steps as fit into a time limit, and its deadline.

    Args:
        run: The run, which has begun.
        engine: Its engine, in its first state.
        minutes: The time limit of the command.
        started: When the command began, by the clock of the session.
        session: Of a `stop_on_signal` block.

    Raises:
        Stopped: a signal came.

    """
    seconds = min(TIMED_SECONDS, TIMED_SHARE * 60 * minutes)
    found = measure(run.config, run.corpus, engine, session=session, step_seconds=seconds)
    deadline = Deadline(
        60 * minutes, started, session.clock, found, fixed_share(run.config.training)
    )
    done = max(saved_steps(run.folder / CHECKPOINTS), default=0)
    settings = deadline.lengthened(run.config.training, engine, done)
    session.on_event(LengthAdded(minutes, (settings.steps or 0) - done))
    config = run.config.model_copy(update={"training": settings})
    return replace(run, config=config, previous=run.previous or run.config), deadline


def as_sources(text: Text, *, argument: str = "text") -> list[str]:
    """Return the files or the corpus that a text is made from.

    Args:
        text: The text.
        argument: The name of the argument, for the message of an error.

    Raises:
        CharlmError: it is not of the kinds of Text.

    """
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
    return (
        read_manifest(Path(sources[0])).text_name if is_one_corpus(sources) else name_text(sources)
    )


def check_memory(config: Config, vocabulary_size: int, *, available_bytes: int | None) -> None:
    """Check that there is enough memory to train a network.

    Counted are 4 bytes for each weight, for its gradient, and for each slot of the optimizer. That is a lower limit.

    Args:
        config: Every setting of the run.
        vocabulary_size: V, the number of ids.
        available_bytes: The memory of the machine; None = not known, and nothing is refused.

    Raises:
        CharlmError: more memory is needed than there is.

    """
    weights, optimizer = architecture(config, vocabulary_size).size, config.training.optimizer.name
    numbers = 4 if optimizer in TWO_SLOTS else 2
    needed = 4 * numbers * weights
    if available_bytes is not None and needed > available_bytes:
        raise CharlmError(
            f"model: {weights:,} weights; training them with {optimizer} needs at least {needed / 1e9:,.1f} GB of "
            f"memory, and there is {available_bytes / 1e9:,.1f} GB: lower model.units or model.layers"
        )
