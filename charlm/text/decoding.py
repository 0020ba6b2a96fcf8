"""The bytes of a document -> text, decoded and normalised piece by piece: memory does not grow with its size.

Finding and reading documents is left to `charlm.text.documents`.
"""

import codecs
import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError, shorten

HEAD_BYTES = 4096
"""The encoding of a document that cannot be decoded is guessed from its first bytes, at most this many."""

CODE_POINTS = 0x110000
"""Number of Unicode code points."""

BYTE_ORDER_MARK = "\ufeff"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Python has these as text encodings, but they are escapes or decode to surrogates."""

Form = Literal["NFC", "NFKC"]
"""A Unicode normal form."""


def check_encoding(encoding: str, *, key: str = "corpus.encoding") -> None:
    """Raise CharlmError if Python does not have an encoding, or if it is not one of text files.

    Args:
        encoding: A name.
        key: What the message calls the setting.

    """
    try:
        "".encode(encoding)
        known = codecs.lookup(encoding).name not in NOT_FOR_FILES
    except (LookupError, ValueError):
        known = False
    if not known:
        raise CharlmError(
            f"{key}: found {shorten(encoding)}, which is not a text encoding that Python has; "
            f"there are utf-8, utf-16, cp1252, latin-1, gb18030 and many more"
        )


def texts(blocks: Iterable[bytes], config: CorpusConfig, *, name: str, is_fixed: bool = False) -> Iterator[str]:
    """Yield the text of a document in pieces.

    At level byte the text is the bytes decoded as Latin-1, so that code points are byte values.

    Args:
        blocks: The bytes of the document in blocks of any size, none of them empty.
        config: Its level, encoding and normal form.
        name: What messages call the document.
        is_fixed: Whether the config is that of a model, so that messages do not advise another one.

    Raises:
        CharlmError: Python does not have the encoding; or as `decode` does.

    """
    if config.level == "char":
        check_encoding(config.encoding)
    encoding = config.encoding if config.level == "char" else "latin-1"
    pieces = decode(blocks, encoding=encoding, name=name, is_fixed=is_fixed)
    if config.normalize == "none":
        return pieces
    return normalize(pieces, form=config.normalize)


def decode(blocks: Iterable[bytes], *, encoding: str, name: str, is_fixed: bool = False) -> Iterator[str]:
    """Yield the decoded text of a document in pieces.

    Line ends stay as they are; a byte order mark at the start is dropped.

    Args:
        blocks: The bytes of the document in blocks of any size, none of them empty.
        encoding: A name that `check_encoding` accepts.
        name: What messages call the document.
        is_fixed: As in `texts`.

    Raises:
        CharlmError: the bytes are not valid in this encoding; the message names the offset of the first invalid byte
            and suggests other settings.

    """
    decoder = codecs.getincrementaldecoder(encoding)()
    end, started, head = 0, False, b""
    for block in itertools.chain(blocks, [b""]):
        head = head or block[:HEAD_BYTES]
        end += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            problem = _describe(error, encoding=encoding, end=end)
            raise CharlmError(
                f"{name}: {problem}; {_advise(encoding=encoding, head=head, is_fixed=is_fixed)}"
            ) from None
        if text and not started:
            started = True
            text = text.removeprefix(BYTE_ORDER_MARK)
        if text:
            yield text


def _describe(error: UnicodeError, *, encoding: str, end: int) -> str:
    if not isinstance(error, UnicodeDecodeError):  # UTF-16 and UTF-32 that lack their byte order mark
        return f"not valid {encoding}: {error}"
    # error.object ends where the block ends, and starts with the bytes that the decoder had held back
    offset = end - len(error.object) + error.start
    return f"not valid {encoding} at byte {offset} (0x{error.object[error.start]:02X})"


def _advise(*, encoding: str, head: bytes, is_fixed: bool) -> str:
    current = codecs.lookup(encoding).name
    others = [other for other in _likely_encodings(head) if codecs.lookup(other).name != current]
    if is_fixed:
        return f"the model reads {encoding}: convert the text, which may be {' or '.join(others)}"
    return (
        f"if the text is in another encoding, try -s corpus.encoding={' or '.join(others)}; "
        f"for data that is not text, -s corpus.level=byte"
    )


def _likely_encodings(head: bytes) -> Sequence[str]:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding, f"{encoding}-le", f"{encoding}-be"
    even, odd = head[::2].count(0), head[1::2].count(0)
    if 4 * abs(even - odd) > len(head):  # every other byte of English in UTF-16 is 0
        return ("utf-16-le", "utf-16-be") if odd > even else ("utf-16-be", "utf-16-le")
    return "utf-8", "cp1252", "latin-1"


def normalize(texts: Iterable[str], *, form: Form) -> Iterator[str]:
    """Yield a text in a Unicode normal form, in pieces that joined are the normal form of the whole text.

    The end of a piece is held back from its last ASCII character: none of them combines with what is before it.

    Args:
        texts: The text in pieces of any size.
        form: The normal form.

    """
    held = ""
    for piece in texts:
        text = held + piece
        cut = next((place for place in range(len(text) - 1, 0, -1) if text[place].isascii()), 0)
        held = text[cut:]
        if cut:
            yield unicodedata.normalize(form, text[:cut])
    if held:
        yield unicodedata.normalize(form, held)


def code_points(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """Return the code points of a text, [characters]: uint32, or uint8 if all are ASCII, for speed."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
