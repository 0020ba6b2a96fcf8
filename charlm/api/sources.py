"""The forms in which the library takes a text and settings."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import CorpusConfig
from charlm.runs.initial import Parent, check_level
from charlm.text.corpus import Corpus, is_corpus, open_corpus, settle_corpus_settings
from charlm.text.tokenization import tokenize

Overrides = str | Iterable[str] | Mapping[str, Any]
"""Values that replace those of a config: one `KEY=VALUE` as on the command line, several of them, or a mapping of
dotted keys to values."""
Text = str | Path | Corpus | Sequence[str | Path] | None
"""What `tokenize` takes: files, folders, glob patterns, .gz files, or - for standard input; one of them or several,
each file a document. Or a corpus that it made, or the folder of one. None = the plays that come with charlm."""


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
