"""A check that sources still hold the text of a corpus, without tokenizing the sources again."""

import hashlib
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path

from charlm.errors import CharlmError
from charlm.text.corpus import Corpus, is_corpus, open_corpus, read_manifest
from charlm.text.documents import STANDARD_INPUT, Document, UndecodableError, decode, find_documents
from charlm.text.tokenization import is_memorized, memorized


def check_same_text(sources: Sequence[str], corpus: Corpus, *, owner: Path) -> None:
    """Check that the given sources hold the text of a corpus.

    A single source that is a corpus must have the same ids, splits and vocabulary. Other sources
    must have documents with the same bytes in the same order. The names of documents do not matter,
    and neither do documents without text: empty documents, and documents that cannot be decoded.

    Args:
        sources: One or more files, folders, .gz files, or `-` for standard input; or one corpus.
        corpus: The corpus of a run or a search; it may be memorized.
        owner: The folder of that run or search, for the message.

    Raises:
        CharlmError: The text differs, or a source cannot be read; the message names the source.
        OSError: A source cannot be looked up.

    """
    folder = Path(sources[0])
    if len(sources) == 1 and is_corpus(folder):
        difference = _compare_corpus(folder, corpus)
    else:
        difference = _compare_documents(sources, corpus)
    if difference is not None:
        raise CharlmError(
            f"{owner}: the text differs: {difference}; use the original text, or choose a new "
            "folder"
        )


def _compare_corpus(folder: Path, corpus: Corpus) -> str | None:
    """Describe the first difference between a corpus on disk and a second corpus, if any."""
    actual = read_manifest(folder)
    if is_memorized(corpus):
        source = open_corpus(folder)
        actual = source.manifest if is_memorized(source) else memorized(source)[1]
    for name, field in (("vocabulary", "vocabulary"), ("text", "ids_sha256"), ("split", "splits")):
        if getattr(actual, field) != getattr(corpus.manifest, field):
            return f"the {name} of {folder} has changed since the run began"
    return None


def _compare_documents(sources: Sequence[str], corpus: Corpus) -> str | None:
    """Describe the first difference between documents on disk and in a corpus, if any."""
    expected = [source.sha256 for source in corpus.manifest.sources]
    expected_names = {source.sha256: source.name for source in corpus.manifest.sources}
    documents, _ = find_documents(sources)
    actual: list[str] = []
    actual_names: dict[str, str] = {}
    for document in documents:
        digest = _digest(document, encoding=corpus.manifest.encoding, known=expected_names)
        if digest is not None:
            actual.append(digest)
            actual_names[digest] = document.name
    if actual == expected:
        return None
    missing = [expected_names[digest] for digest in Counter(expected) - Counter(actual)]
    new = [actual_names[digest] for digest in Counter(actual) - Counter(expected)]
    if missing and new and new[0] not in missing:
        return f"found {_shown(new[0])}; the run was started with {_shown(missing[0])}"
    if missing and new:
        return f"{_shown(new[0])} has changed since the run began"
    if missing:
        is_there = missing[0] in [document.name for document in documents]
        change = "has changed since the run began" if is_there else "is missing"
        return f"{_shown(missing[0])} {change}"
    if new:
        return f"{_shown(new[0])} is new"
    return "the order of the files has changed since the run began"


def _digest(document: Document, *, encoding: str, known: Container[str]) -> str | None:
    """Return the SHA-256 of the decompressed bytes of a document, or None if it has no text.

    Documents whose digest is in `known` have text and need no decoding.
    """
    try:
        data = document.read()
        digest = hashlib.sha256(data).hexdigest()
        has_text = digest in known or decode(data, encoding=encoding, name=document.name) != ""
    except UndecodableError:
        return None
    return digest if has_text else None


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name
