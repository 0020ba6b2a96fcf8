"""The choice of how a text is trained: recipe, length, evaluations and number format.

`choose` goes through the recipes for the size of the text, best first. Without a time limit it
takes the first. With one, it takes the first that reads enough of the text in the time, by the time
of a few real steps. The rule was measured, see docs/recipes.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from charlm.config.file import load_config, nest
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, merge
from charlm.core.architecture import architecture
from charlm.core.batches import fit_batches
from charlm.core.engine import Engine, EngineFactory, SoftTargets
from charlm.core.evaluating import EVALUATED_CHARACTERS, TrainingText
from charlm.core.model_file import TrainedModel
from charlm.core.rnn import Parameters
from charlm.core.schedule import Schedule, make_schedule
from charlm.core.scoring import Score
from charlm.errors import CharlmError
from charlm.hardware import memory_bytes
from charlm.measures.baselines import NGRAM, ngram_score
from charlm.runs.initial_weights import (
    InitialModel,
    adapt_initial_model,
    check_initial_model,
    compare_base,
)
from charlm.runs.run import corpus_identity
from charlm.runs.session import Session
from charlm.runs.soft_targets import memory_problem, open_soft_targets
from charlm.runs.timing import EVALUATION_SHARE, TimeLimit, Timing, time_engine
from charlm.text.corpus import Corpus, resolve_corpus_settings
from charlm.text.tokenization import SHORT_TEXT
from charlm.wording import counted

FEWEST_CHARACTERS = 20
"""Length below which a text is refused, since a network can learn nothing from it."""
REGULAR = 1.0
"""Loss of the n-gram model on the validation text, in nats per character, below which a network
learns more without n-grams; measured, see docs/recipes.md."""
FEW_STEPS = 200
"""Number of steps that a network needs to learn more than how frequent each character is."""
LONG_TEXT = 2_000_000
"""Number of training characters from which training does not begin with the base."""
MAX_MINUTES = 1_000_000
"""Largest time limit, about two years."""
TWO_SLOTS = {"adam", "adamw"}
"""Optimizers that always keep two numbers for each weight."""


@dataclass(frozen=True)
class Request:
    """The choices of the user; everything else is chosen for the text."""

    recipe: str | None = None
    """Name or file of a recipe; None = choose a recipe."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings that replace the values in the recipe, nested by section as in a YAML file."""
    init: InitialModel | None = None
    """Model with the initial weights; None = random weights, or the base if it is better."""
    minutes: float | None = None
    """Time limit of the whole command; None = no limit."""
    is_random: bool = False
    """Whether the user asks for random weights."""

    @property
    def training(self) -> Mapping[str, Any]:
        """The section `training` of the overrides; empty if it is missing or not valid."""
        training = self.overrides.get("training")
        return training if isinstance(training, Mapping) else {}

    @property
    def may_use_base(self) -> bool:
        """Whether training may begin with the base: the user chooses neither weights nor shape."""
        return not (self.recipe or self.init or self.is_random or "model" in self.overrides)

    @property
    def length_key(self) -> str | None:
        """Key of the override that gives the length of the run, or None."""
        for name in ("epochs", "steps"):
            if self.training.get(name) is not None:
                return f"training.{name}"
        return None

    def config(self, recipe: str) -> Config:
        """Return the config of a recipe with the user's settings.

        With initial weights, the network gets the shape of their model.

        Raises:
            CharlmError: The recipe cannot be read, or a key or value is not valid.

        """
        shape = {} if self.init is None else self.init.model.architecture.settings()
        path = find_recipe(recipe)
        config = load_config(path, overrides=merge(nest(shape.items()), self.overrides))
        config = config.model_copy(update={"recipe": config.recipe or path.stem})
        check_initial_model(config, self.init)
        return config

    def check(self) -> Config:
        """Check what can be checked before the text is read; return a config for reading the text.

        Raises:
            CharlmError: The recipe cannot be read, a key or value is not valid, or a time limit is
                combined with a length.

        """
        if self.minutes is not None and self.length_key:
            raise CharlmError(
                f"minutes {self.minutes:g}: {self.length_key} sets the length too; leave "
                f"out one of the two"
            )
        return self.config(self.recipe or "default")


