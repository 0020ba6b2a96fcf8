"""The loss by kind of the predicted character, and by its place in the word.

The mean over the classes of a division, weighted by their characters, is the mean over the text.

Axes: T characters of the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charlm.core.rnn import Floats, Integers
from charlm.core.scoring import ERROR_BLOCK, MIN_BLOCKS, mean_score
from charlm.core.vocabulary import Ids, Vocabulary
from charlm.inspection.features import KINDS, RESERVED, character_kind, count_within, is_in_word
from charlm.inspection.reading import Reading, SampledCharacters
from charlm.inspection.style import Cell, Line, Section, table
from charlm.measures.baselines import NGRAM, Comparison
from charlm.measures.estimates import UNKNOWN, Estimate, loss_of, mean_at, over_runs
from charlm.measures.ngrams import NGRAM_ORDER

WORD_PLACES = {
    0: "outside words",
    1: "letter 1",
    2: "letter 2",
    3: "letter 3",
    4: "letter 4",
    5: "letters 5 to 7",
    8: "letters from 8",
}
"""Names of the classes of places in a word, by their first place."""


@dataclass(frozen=True)
class ClassLoss:
    """The loss on the characters of one class."""

    name: str
    """Name of the class, as shown to the user."""
    characters: int
    """Number of scored characters in the class, 1 or more."""
    nats_per_char: Estimate
    """Mean loss on these characters, in nats."""
    ngram_nats_per_char: float | None
    """Mean loss of the 8-gram model on the same characters, in nats; None without such a model."""
    share_of_loss: float
    """Total loss of the class as a share of the total loss on the text, from 0 to 1."""


@dataclass(frozen=True)
class LossByClass:
    """The loss on a text, divided in two ways."""

    positions: SampledCharacters
    """The characters that were scored."""
    nats_per_char: Estimate
    """Mean loss on all scored characters, in nats; see `loss_of`."""
    comparison: Comparison | None
    """The network compared with the 8-gram model; None if the training text is unknown."""
    by_class: tuple[ClassLoss, ...]
    """The loss by the kind of the character: lower case, upper case, ..."""
    by_word_place: tuple[ClassLoss, ...]
    """The loss by the number of the letter in its word."""

    @property
    def classes(self) -> tuple[ClassLoss, ...]:
        """All characters together, then the classes of both divisions."""
        ngram_nats = None if self.comparison is None else self.comparison.ngram_nats_per_char
        whole = ClassLoss(
            name="all characters",
            characters=self.positions.count,
            nats_per_char=self.nats_per_char,
            ngram_nats_per_char=ngram_nats,
            share_of_loss=1.0,
        )
        return (whole, *self.by_class, *self.by_word_place)

    def nats_of(self, name: str) -> Estimate:
        """Return the loss of a class, unknown for a class that does not occur."""
        losses = {each.name: each.nats_per_char for each in self.classes}
        return losses.get(name, UNKNOWN)


def divide_loss(
    nats: Floats,
    ids: Ids,
    vocabulary: Vocabulary,
    *,
    ngram_nats: Floats | None = None,
    initial_model: str | None = None,
) -> LossByClass:
    """Divide the loss on a text by classes of the scored characters.

    Args:
        nats: The nats of ids 1 to T - 1, [T - 1].
        ids: The text, integers [T], T >= 2.
        vocabulary: The characters by id.
        ngram_nats: The nats of the same ids by the 8-gram model, [T - 1], if there is one.
        initial_model: Name of the model that the network began with; None = random weights.

    """
    kinds = [*KINDS, RESERVED]
    kind_of_id = [kinds.index(character_kind(each)) for each in vocabulary.characters]
    letters = count_within(is_in_word(vocabulary.spell(ids, end="\n")))[1:]
    places = np.searchsorted([*WORD_PLACES], letters, "right") - 1
    score = mean_score([nats])
    comparison = None
    if ngram_nats is not None:
        comparison = Comparison.of(score, mean_score([ngram_nats]), initial_model=initial_model)
    return LossByClass(
        positions=SampledCharacters.of(range(1, len(ids))),
        nats_per_char=loss_of(score),
        comparison=comparison,
        by_class=_divide(nats, ngram_nats, np.array(kind_of_id)[ids[1:]], kinds),
        by_word_place=_divide(nats, ngram_nats, places, [*WORD_PLACES.values()]),
    )


def _divide(
    nats: Floats, ngram_nats: Floats | None, classes: Integers, names: Sequence[str]
) -> tuple[ClassLoss, ...]:
    """Return the loss of each class that occurs; `classes` [T - 1] are indices of `names`."""
    total = float(nats.sum(dtype=np.float64)) or 1.0
    losses = []
    for index in np.unique(classes).tolist():
        places = np.flatnonzero(classes == index)
        loss = mean_at(nats[places], places)
        ngram_loss = None if ngram_nats is None else float(ngram_nats[places].mean())
        share = float(nats[places].sum(dtype=np.float64)) / total
        losses.append(ClassLoss(names[index], len(places), loss, ngram_loss, share))
    return tuple(losses)


def measure(reading: Reading) -> LossByClass:
    """Divide the losses of the network and of the 8-gram model by classes of characters."""
    return divide_loss(
        reading.nats,
        reading.ids,
        reading.trained.vocabulary,
        ngram_nats=reading.ngram_nats.get(NGRAM_ORDER),
        initial_model=reading.trained.initial_model,
    )


# The page

TEXT = (
    "The loss by the kind of the predicted character, and by its place in the word. The first "
    "letters of words usually cost most, because the spelling of a word is easier to predict than "
    f"the next word. An {NGRAM} model predicts a character from the {NGRAM_ORDER - 1} characters "
    "before it, using counts from the training text."
)


OVER_TEXT = (
    "\N{PLUS-MINUS SIGN}: one standard error over the text, from blocks of "
    f"{ERROR_BLOCK} characters; it is unknown for a class that occurs in fewer than {MIN_BLOCKS} "
    "blocks."
)
OVER_SEEDS = "\N{PLUS-MINUS SIGN}: one standard error over the seeds."


def details(results: Mapping[Line, LossByClass]) -> str:
    """Return a table of the loss of each class for each group, and for the 8-gram model."""
    first, *others = results.values()
    groups = dict.fromkeys(line.group for line in results)
    has_seeds = len(groups) < len(results)
    rows: list[Sequence[Cell]] = []
    for each in first.classes:
        losses = {line: loss.nats_of(each.name) for line, loss in results.items()}
        cells = [*losses.values()]
        if has_seeds:
            cells = [
                over_runs([nats for line, nats in losses.items() if line.group == group])
                for group in groups
            ]
        share = [] if others else [f"{each.share_of_loss:.0%}"]
        rows.append((each.name, each.characters, *cells, each.ngram_nats_per_char, *share))
    caption = f"Nats per character, based on the predictions of {first.positions}. "
    caption += OVER_SEEDS if has_seeds else OVER_TEXT
    labels = [group or "network" for group in groups]
    head = ("class", "characters", *labels, NGRAM, *([] if others else ["share of the loss"]))
    is_compared = first.comparison is not None and not others
    sentence = f"<p>This network is {first.comparison}.</p>" if is_compared else ""
    return sentence + table(head, rows, caption=caption)


SECTION = Section(
    name="loss_by_class",
    title="Where the loss comes from",
    equation="L = sum over classes of (characters of the class / characters) L<sub>class</sub>",
    text=TEXT,
    measure=measure,
    details=details,
)
