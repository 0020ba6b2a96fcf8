"""`charlm sample --interactive`: a user and a model continue a text in turns, each turn a line of the user.

The page goes to standard error, so that standard output can be a file for the text.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from charlm.cli.output import fill, print_aside, terminal_width
from charlm.errors import CharlmError, escape_controls, short_repr
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, State, probabilities
from charlm.sampling.generation import TextRequest, choose_ids, encode_prompt, forbidden_ids, read_prompt
from charlm.sampling.growing import GrowingText, readable
from charlm.sampling.sampler import not_finite
from charlm.text.vocabulary import Vocabulary

CHOICES = 9
LINES = 12
"""Of the end of the text, that a page shows at most."""
HELP = "1-9 choose, enter go on, +TEXT add text, u undo, q end"
SPACES = {" ": "space", "\n": "new line", "\t": "tab", "\r": "carriage return"}


class Draft(NamedTuple):
    """A text in progress."""

    ids: tuple[int, ...]
    """What follows the prompt."""
    logits: Floats
    """Of the next id, float32 [V]."""
    state: State
    """After the text, one float32 [1, H] for each layer."""


def read_line() -> str:
    """Return the next line of standard input, surrogates for bytes that are not UTF-8; "" at its end."""
    return "" if sys.stdin is None else sys.stdin.buffer.readline().decode("utf-8", "surrogateescape")


def write_together(
    bundle: Bundle,
    wanted: TextRequest,
    *,
    read: Callable[[], str] = read_line,
    show: Callable[[str], object] = print_aside,
) -> str:
    """Let the user write together with a model, and return the text; bytes that are not UTF-8 are surrogates.

    Args:
        bundle: The model.
        wanted: The beginning of the text, how the model goes on, and by how many ids; the seed decides what the same
            lines give.
        read: Returns the next line of the user with its line break; "" = there is none, which ends the text.
        show: Takes a line for the user, which may have control characters.

    Raises:
        CharlmError: the model does not know a character of the prompt, or its weights are not finite.

    """
    vocabulary, turn = bundle.vocabulary, 0
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
        prompt = encode_prompt(vocabulary, wanted.prompt, unknown=wanted.unknown)
        state = read_prompt(bundle.parameters, prompt)
        drafts = [Draft((), bundle.parameters.logits(state)[0], state)]
        show(HELP)
        while True:
            offered = _likeliest(drafts[-1].logits, vocabulary)
            for shown in _page(_text(bundle, wanted, drafts[-1]), offered, vocabulary):
                show(shown)
            answer = read()
            line = answer.rstrip("\r\n")
            if not answer or line == "q":
                return _text(bundle, wanted, drafts[-1])
            ids: Sequence[int] = ()
            if line == "u":
                drafts = drafts[:-1] or drafts
            elif not line:
                ids, turn = _go_on(bundle, wanted, drafts[-1].state, turn), turn + 1  # another text after an undo
            elif line.startswith("+"):
                try:
                    ids = vocabulary.encode(line[1:], unknown=wanted.unknown, name="what was typed").tolist()
                except CharlmError as error:
                    show(str(error))
            elif len(line) == 1 and line.isdecimal() and 1 <= int(line) <= len(offered):
                ids = [offered[int(line) - 1][0]]
            else:
                show(f"found {short_repr(line)}; {HELP}")
            if ids:
                logits, state = bundle.parameters.unroll(np.array(ids)[:, None], drafts[-1].state)
                drafts.append(Draft((*drafts[-1].ids, *ids), logits[-1, 0], state))


def _text(bundle: Bundle, wanted: TextRequest, draft: Draft) -> str:
    return wanted.prompt + GrowingText(bundle.vocabulary, ignore_end=True).read(draft.ids, is_last=True)


def _likeliest(logits: Floats, vocabulary: Vocabulary) -> list[tuple[int, float]]:
    """Return the likeliest next ids and their probabilities, likeliest first."""
    allowed = logits.copy()
    allowed[list(forbidden_ids(vocabulary))] = -np.inf
    found = probabilities(allowed)
    if not np.isfinite(found).all():
        raise not_finite()
    return [(index, float(found[index])) for index in np.argsort(-found, kind="stable")[:CHOICES] if found[index] > 0]


def _go_on(bundle: Bundle, wanted: TextRequest, state: State, turn: int) -> list[int]:
    """Return as many ids as are wanted, or up to the end of the text."""
    steps = choose_ids(
        bundle.parameters,
        state,
        sampler=wanted.sampler,
        uniforms=np.random.default_rng([wanted.seed, turn]).random(wanted.length).tolist(),
        forbidden=forbidden_ids(bundle.vocabulary),
    )
    ids: list[int] = []
    for index, _ in steps:
        ids.append(index)
        if index == bundle.vocabulary.end_of_text_id:
            break
    return ids


def _page(text: str, offered: Sequence[tuple[int, float]], vocabulary: Vocabulary) -> list[str]:
    """Return the end of the text, and the characters to choose from by their numbers."""
    width = terminal_width()
    shown = escape_controls(readable(text[-LINES * width :]), keep="\n\t")
    choices = [
        f"{number} {_describe(index, vocabulary)} {share:.1%}" for number, (index, share) in enumerate(offered, start=1)
    ]
    return ["", *f"{shown}▏".split("\n")[-LINES:], *fill(choices, width=width)]


def _describe(index: int, vocabulary: Vocabulary) -> str:
    """Return the name of an id that the user can choose."""
    if index == vocabulary.end_of_text_id:
        return "end of text"
    glyph = vocabulary.glyphs[index]
    if vocabulary.level == "byte" and not glyph.isascii():
        return f"byte {index:02X}"
    return escape_controls(SPACES.get(glyph, glyph))
