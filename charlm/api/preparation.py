"""What is settled before a training: its text, its config with nothing left open, and its engine.

And the forms in which the library takes a text and settings.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.config.recipes import DEFAULT_CORPUS, DEFAULT_RECIPE, RecipeAdvice, find_recipe, suited_recipe
from charlm.config.schema import Config, CorpusConfig
from charlm.engine.kernel import settle_kernel
from charlm.errors import CharlmError
from charlm.hardware import memory_bytes
from charlm.network.bundle import Bundle
from charlm.runs.folder import CORPUS
from charlm.runs.initial import Parent, adapt_parent, check_first_weights, check_level, load_run_config
from charlm.text.corpus import Corpus, is_corpus, open_corpus, settle_corpus_settings
from charlm.text.tokenization import tokenize
from charlm.training.display import wrap
from charlm.training.engine import Engine, EngineFactory
from charlm.training.loop import new_engine
from charlm.training.parts import fill_parts
from charlm.training.signals import Session
from charlm.training.soft_targets import check_teachers

Overrides = str | Iterable[str] | Mapping[str, Any]
"""Values that replace those of a config: one `KEY=VALUE` as on the command line, several of them, or a mapping of
dotted keys to values."""
Text = str | Path | Corpus | Sequence[str | Path] | None
"""What `tokenize` takes: files, folders, glob patterns, .gz files, or - for standard input; one of them or several,
each file a document. Or a corpus that it made, or the folder of one. None = the plays that come with charlm."""
LENGTH = ("training.epochs", "training.steps")
"""The settings that `minutes` decides."""


@dataclass(frozen=True)
class Preparation:
    """A training that could begin."""

    corpus: Corpus
    config: Config
    """Every setting, with nothing left open."""
    first: Bundle | None
    """The weights that training begins with; None = they are drawn at random."""
    advice: RecipeAdvice
    """What suits a text of its size."""
    is_advised: bool
    """Whether the config follows the advice, because no recipe was named."""
    minutes: float | None
    """How long the training is to take; None = as long as its config says."""

    def describe_advice(self) -> list[str]:
        """Return the lines that tell the user which recipe the text gets and why, if it follows the advice."""
        if not self.is_advised:
            return []
        lines = wrap(f"recipe: {self.advice.recipe}: {self.advice.reason}")
        if self.advice.better is not None:
            lines.append(f"better, in about {self.advice.times:g} times the time: -c {self.advice.better}")
        return lines

    def new_engine(self, make_engine: EngineFactory, *, session: Session) -> Engine:
        """Make the engine, with the weights that training begins with; raises as `charlm.training.loop.new_engine`."""
        first = None if self.first is None else self.first.parameters
        with session.at_once():
            return new_engine(self.config, self.corpus, make_engine, first_weights=first, say=session.say)


def prepare(
    text: Text,
    *,
    recipe: str | Path | None,
    overrides: Overrides,
    aside: Path,
    session: Session,
    parent: Parent | None = None,
    minutes: float | None = None,
    workers: int = 1,
) -> Preparation:
    """Read the text, and settle every setting of a training. A mistake in a setting is found before the text is read.

    Args:
        text: As for `charlm.train`.
        recipe: A name in configs/, or a YAML file; None = the recipe that suits the text, for the plays that come with
            charlm `default`.
        overrides: Values that replace those of the recipe.
        aside: An existing folder; the text is tokenized into its folder corpus/.
        session: The user of the training.
        parent: The model whose weights training begins with, and which decides the shape of the network; None = random
            weights.
        minutes: How long the training is to take; None = as long as the recipe or the advice says.
        workers: The number of machines that share the batch.

    Raises:
        CharlmError: a key or a value is not right, the parent does not fit the overrides or the text, the text or a
            teacher cannot be read, or the soft targets of the teachers do not fit into the memory.

    """
    path, given = find_recipe(str(recipe or DEFAULT_RECIPE)), as_several(overrides)
    config = load_run_config(path, parent, overrides=given)
    check_first_weights(config, parent)
    corpus, settings = make_corpus(
        text, aside / CORPUS, config.corpus, parent=parent, show_progress=session.show_progress
    )
    start, end = corpus.splits["train"]
    advice = suited_recipe(end - start)
    is_advised = recipe is None and text is not None
    if is_advised:
        path = find_recipe(advice.recipe)
        config = load_run_config(path, parent, overrides=given)
        if minutes is None and not overridden_keys(given) & {*LENGTH}:
            minutes = advice.minutes
    training = config.training.model_copy(update={"first_weights": None if parent is None else parent.sha256})
    config = config.model_copy(update={"recipe": path.stem, "corpus": settings, "training": training})
    config = settle_kernel(fill_parts(config, workers=workers), say=session.say)
    check_teachers(config, corpus, available_bytes=memory_bytes())
    first = None if parent is None else adapt_parent(parent, config, corpus, say=session.say)
    return Preparation(corpus, config, first, advice, is_advised, minutes)


def check_minutes(minutes: float, overrides: Iterable[str] | Mapping[str, Any]) -> None:
    """Check the minutes that a run is to take.

    Args:
        minutes: More than 0.
        overrides: `KEY=VALUE` texts or a mapping of dotted keys; they must leave the length of the run alone.

    Raises:
        CharlmError: the minutes are not a number more than 0, or an override gives the length.

    """
    if not (math.isfinite(minutes) and minutes > 0):
        raise CharlmError(f"--minutes {minutes:g}: must be a number more than 0")
    given = overridden_keys(overrides)
    for key in LENGTH:
        if key in given:
            raise CharlmError(f"--minutes {minutes:g}: decides {key}, which --set gives as well; leave one of them out")


def as_sources(text: Text) -> Sequence[str | Path]:
    """Return the files or the corpus that a text is made from."""
    if isinstance(text, Corpus):
        return [text.folder]
    if text is None:
        return [DEFAULT_CORPUS]
    return [text] if isinstance(text, str | Path) else text


def as_several(overrides: Overrides) -> list[str] | Mapping[str, Any]:
    """Return overrides as a list of `KEY=VALUE` texts or as a mapping; both can be read more than once."""
    if isinstance(overrides, Mapping):
        return overrides
    return [overrides] if isinstance(overrides, str) else list(overrides)


def overridden_keys(overrides: Iterable[str] | Mapping[str, Any]) -> set[str]:
    """Return the dotted keys of overrides, which are `KEY=VALUE` texts or a mapping."""
    return {override.partition("=")[0].strip() for override in overrides}


def make_corpus(
    text: Text, folder: Path, settings: CorpusConfig, *, parent: Parent | None = None, show_progress: bool = False
) -> tuple[Corpus, CorpusConfig]:
    """Open a corpus, or turn a text into one.

    Args:
        text: What is trained on.
        folder: Where the corpus is written if there is none yet.
        settings: The section `corpus` of the config.
        parent: The model whose weights training begins with: it decides the level, its characters keep their ids, and
            the text gets ids for those that it lacks.
        show_progress: Whether to show a bar on standard error.

    Returns:
        The corpus, and the settings it was made with.

    Raises:
        CharlmError: the text cannot be read, a setting is not that of the corpus, or the level not that of the parent.

    """
    sources = as_sources(text)
    if len(sources) == 1 and is_corpus(Path(sources[0])):
        corpus = open_corpus(Path(sources[0]))
        return corpus, settle_corpus_settings(corpus, settings)
    known = None
    if parent is not None:
        known = parent.bundle.vocabulary
        if "level" in settings.model_fields_set:
            check_level(settings.level, parent)
        settings = settings.model_copy(update={"level": known.level})
    return tokenize(
        [str(source) for source in sources], folder, settings, known=known, progress=show_progress
    ), settings
