"""`charlm sample --interactive`: shows a draft on the terminal, and reads the keys of the user.

What a key does is left to `charlm.sampling.drafts`. The page goes to standard error, so that standard output can be a
file for the text.
"""

import codecs
import contextlib
import os
import re
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from charlm.cli.output import MIN_WIDTH, cut, fold
from charlm.errors import harmless

if TYPE_CHECKING:
    from charlm.network.bundle import Bundle
    from charlm.sampling.drafts import Draft
    from charlm.sampling.generation import TextRequest
    from charlm.text.vocabulary import Vocabulary

KEYS = "1-9 choose  space go on  t type", "u undo  q quit"
MAX_KEYS_BYTES = 1 << 16
COLUMNS, LINES = 80, 24
"""Of a terminal that does not say its size."""
TYPING = "enter add  escape leave it out"
END = ("", "\x04")
"""Ctrl-D, and the end of the input."""
SPACES = {" ": "space", "\n": "new line", "\t": "tab", "\r": "carriage return"}


def write_together(bundle: "Bundle", wanted: "TextRequest") -> str:
    """Let the user write on a terminal together with a model, and return the text.

    Args:
        bundle: The model.
        wanted: The beginning of the text, and how the model goes on.

    Raises:
        CharlmError: the model does not know a character of the prompt, or its weights are not finite.
        KeyboardInterrupt: the user has pressed Ctrl-C.

    """
    import numpy as np

    from charlm.sampling.drafts import begin, press, text_of

    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
        draft = begin(bundle, wanted)
        with _keyboard() as read_keys, _screen() as show:
            while not draft.is_done:
                columns, lines = os.get_terminal_size(sys.stderr.fileno())
                show(page(draft, columns=columns or COLUMNS, lines=lines or LINES))
                keys = read_keys()
                if keys in END:
                    break
                for key in _separate(keys, is_typing=draft.typed is not None):
                    draft = press(draft, key)
    return text_of(draft)


def page(draft: "Draft", *, columns: int, lines: int) -> list[str]:
    """Return what a terminal shows of a draft: the end of its text, the choices, and the keys.

    Args:
        draft: The text in progress.
        columns: The width of the terminal; lines are at least 40 columns wide.
        lines: The height of the terminal; at least one line of the text is shown.

    """
    from charlm.sampling.drafts import choices, text_of

    width = max(MIN_WIDTH, columns)
    if draft.typed is not None:
        below = [f"type: {harmless(draft.typed)}▏", draft.notice, TYPING]
    else:
        vocabulary, offered = draft.bundle.vocabulary, enumerate(choices(draft), start=1)
        below = [f"{number}  {share:6.1%}  {_describe(index, vocabulary)}" for number, (index, share) in offered]
        below += [draft.notice, *KEYS]
    text = harmless(_readable(text_of(draft)), keep="\n\t").expandtabs()
    above = [piece for line in f"{text}▏".split("\n") for piece in fold(line, width)]
    room = max(1, lines - len(below) - 2)
    return [*above[-room:], "", *(cut(harmless(line), width) for line in below)]


def _describe(index: int, vocabulary: "Vocabulary") -> str:
    """Return the name of an id that the user can choose."""
    if index == vocabulary.end_of_text_id:
        return "end of text"
    glyph = vocabulary.glyphs[index]
    if vocabulary.level == "byte" and not glyph.isascii():
        return f"byte {index:02X}"
    return SPACES.get(glyph, glyph)


def _readable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _separate(keys: str, *, is_typing: bool) -> list[str]:
    """Return the keys that arrived at once.

    An escape sequence is one key. What is pasted while the user types is one, too, but for a line break at its end.
    """
    pattern = r"(?s).+(?=[\r\n]\Z)|.+" if is_typing else r"(?s)\x1b\[[\d;]*[A-Za-z~]|."
    return re.findall(pattern, keys)


@contextlib.contextmanager
def _keyboard() -> Iterator[Callable[[], str]]:
    """Get keys as they are pressed, without showing them, for the length of a block; Ctrl-C works as before.

    click.getchar changes the terminal for each key, and loses what is pressed in between.

    Yields:
        A function that waits for a key, or for several that are pasted.

    """
    descriptor = sys.stdin.fileno()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    before = termios.tcgetattr(descriptor)

    def read() -> str:
        """Return the next keys, "" at the end of the input."""
        while data := os.read(descriptor, MAX_KEYS_BYTES):
            if keys := decoder.decode(data):
                return keys
        return ""

    tty.setcbreak(descriptor)
    try:
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _screen() -> Iterator[Callable[[list[str]], None]]:
    """Use a screen of its own for the length of a block, if the terminal has one.

    Yields:
        A function that shows lines in place of those before.

    """
    is_plain = os.environ.get("TERM", "dumb") == "dumb"

    def show(lines: list[str]) -> None:
        """Clear the screen, and show some lines."""
        click.echo(("" if is_plain else "\x1b[H\x1b[2J") + "\n".join(lines), err=True, color=True)

    write = sys.stderr.write
    if not is_plain:
        write("\x1b[?1049h")
    try:
        yield show
    finally:
        if not is_plain:
            write("\x1b[?1049l")
            sys.stderr.flush()
