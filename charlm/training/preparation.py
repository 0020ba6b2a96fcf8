"""What is settled before a run is trained: its text, its config with nothing left open, and its engine.

Every run passes through one of two functions, once in each process and on each machine: `prepare` if it is new, a trial
of a search or a teacher for instance, and `reopen` if it goes on.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.config.file import Overrides, load_config, nest, parse_config
from charlm.config.recipes import DEFAULT_CORPUS, DEFAULT_RECIPE, RecipeAdvice, find_recipe, suited_recipe
from charlm.config.schema import Config, CorpusConfig, merge
from charlm.errors import CharlmError
from charlm.hardware import core_count, memory_bytes
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Parameters, architecture
from charlm.runs.folder import CORPUS, is_run
from charlm.runs.run import Parent, Run, adapt_parent, check_parent, open_run, read_initial
from charlm.storage import writing
from charlm.text.batches import fit_batches
from charlm.text.corpus import Corpus, is_corpus, open_corpus, read_manifest, settle_corpus_settings
from charlm.text.documents import name_text
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import Vocabulary
from charlm.training.display import wrap
from charlm.training.interface import Engine, EngineFactory
from charlm.training.signals import Say, Session
from charlm.training.soft_targets import check_teachers

Text = str | Path | Corpus | Sequence[str | Path] | None
"""What `tokenize` takes: files, folders, .gz files, or - for standard input; one of them or several,
each file a document. Or a corpus that it made, or the folder of one. None = the plays that come with charlm."""
TWO_SLOTS = {"adam", "adamw"}
"""Optimizers that keep two numbers for each weight with any arguments."""


@dataclass(frozen=True)
class Preparation:
    """A run that could begin."""

    corpus: Corpus
    config: Config
    """Every setting, with nothing left open; `charlm.training.timing.fit_to_minutes` may set another length."""
    first: TrainedModel | None
    """The weights that training begins with; None = they are drawn at random."""
    engine: Engine
    """In its first state."""
    advice: RecipeAdvice
    """What suits a text of its size."""
    is_advised: bool
    """Whether the config follows the advice, because no recipe was named."""
    advised_minutes: float | None
    """How long the recipe should train such a text; None = as long as the config says."""
    take_recipe: Callable[..., tuple[Config, TrainedModel | None, Engine]]
    """Returns `config`, `first` and `engine` by another recipe, given its name, and whether it may learn from n-grams:
    `has_ngrams`."""


def prepare(
    text: Text,
    *,
    recipe: str | Path | None,
    overrides: Mapping[str, Any],
    folder: Path,
    engines: EngineFactory,
    session: Session,
    parent: Parent | None = None,
) -> Preparation:
    """Read the text, settle every setting of a new run, and make its engine; if no recipe is named, say which it gets.

    A mistake in a setting is found before the text is read.

    Args:
        text: What is trained on.
        recipe: A name in configs/, or a YAML file; None = the recipe that suits the text, for the plays that come with
            charlm `default`.
        overrides: Values that replace those of the recipe, by sections as in a YAML file.
        folder: That of the run; the text is tokenized into its folder corpus/.
        engines: Makes the engines.
        session: The user of the training.
        parent: The model whose weights training begins with, and which decides the shape of the network; None = random
            weights.

    Raises:
        CharlmError: a key or a value is not right, the parent does not fit the overrides or the text, the text or a
            teacher cannot be read, the network or the soft targets of the teachers do not fit into the memory, or the
            machines do not agree.

    """
    is_advised = recipe is None and text is not None
    config = _read_recipe(None if is_advised else str(recipe or DEFAULT_RECIPE), overrides, parent)
    known = None if parent is None else parent.model.vocabulary
    corpus = read_text(text, folder / CORPUS, config.corpus, known=known, show_progress=session.show_progress)
    start, end = corpus.splits["train"]
    advice = suited_recipe(end - start)
    minutes = advice.minutes if is_advised and gives_length(overrides) is None else None

    def take(config: Config) -> tuple[Config, TrainedModel | None, Engine]:
        """Return the config with nothing left open, the first weights and the engine."""
        config = settle(config, corpus, engines=engines, parent=parent, say=session.say)
        first = None if parent is None else adapt_parent(parent, config, corpus, say=session.say)
        weights = None if first is None else first.parameters
        return config, first, new_engine(config, corpus, engines, first_weights=weights, session=session)

    def take_recipe(name: str, *, has_ngrams: bool = True) -> tuple[Config, TrainedModel | None, Engine]:
        """Return the same by a recipe, as it is or without its n-grams."""
        given = overrides if has_ngrams else merge({"training": {"ngram_weight": 0}}, overrides)
        return take(_read_recipe(name, given, parent))

    taken = take_recipe(advice.recipe) if is_advised else take(config)
    for line in wrap(f"recipe: {advice.recipe}: {advice.reason}") if is_advised else ():
        session.say(line)
    return Preparation(corpus, *taken, advice, is_advised, minutes, take_recipe)


def reopen(folder: Path, *, overrides: Overrides = (), engines: EngineFactory, session: Session) -> tuple[Run, Engine]:
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
            first weights are missing or damaged, there is too little memory, or the machines do not agree.
        Stopped: a signal came.

    """
    run = open_run(folder, overrides=overrides)
    engines.machines.check_same(run.config, run.corpus)
    session.say(f"resuming {folder}")
    config = engines.settle(run.config, say=session.say, is_recorded=True)
    return run, new_engine(config, run.corpus, engines, first_weights=read_initial(run), session=session)