@dataclass(frozen=True)
class Candidate:
    """A recipe that may be chosen, and the condition for it."""

    recipe: str
    """Name in configs/, or the recipe that the user named."""
    reason: str = ""
    """Explanation for the user; "" if the user named the recipe."""
    fewest_epochs: float = 0.0
    """Number of passes over the training text that must fit into a time limit."""
    fewest_characters: int = 0
    """Number of characters, over all epochs, that must fit into a time limit."""
    minutes: float | None = None
    """Time limit if the user gave none; None = train for the length in the recipe."""


MEMORIZE = Candidate(
    "memorize",
    f"a text below {SHORT_TEXT:,} characters is memorised until the network can recite it; "
    "-c small generates new text instead",
)
INIT_REASON = "a low learning rate, and neither dropout nor n-grams, suit weights that have learnt"
QUICK = Candidate("quick", "two layers and small batches learn the most in such a short time")
CANDIDATES: Mapping[float, tuple[Candidate, ...]] = {
    60_000: (
        Candidate(
            "small",
            "a narrow network and n-grams keep the network from memorising such a short text "
            "too soon",
            fewest_epochs=8,
        ),
        QUICK,
    ),
    500_000: (
        Candidate(
            "default",
            "dropout, and n-grams if the text is not regular, keep the network from memorising it",
            fewest_epochs=8,
        ),
        QUICK,
    ),
    LONG_TEXT: (
        Candidate(
            "shakespeare",
            "four narrow layers learn a text of about a million characters in minutes",
            fewest_characters=1_800_000,
        ),
        QUICK,
    ),
    math.inf: (
        Candidate(
            "5mb",
            "a text of this size is too long to memorise, so wide layers need no dropout",
            fewest_characters=16_000_000,
            minutes=10,
        ),
        Candidate(
            "shakespeare",
            "four narrow layers read more of such a long text in this time than wide layers",
            fewest_characters=1_800_000,
        ),
        QUICK,
    ),
}
"""Recipes for texts whose training part has fewer characters than the key, the best recipe
first."""


FINETUNING: Mapping[float, tuple[Candidate, ...]] = {
    40_000: (Candidate("finetune", INIT_REASON),),
    LONG_TEXT: (Candidate("finetune-long", INIT_REASON),),
    math.inf: (Candidate("finetune-long", INIT_REASON, minutes=10),),
}
"""Recipes for texts that begin with the weights of a model, as in CANDIDATES."""


