"""A check that sources still hold the text of a corpus, without tokenizing the sources again."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from charlm.errors import CharlmError
from charlm.text.corpus import Manifest, is_one_corpus, read_manifest
from charlm.text.documents import find_documents


def check_same_text(sources: Sequence[str], manifest: Manifest, *, owner: Path) -> None:
    """Check that the given sources hold the text of a corpus.

    A single source that is a corpus must have the same ids. Other sources must have documents with
    the same bytes in the same order, except for documents that the corpus leaves out.

    Args:
        sources: One or more files, folders, .gz files, or `-` for standard input; or one corpus.
        manifest: The manifest of the corpus of a run or a search.
        owner: The folder of that run or search, for the message.

    Raises:
        CharlmError: The text differs, or a source cannot be read.

    """
    if is_one_corpus(sources):
        is_same = read_manifest(Path(sources[0])).ids_sha256 == manifest.ids_sha256
    else:
        documents, _ = find_documents(sources)
        left_out = {Path(name).name for name in manifest.left_out}
        texts = [document for document in documents if Path(document.name).name not in left_out]
        digests = [hashlib.sha256(document.read()).hexdigest() for document in texts]
        is_same = digests == [source.sha256 for source in manifest.sources]
    if not is_same:
        raise CharlmError(
            f"{owner}: began with a different text than {', '.join(sources)}; use the original "
            "text, or choose a new folder"
        )