def prepare_teacher(
    config: Config, corpus: Corpus, seed: int, *, folder: Path, engines: EngineFactory, session: Session
) -> Preparation:
    """Prepare a teacher of a run: it has a recipe, a seed, and the text as the run has read it.

    Args:
        config: Every setting of the run, whose `training.teachers` name a recipe; no other reaches the teacher.
        corpus: The text of the run.
        seed: One of the seeds there.
        folder: That of the teacher.
        engines: Makes the engine.
        session: The user of the training.

    Raises:
        CharlmError: as `prepare`.

    """
    assert config.training.teachers is not None, "the run has teachers"
    given = {"seed": seed, "corpus": config.corpus.model_dump(mode="json"), "sampling.length": 0}
    recipe, overrides = config.training.teachers.recipe, nest(given.items())
    return prepare(corpus, recipe=recipe, overrides=overrides, folder=folder, engines=engines, session=session)


def settle(config: Config, corpus: Corpus, *, engines: EngineFactory, parent: Parent | None = None, say: Say) -> Config:
    """Return the config of a new run, in which nothing is left open, or refuse it.

    Args:
        config: Every setting that the user, the recipe or a search has given.
        corpus: The text.
        engines: Makes the engines.
        parent: The model whose weights training begins with; None = random weights.
        say: Takes a line for the user.

    Raises:
        CharlmError: a setting of the section corpus is not that of the text, a teacher cannot be used, there is too
            little memory for what teachers say, this machine lacks what is asked for, or the machines do not agree.

    """
    training = config.training
    parts = training.parts or engines.machines.default_parts(training.batch_size, cores=core_count())
    filled = {"parts": parts, "first_weights": None if parent is None else parent.sha256}
    settings = settle_corpus_settings(corpus, config.corpus)
    config = config.model_copy(update={"corpus": settings, "training": training.model_copy(update=filled)})
    check_teachers(config, corpus, available_bytes=memory_bytes())
    config = engines.settle(config, say=say, is_recorded=False)
    engines.machines.check_same(config, corpus)
    return config


