"""Small corpora, made of texts, and back."""

from pathlib import Path
from typing import Any

from charlm.config import CorpusConfig
from charlm.corpus import Corpus
from charlm.tokenization import tokenize


def make_corpus(folder: Path, *texts: str | bytes, **settings: Any) -> Corpus:
    """Tokenize texts as the files 00.txt, 01.txt, ... of folder/sources; the corpus is folder/out."""
    sources = folder / "sources"
    sources.mkdir()
    for index, text in enumerate(texts):
        (sources / f"{index:02}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return tokenize([str(sources)], folder / "out", CorpusConfig(**settings))


def text_of(corpus: Corpus) -> str:
    """Return the text of all documents, one after the other."""
    return corpus.vocabulary.decode(corpus.ids)
