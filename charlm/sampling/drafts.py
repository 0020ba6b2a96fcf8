"""Writing together: a user and a model continue a text in turns. A draft and a key give the next draft.

Nothing here knows of a terminal; `charlm.cli.writing` shows drafts and reads keys.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, State, probabilities
from charlm.sampling.generation import TextRequest, choose_ids, encode_prompt, forbidden_ids, read_prompt
from charlm.sampling.growing import GrowingSample
from charlm.sampling.sampler import not_finite

CHARACTERS = 9
"""How many characters there are to choose from: those of the keys 1 to 9."""
BACKSPACE, ENTER, ESCAPE, LEFT = ("\x7f", "\b"), ("\r", "\n"), "\x1b", "\x1b[D"


@dataclass(frozen=True, eq=False)
class Draft:
    """A text in progress, and what the user is doing."""

    bundle: Bundle
    wanted: TextRequest
    """The prompt, how ids are chosen, and how many of them the model goes on by; the seed decides what the same keys
    give."""
    logits: Floats
    """Of the next id, float32 [V]."""
    state: State
    """After the text, one float32 [1, H] for each layer."""
    ids: tuple[int, ...] = ()
    """What follows the prompt."""
    before: "Draft | None" = None
    """The draft before the last change, to undo it."""
    draws: int = 0
    """How often the model has gone on."""
    typed: str | None = None
    """What the user has typed and not entered yet; None = the user is not typing."""
    notice: str = ""
    """What the last key has not done, and why."""
    is_done: bool = False


def begin(bundle: Bundle, wanted: TextRequest) -> Draft:
    """Return a draft that holds the prompt.

    Raises:
        CharlmError: the model does not know a character of the prompt and `wanted.unknown` is error.

    """
    ids = encode_prompt(bundle.vocabulary, wanted.prompt, unknown=wanted.unknown)
    return Draft(bundle, wanted, *read_prompt(bundle.parameters, ids))


def text_of(draft: Draft) -> str:
    """Return the text of a draft; bytes that are not UTF-8 are surrogates, as surrogateescape has them."""
    growing = GrowingSample(draft.bundle.vocabulary, stop="", ignore_end=True)
    growing.extend(draft.ids, ends=True)
    return draft.wanted.prompt + growing.sample.data.decode("utf-8", "surrogateescape")


def choices(draft: Draft) -> list[tuple[int, float]]:
    """Return the likeliest next ids and their probabilities, likeliest first.

    Raises:
        CharlmError: the weights of the model are not finite.

    """
    logits = draft.logits.copy()
    logits[list(forbidden_ids(draft.bundle.vocabulary))] = -np.inf
    found = probabilities(logits)
    if not np.isfinite(found).all():
        raise not_finite()
    likeliest = np.argsort(-found, kind="stable")[:CHARACTERS].tolist()
    return [(index, float(found[index])) for index in likeliest if found[index] > 0]


def press(draft: Draft, key: str) -> Draft:
    """Return the draft after a key; once it is done, no key changes it.

    Args:
        draft: The draft before.
        key: One key; while the user types, also several characters that were pasted.

    Raises:
        CharlmError: the weights of the model are not finite.

    """
    if draft.is_done:
        return draft
    draft = replace(draft, notice="")
    if draft.typed is not None:
        return _type(draft, draft.typed, key)
    if key.isdecimal():
        return _choose(draft, int(key))
    action = _ACTIONS.get(key)
    return replace(draft, notice="this key does nothing") if action is None else action(draft)


def _type(draft: Draft, typed: str, key: str) -> Draft:
    """Return the draft after a key of a user who is typing."""
    if key == ESCAPE:
        return replace(draft, typed=None)
    if key in BACKSPACE:
        return replace(draft, typed=typed[:-1])
    if key not in ENTER:
        return replace(draft, typed=typed + ("" if key.startswith(ESCAPE) else key.replace("\r", "\n")))
    try:
        ids = draft.bundle.vocabulary.encode(typed, unknown=draft.wanted.unknown, name="what was typed")
    except CharlmError as error:
        return replace(draft, notice=str(error))
    return _add(replace(draft, typed=None), ids.tolist())


def _choose(draft: Draft, number: int) -> Draft:
    offered = choices(draft)
    if not 1 <= number <= len(offered):
        return replace(draft, notice=f"there are the choices 1 to {len(offered)}")
    return _add(draft, [offered[number - 1][0]])


def _undo(draft: Draft) -> Draft:
    if draft.before is None:
        return replace(draft, notice="there is nothing to undo")
    return replace(draft.before, draws=draft.draws)  # so that the model goes on otherwise than before


_ACTIONS: Mapping[str, Callable[[Draft], Draft]] = {
    " ": lambda draft: replace(_add(draft, _continue(draft)), draws=draft.draws + 1),
    "t": lambda draft: replace(draft, typed=""),
    "q": lambda draft: replace(draft, is_done=True),
    **dict.fromkeys(("u", LEFT, *BACKSPACE), _undo),
}
"""What keys do, except the digits, while the user is not typing."""


def _add(draft: Draft, ids: Iterable[int]) -> Draft:
    """Let the network read ids at the end of a draft."""
    added, logits, state = list(ids), draft.logits, draft.state
    for index in added:
        (logits,), state = draft.bundle.parameters.step(np.array([index]), state)
    return replace(draft, logits=logits, state=state, ids=(*draft.ids, *added), before=draft) if added else draft


def _continue(draft: Draft) -> list[int]:
    """Return as many ids as are wanted, or up to the end of the text."""
    vocabulary, wanted = draft.bundle.vocabulary, draft.wanted
    steps = choose_ids(
        draft.bundle.parameters,
        draft.state,
        sampler=wanted.sampler,
        uniforms=np.random.default_rng([wanted.seed, draft.draws]).random(wanted.length).tolist(),
        forbidden=forbidden_ids(vocabulary),
    )
    ids: list[int] = []
    for index, _ in steps:
        ids.append(index)
        if index == vocabulary.end_of_text_id:
            break
    return ids