def new_engine(
    config: Config, corpus: Corpus, engines: EngineFactory, *, first_weights: Parameters | None = None, session: Session
) -> Engine:
    """Make the engine of a run, and say how a short text is cut.

    Args:
        config: Every setting of the run, settled for this machine.
        corpus: Its text.
        engines: Makes the engine.
        first_weights: The weights that training begins with, of the shapes that the config gives; None = they are
            drawn at random.
        session: The user of the training; a signal ends this at once.

    Raises:
        CharlmError: the text is too short, there is too little memory, or the config asks for something that the engine
            does not have.
        Stopped: a signal came.

    """
    check_memory(config, len(corpus.vocabulary), available_bytes=memory_bytes())
    settings = config.training
    batches, shrunk = fit_batches(
        len(corpus.split("train")),
        batch_size=settings.batch_size,
        sequence_length=settings.sequence_length,
        seed=config.seed if settings.data_seed is None else settings.data_seed,
        shuffle=settings.shuffle,
    )
    with session.at_once():
        engine = engines(config, batches, vocabulary_size=len(corpus.vocabulary))
        if first_weights is not None:
            engine.begin_with(first_weights.tensors())
    if shrunk is not None:
        session.say(shrunk)
    return engine


def gives_length(settings: Mapping[str, Any]) -> str | None:
    """Return which key of these settings, by sections, says how long a run trains; None = none does."""
    given = settings.get("training")
    names = [name for name in ("epochs", "steps") if isinstance(given, Mapping) and name in given]
    return f"training.{names[0]}" if names else None


def _read_recipe(name: str | None, overrides: Mapping[str, Any], parent: Parent | None) -> Config:
    """Return the config that a recipe, the shape of the parent and the overrides give; no name = the defaults."""
    shape = {} if parent is None else nest(parent.model.architecture.settings().items())
    others = merge(shape, overrides)
    if name is None:
        config = parse_config(others, origin="override")
    else:
        path = find_recipe(name)
        config = load_config(path, overrides=others).model_copy(update={"recipe": path.stem})
    check_parent(config, parent)
    return config


def as_sources(text: Text) -> list[str]:
    """Return the files or the corpus that a text is made from; raises CharlmError if it is not of the kinds of Text."""
    if isinstance(text, Corpus):
        return [str(text.folder)]
    if text is None:
        return [str(DEFAULT_CORPUS)]
    sources = [text] if isinstance(text, str | Path) or not isinstance(text, Iterable) else [*text]
    if not sources:
        raise CharlmError("text: found an empty list; must name files or folders")
    return [str(source) for source in sources]


def read_text(
    text: Text, folder: Path, settings: CorpusConfig, *, known: Vocabulary | None = None, show_progress: bool = False
) -> Corpus:
    """Turn a text into a corpus in a folder, or make the folder a link to a corpus, and open it.

    The link to the corpus of a run is relative in a run within it, a teacher, so that the outer run can be moved.

    Args:
        text: What is trained on.
        folder: The folder, which does not exist.
        settings: The section `corpus` of the config.
        known: The vocabulary of the model whose weights training begins with: its characters keep their ids, and the
            text gets ids for those that it lacks.
        show_progress: Whether to show a bar on standard error.

    Raises:
        CharlmError: the text cannot be read, or the folder cannot be written.

    """
    sources = as_sources(text)
    if not _is_one_corpus(sources):
        return tokenize(sources, folder, settings, known=known, progress=show_progress)
    corpus = open_corpus(Path(sources[0]))
    outer = corpus.folder.parent
    is_within = is_run(outer) and folder.is_relative_to(outer)
    with writing(folder):
        target = os.path.relpath(corpus.folder, folder.parent) if is_within else corpus.folder.resolve()
        folder.symlink_to(target, target_is_directory=True)
    return corpus


def text_name(text: Text) -> str:
    """Return the name of a text; raises CharlmError if it is a corpus that cannot be read."""
    sources = as_sources(text)
    return read_manifest(Path(sources[0])).text_name if _is_one_corpus(sources) else name_text(sources)


def _is_one_corpus(sources: Sequence[str]) -> bool:
    return len(sources) == 1 and is_corpus(Path(sources[0]))


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
