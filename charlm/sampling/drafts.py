"""Writing together: a user and a model continue a text in turns. A draft and a key give the next draft.

Nothing here knows of a terminal; `charlm.cli.writing` shows drafts and reads keys. The state of the network is kept at
each character, so that going back takes no time.

Axes: N ids of a continuation, V vocabulary, H units.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, State, probabilities, step
from charlm.sampling.generation import choose_ids, encode_prompt, forbidden_ids, read_prompt
from charlm.sampling.growing import BORDER
from charlm.sampling.sampler import Sampler, not_finite
from charlm.text.vocabulary import Unknown, Vocabulary

CHARACTERS = 9
"""How many characters there are to choose from: those of the keys 1 to 9."""
CONTINUATIONS = 4
"""How many continuations there are to choose from."""
BACKSPACE, ENTER, ESCAPE, LEFT = ("\x7f", "\b"), ("\r", "\n"), "\x1b", "\x1b[D"


@dataclass(frozen=True)
class Settings:
    """The model, and how it is asked."""

    bundle: Bundle
    sampler: Sampler
    """How the ids of a continuation are chosen."""
    seed: int
    """0 or more: the same keys give the same text."""
    length: int
    """N, the ids of a continuation, 1 or more."""
    unknown: Unknown = "error"
    """What to do with a character of the user that the model does not know."""


@dataclass(frozen=True, eq=False)
class Place:
    """The end of a text that the network has read, and the way back to its beginning."""

    before: "Place | None"
    """The place before the last id; None = this is the end of the prompt."""
    index: int
    """The last id; -1 at the end of the prompt."""
    logits: Floats
    """Of the next id, float32 [V]; minus infinity for the unknown id."""
    state: State
    """One float32 [1, H] for each layer."""

    def ids(self) -> list[int]:
        """Return the ids after the prompt."""
        found, place = [], self
        while place.before is not None:
            found.append(place.index)
            place = place.before
        return found[::-1]


@dataclass(frozen=True)
class Choice:
    """What the user can choose with a key."""

    ids: tuple[int, ...]
    probability: float | None
    """Of a character, after the text, by the network itself; None for a continuation."""


@dataclass(frozen=True)
class Draft:
    """A text in progress, and what the user is doing."""

    prompt: str
    place: Place
    """The end of the text."""
    earlier: tuple[Place, ...] = ()
    """The ends of the text before each change, to undo it."""
    draws: int = 0
    """How often the model has been asked for other continuations."""
    offers: Literal["characters", "continuations"] = "characters"
    """What there is to choose from."""
    typed: str | None = None
    """What the user has typed and not entered yet; None = the user is not typing."""
    notice: str = ""
    """What the last key has not done, and why."""
    is_done: bool = False


def begin(prompt: str, settings: Settings) -> Draft:
    """Return a draft that holds the prompt.

    Raises:
        CharlmError: the model does not know a character of the prompt and `settings.unknown` is error.

    """
    ids = encode_prompt(settings.bundle.vocabulary, prompt, unknown=settings.unknown)
    logits, state = read_prompt(settings.bundle.parameters, ids)
    return Draft(prompt, Place(None, -1, _allowed(logits, settings), state))


def text_of(draft: Draft, vocabulary: Vocabulary) -> str:
    """Return the text of a draft; bytes that are not UTF-8 are surrogates, as surrogateescape has them."""
    return draft.prompt + decode(draft.place.ids(), vocabulary)


def decode(ids: Iterable[int], vocabulary: Vocabulary) -> str:
    """Return the text of ids; the end of a text is a blank line, and what is not UTF-8 as in `text_of`."""
    parts: list[list[int]] = [[]]
    for index in ids:
        if index == vocabulary.end_of_text_id:
            parts.append([])
        else:
            parts[-1].append(index)
    decoders = [vocabulary.decoder(errors="surrogateescape") for _ in parts]
    return BORDER.join(
        decoder.decode(np.array(part, np.int64), final=True) for decoder, part in zip(decoders, parts, strict=True)
    )


def choices(draft: Draft, settings: Settings) -> list[Choice]:
    """Return what the user can choose from: the likeliest characters, or continuations.

    Raises:
        CharlmError: the weights of the model are not finite.

    """
    if draft.offers == "continuations":
        continuations = _continue(draft.place, settings, draw=draft.draws, samples=CONTINUATIONS)
        return [Choice(ids, None) for ids in dict.fromkeys(continuations)]
    found = probabilities(draft.place.logits)
    if not np.isfinite(found).all():
        raise not_finite()
    likeliest = np.argsort(-found, kind="stable")[:CHARACTERS].tolist()
    return [Choice((index,), float(found[index])) for index in likeliest if found[index] > 0]


def press(draft: Draft, key: str, settings: Settings) -> Draft:
    """Return the draft after a key; once it is done, no key changes it.

    Args:
        draft: The draft before.
        key: One key; while the user types, also several characters that were pasted.
        settings: The model, and how it is asked.

    Raises:
        CharlmError: the weights of the model are not finite.

    """
    if draft.is_done:
        return draft
    draft = replace(draft, notice="")
    if draft.typed is not None:
        return _type(draft, draft.typed, key, settings)
    if key.isdecimal():
        return _choose(draft, key, settings)
    action = _ACTIONS.get(key)
    return replace(draft, notice="this key does nothing") if action is None else action(draft, settings)


def _type(draft: Draft, typed: str, key: str, settings: Settings) -> Draft:
    """Return the draft after a key of a user who is typing."""
    if key == ESCAPE:
        return replace(draft, typed=None)
    if key in BACKSPACE:
        return replace(draft, typed=typed[:-1])
    if key not in ENTER:
        return replace(draft, typed=typed + ("" if key.startswith(ESCAPE) else key.replace("\r", "\n")))
    try:
        ids = settings.bundle.vocabulary.encode(typed, unknown=settings.unknown, name="what was typed")
    except CharlmError as error:
        return replace(draft, notice=str(error))
    return _add(replace(draft, typed=None), ids.tolist(), settings)


def _choose(draft: Draft, key: str, settings: Settings) -> Draft:
    offered = choices(draft, settings)
    if not 1 <= int(key) <= len(offered):
        return replace(draft, notice=f"there are the choices 1 to {len(offered)}")
    chosen = _add(draft, offered[int(key) - 1].ids, settings)
    return replace(chosen, draws=draft.draws + (draft.offers == "continuations"))


def _go_on(draft: Draft, settings: Settings) -> Draft:
    (ids,) = _continue(draft.place, settings, draw=draft.draws, samples=1)
    return replace(_add(draft, ids, settings), draws=draft.draws + 1)


def _offer_characters(draft: Draft, _: Settings) -> Draft:
    return replace(draft, offers="characters")


def _offer_continuations(draft: Draft, _: Settings) -> Draft:
    """Offer continuations, others than those that are offered already."""
    return replace(draft, offers="continuations", draws=draft.draws + (draft.offers == "continuations"))


def _begin_typing(draft: Draft, _: Settings) -> Draft:
    return replace(draft, typed="")


def _go_back(draft: Draft, _: Settings) -> Draft:
    if draft.place.before is None:
        return replace(draft, notice="this is where the text begins")
    return replace(draft, place=draft.place.before, earlier=(*draft.earlier, draft.place))


def _undo(draft: Draft, _: Settings) -> Draft:
    if not draft.earlier:
        return replace(draft, notice="there is nothing to undo")
    return replace(draft, place=draft.earlier[-1], earlier=draft.earlier[:-1])


def _quit(draft: Draft, _: Settings) -> Draft:
    return replace(draft, is_done=True)


_ACTIONS: Mapping[str, Callable[[Draft, Settings], Draft]] = {
    " ": _go_on,
    "c": _offer_characters,
    "s": _offer_continuations,
    "t": _begin_typing,
    "u": _undo,
    "q": _quit,
    **dict.fromkeys((*BACKSPACE, LEFT), _go_back),
}
"""What keys do, except the digits, while the user is not typing."""


def _add(draft: Draft, ids: Iterable[int], settings: Settings) -> Draft:
    """Let the network read ids at the end of a draft."""
    place = draft.place
    for index in ids:
        logits, state = step(settings.bundle.parameters, np.array([index]), place.state)
        place = Place(place, index, _allowed(logits[0], settings), state)
    return draft if place is draft.place else replace(draft, place=place, earlier=(*draft.earlier, draft.place))


def _continue(place: Place, settings: Settings, *, draw: int, samples: int) -> list[tuple[int, ...]]:
    """Return several continuations of a text, each of N ids or up to the end of the text."""
    vocabulary = settings.bundle.vocabulary
    uniforms = np.random.default_rng([settings.seed, draw, samples]).random((settings.length, samples))
    continuations = []
    for column in uniforms.T.tolist():
        ids: list[int] = []
        steps = choose_ids(
            settings.bundle.parameters,
            place.state,
            sampler=settings.sampler,
            uniforms=column,
            forbidden=forbidden_ids(vocabulary),
        )
        for index, _ in steps:
            ids.append(index)
            if index == vocabulary.end_of_text_id:
                break
        continuations.append(tuple(ids))
    return continuations


def _allowed(logits: Floats, settings: Settings) -> Floats:
    """Set the logit of the unknown id, of logits [V], to minus infinity in place, and return them."""
    logits[list(forbidden_ids(settings.bundle.vocabulary))] = -np.inf
    return logits
