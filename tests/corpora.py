"""Small corpora, made from texts."""

from pathlib import Path
from typing import Any

from charlm.config.schema import CorpusConfig
from charlm.runs.folder import DEFAULT_CORPUS
from charlm.text.corpus import Corpus
from charlm.text.tokenization import tokenize

ABBA = "abba\nab\n" * 12
"""A text with characters that the random model of `trained` knows."""


def write_texts(folder: Path, *texts: str | bytes) -> Path:
    """Write texts as the files 00.txt, 01.txt, ... in folder/sources, and return that folder."""
    sources = folder / "sources"
    sources.mkdir(parents=True)
    for index, text in enumerate(texts):
        data = text if isinstance(text, bytes) else text.encode()
        (sources / f"{index:02}.txt").write_bytes(data)
    return sources


def make_corpus(
    folder: Path,
    *texts: str | bytes,
    **settings: Any,
) -> Corpus:
    """Write texts to folder/sources, and tokenize them as the corpus folder/out."""
    return tokenize([str(write_texts(folder, *texts))], folder / "out", CorpusConfig(**settings))


def text_of(corpus: Corpus) -> str:
    """Return the joined text of all documents."""
    return corpus.vocabulary.decode(corpus.ids)


def write_plays(
    path: Path,
    *,
    characters: int = 20_000,
) -> Path:
    """Write the first characters of the plays, and return the file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:characters], encoding="utf-8")
    return path