@dataclass(frozen=True)
class Plan:
    """A decision on how a text is trained, with an engine in its first state."""

    config: Config
    """Every setting, resolved."""
    corpus: Corpus
    initial: TrainedModel | None
    """Model with the initial weights, adapted to the text; None = random weights."""
    engine: Engine
    text: TrainingText
    candidate: Candidate
    timing: Timing
    """Measured times of the parts of the run."""
    limit: TimeLimit | None
    """Time limit; None = no limit."""
    soft_targets: SoftTargets | None = None
    ngram: Score | None = None
    """Score of an 8-gram model on the validation text; None without such a text."""
    beginning: str = ""
    """Which initial weights were chosen and why, for the user; "" if the user chose them."""

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule of the run."""
        return make_schedule(self.config.training, self.engine.batches)

    @property
    def minutes(self) -> float | None:
        """Time limit; None = no limit."""
        return None if self.limit is None else self.limit.minutes

    @property
    def evaluations(self) -> int:
        """Number of evaluations: at most one per step, and one for a run of 0 steps."""
        return max(1, min(self.config.training.evaluations, self.schedule.total))

    @property
    def seconds(self) -> float:
        """Expected time from the first step to the end."""
        evaluations = self.evaluations * self.timing.evaluation_seconds
        return self.schedule.total * self.timing.step_seconds + evaluations

    @property
    def may_end_early(self) -> bool:
        """Whether the run may end before its last step, because its loss is low or rises."""
        training = self.config.training
        return training.target_loss is not None or training.early_stopping is not None


def choose(
    corpus: Corpus,
    request: Request,
    *,
    folder: Path,
    engines: EngineFactory,
    session: Session,
) -> Plan:
    """Choose how a text is trained, and compute the soft targets of the run.

    Args:
        corpus: The text.
        request: The choices of the user.
        folder: Folder of the new run, for its soft targets.
        engines: Factory for the engine.
        session: Session of a `stop_on_signal` block; its notes explain the choice.

    Raises:
        CharlmError: The text is too short, a recipe or a setting is not valid, the initial weights
            do not fit, or there is too little memory.
        Stopped: A signal arrived.

    """
    check_length(corpus)
    text = training_text(corpus)
    ngram = score_opponent(text)
    beginning = ""
    if request.may_use_base and ngram is not None and len(text.training) < LONG_TEXT:
        base, beginning = compare_base(corpus, text, ngram)
        request = replace(request, init=base)
    candidates = candidates_for(corpus, request)
    minutes = request.minutes
    if minutes is None and not request.length_key:
        minutes = candidates[0].minutes
    limit = None
    if minutes is not None:
        limit = TimeLimit(minutes, session.started + 60 * minutes, session.clock)
    problem = _ngram_problem(corpus, request, ngram)
    for candidate in candidates:
        config = request.config(candidate.recipe)
        has_ngrams = config.training.ngram_weight > 0
        if problem is not None:
            config = config.with_training(ngram_weight=0.0)
        plan = _make_plan(
            candidate,
            config,
            corpus,
            request,
            text,
            engines=engines,
            session=session,
            limit=limit,
        )
        if limit is None or _reads_enough(plan, limit):
            break
    if beginning:
        session.note(f"begins with {beginning}")
    if problem is not None and has_ngrams:
        session.note(f"training without n-grams: {problem}")
    targets = open_soft_targets(folder, plan.config, corpus, on_event=session.on_event)
    plan = replace(plan, soft_targets=targets, ngram=ngram, beginning=beginning)
    recipe_steps = plan.schedule.total
    if limit is not None:
        plan = _fit_to_limit(plan, limit, request, session)
    if request.init is None or plan.schedule.total < recipe_steps:
        _note_few_steps(plan, session)
    return plan


def training_text(corpus: Corpus) -> TrainingText:
    """Return the text of a run that has this corpus."""
    validation = corpus.split("validation")[:EVALUATED_CHARACTERS]
    return TrainingText(
        vocabulary=corpus.vocabulary,
        training=corpus.split("train"),
        validation=validation if len(validation) >= 2 else None,
        identity=corpus_identity(corpus),
    )


def score_opponent(text: TrainingText) -> Score | None:
    """Score the validation text with an 8-gram model, which takes up to a second."""
    if text.validation is None:
        return None
    return ngram_score(text.validation, text.vocabulary, text.training)


def check_length(corpus: Corpus) -> None:
    """Raise CharlmError if a text is too short."""
    characters = corpus.manifest.characters
    if characters < FEWEST_CHARACTERS:
        raise CharlmError(
            f"the text has {counted(characters, 'character')}; expected at least "
            f"{FEWEST_CHARACTERS}"
        )


def candidates_for(corpus: Corpus, request: Request) -> tuple[Candidate, ...]:
    """Return the recipes for a text, best first."""
    manifest = corpus.manifest
    if request.recipe is not None:
        return (Candidate(request.recipe),)
    is_short = manifest.characters < SHORT_TEXT and len(manifest.sources) == 1
    if is_short and not len(corpus.split("validation")) and request.init is None:
        return (MEMORIZE,)
    characters = len(corpus.split("train"))
    by_length = CANDIDATES if request.init is None else FINETUNING
    return next(candidates for limit, candidates in by_length.items() if characters < limit)


def _make_plan(
    candidate: Candidate,
    config: Config,
    corpus: Corpus,
    request: Request,
    text: TrainingText,
    *,
    engines: EngineFactory,
    session: Session,
    limit: TimeLimit | None,
) -> Plan:
    """Resolve the config of a candidate, make its engine, and time its parts.

    Raises CharlmError if a setting does not fit the text, or this machine lacks something.
    """
    on_event = session.on_event
    settings = resolve_corpus_settings(corpus, config.corpus)
    config = config.model_copy(update={"corpus": settings}).with_training(
        initial_weights=None if request.init is None else request.init.sha256,
        initial_model=None if request.init is None else request.init.name,
    )
    config = engines.resolve(config, is_recorded=False)
    initial = weights = None
    if request.init is not None:
        initial = adapt_initial_model(request.init, config, corpus, on_event=on_event)
        weights = initial.parameters
    engine = new_engine(config, corpus, engines, initial=weights)
    minutes = None if limit is None else limit.minutes
    timing = time_engine(config, text, engine, session=session, minutes=minutes)
    return Plan(config, corpus, initial, engine, text, candidate, timing, limit)


def _reads_enough(plan: Plan, limit: TimeLimit) -> bool:
    """Return whether a recipe reads enough of its text within the time limit."""
    candidate = plan.candidate
    characters = len(plan.corpus.split("train"))
    fewest = max(candidate.fewest_characters, candidate.fewest_epochs * characters)
    steps = fewest / plan.engine.batches.characters_per_step
    return steps * plan.timing.step_seconds <= (1 - EVALUATION_SHARE) * limit.left()


def _ngram_problem(corpus: Corpus, request: Request, ngram: Score | None) -> str | None:
    """Return why a network should not learn from n-grams, or None.

    The reason is that they do not fit into the memory, or that a text, whose recipe is chosen, is
    so regular that they would do harm.
    """
    problem = memory_problem(corpus, available_bytes=memory_bytes())
    is_set = request.recipe is not None or "ngram_weight" in request.training
    if problem or is_set or ngram is None or ngram.nats_per_char >= REGULAR:
        return problem
    return (
        f"this text is regular ({ngram.nats_per_char:.2f} nats for an {NGRAM} model), and a "
        "network would learn their errors"
    )


def _fit_to_limit(plan: Plan, limit: TimeLimit, request: Request, session: Session) -> Plan:
    """Return a plan with as many steps and evaluations as fit into a time limit.

    A training from the base gets at most the steps of its recipe; more would memorise the text.
    """
    limit.evaluation_seconds = plan.timing.evaluation_seconds
    wanted = plan.config.training.evaluations
    steps, evaluations = plan.timing.fitting(
        limit.left(),
        evaluations=wanted,
        is_fixed="evaluations" in request.training,
    )
    if plan.beginning and plan.initial is not None:
        steps = min(steps, plan.schedule.total)
    if evaluations < wanted:
        session.warn(f"only {counted(evaluations, 'evaluation')} fit into {limit.minutes:g} min")
    config = plan.config.with_training(steps=steps, epochs=None, evaluations=evaluations)
    return replace(plan, config=config)


def _note_few_steps(plan: Plan, session: Session) -> None:
    steps = plan.schedule.total
    settings = plan.config.training
    is_chosen = plan.limit is None and settings.steps is not None
    if steps >= FEW_STEPS or settings.is_untrained or is_chosen:
        return
    longer = "more --minutes" if plan.limit is not None else "more --epochs"
    session.warn(f"{counted(steps, 'step')} will teach the network little; train with {longer}")


def new_engine(
    config: Config,
    corpus: Corpus,
    engines: EngineFactory,
    *,
    initial: Parameters | None = None,
) -> Engine:
    """Make the engine of a run in its first state.

    If the text is too short for the batches of the config, they become smaller.

    Raises:
        CharlmError: The text has fewer than 2 characters, there is too little memory, or the engine
            lacks something that the config asks for.

    """
    _check_memory(config, len(corpus.vocabulary))
    settings = config.training
    batches = fit_batches(
        len(corpus.split("train")),
        batch_size=settings.batch_size,
        sequence_length=settings.sequence_length,
        seed=config.seed,
    )
    engine = engines(config, batches, vocabulary_size=len(corpus.vocabulary))
    if initial is not None:
        engine.load_initial_weights(initial.tensors)
    return engine


def _check_memory(config: Config, vocabulary_size: int) -> None:
    """Check that there is enough memory to train a network.

    The check is a lower limit: 4 bytes for each weight, its gradient, and each optimizer slot. If
    the memory is unknown, nothing is refused.

    Raises:
        CharlmError: There is too little memory.

    """
    optimizer = config.training.optimizer.name
    weights = architecture(config, vocabulary_size).size
    needed_bytes = 4 * weights * (4 if optimizer in TWO_SLOTS else 2)
    available_bytes = memory_bytes()
    if available_bytes is not None and needed_bytes > available_bytes:
        raise CharlmError(
            f"model: {weights:,} weights; training them with {optimizer} needs at least "
            f"{needed_bytes / 1e9:,.1f} GB of memory, and this machine has "
            f"{available_bytes / 1e9:,.1f} GB; lower model.units or model.layers"
        )
