"""Whether sources still hold the text of a corpus, found without tokenizing it again."""

import hashlib
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path

from charlm.errors import CharlmError
from charlm.text.corpus import Corpus, is_corpus, open_corpus, read_manifest
from charlm.text.documents import STANDARD_INPUT, Document, UndecodableError, decode, find_documents
from charlm.text.tokenization import is_memorized, memorized


def check_same_text(sources: Sequence[str], corpus: Corpus, *, owner: Path) -> None:
    """Check that some sources hold the text of a corpus.

    One source that is a corpus must have the same ids, splits and vocabulary. Otherwise the documents of the sources
    must have the same bytes in the same order as those of the corpus. Their names do not matter, and neither do
    documents without text: empty ones, and those that cannot be decoded. Nothing is written.

    Args:
        sources: One or more files, folders, .gz files, or `-` for standard input; or one corpus.
        corpus: The corpus of a run or a search; it may be a memorized one.
        owner: The folder of that run or search, for the message.

    Raises:
        CharlmError: the text differs, and the message names what differs; or a source cannot be read.
        OSError: a source cannot be looked up.

    """
    folder = Path(sources[0])
    if len(sources) == 1 and is_corpus(folder):
        difference = _find_other_corpus(folder, corpus)
    else:
        difference = _find_other_document(sources, corpus)
    if difference is not None:
        raise CharlmError(
            f"{owner}: the text differs: {difference}; give the text as it was, or name another folder"
        )


def _find_other_corpus(folder: Path, corpus: Corpus) -> str | None:
    """Describe how a corpus on disk differs from another one; None = it does not."""
    found = read_manifest(folder)
    if is_memorized(corpus):
        given = open_corpus(folder)
        found = given.manifest if is_memorized(given) else memorized(given)[1]
    expected = corpus.manifest
    if found.vocabulary != expected.vocabulary:
        return f"{folder} has another vocabulary than when the run began"
    if found.ids_sha256 != expected.ids_sha256:
        return f"{folder} has other ids than when the run began"
    if found.splits != expected.splits:
        return f"{folder} is split at other places than when the run began"
    return None


def _find_other_document(sources: Sequence[str], corpus: Corpus) -> str | None:
    """Describe how the documents of some sources differ from the documents of a corpus; None = they do not."""
    expected = [source.sha256 for source in corpus.manifest.sources]
    expected_names = {source.sha256: source.name for source in corpus.manifest.sources}
    documents, _ = find_documents(sources)
    found: list[str] = []
    found_names: dict[str, str] = {}
    for document in documents:
        digest = _digest(document, encoding=corpus.manifest.encoding, known=expected_names.keys())
        if digest is not None:
            found.append(digest)
            found_names[digest] = document.name
    if found == expected:
        return None
    lost = [expected_names[digest] for digest in Counter(expected) - Counter(found)]
    new = [found_names[digest] for digest in Counter(found) - Counter(expected)]
    if lost and new:
        return f"{_shown(new[0])} has changed since the run began"
    if lost and lost[0] in [document.name for document in documents]:
        return f"{_shown(lost[0])} has changed since the run began"
    if lost:
        return f"{_shown(lost[0])} is missing"
    if new:
        return f"{_shown(new[0])} is new"
    return "its files are in another order than when the run began"


def _digest(document: Document, *, encoding: str, known: Container[str]) -> str | None:
    """Return the SHA-256 of the decompressed bytes of a document; None if it has no text.

    Args:
        document: The document.
        encoding: The encoding of the text.
        known: The digests of documents that have text.

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
