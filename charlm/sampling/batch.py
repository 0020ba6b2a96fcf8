"""The texts that a network writes side by side: each step adds a character to all; a text joins and leaves at any step.

What a text gets depends neither on the other texts nor on its place among them: `charlm.network.stepper` sees to the
network, `charlm.sampling.sampler` to the choice, and the random numbers are those of
`charlm.sampling.generation.generate`, which also reads the prompt.

So that a step takes a few calls of NumPy, whatever the number of texts, time is cut into windows of W steps: random
numbers are drawn for a whole window, and results are collected at its end, or when a text has its first character or
its last.

Axes: W steps of a window, B slots, b texts in slots, V vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Floats, Parameters, State
from charlm.network.stepper import TiledStepper, count_lanes
from charlm.sampling.sampler import NO_ID, RowSettings, Sampler, choose_rows

WINDOW = 64
Booleans = NDArray[np.bool_]
MAX_LIKELIEST = 20
EndReason = Literal["length", "end of text", "not finite"]


@dataclass(frozen=True, eq=False)
class Job:
    """A text to write; two jobs are never equal."""

    state: State
    """After the prompt, float32 [1, H] for each layer."""
    length: int
    """How many ids to choose, 1 or more."""
    sampler: Sampler
    seed: tuple[int, int]
    """Two numbers, 0 or more: the seed of the request, and the index of the text among those of the request."""
    likeliest: int | None = None
    """How many of the likeliest ids to report beside the log-probability of each id, 0 to 20; None = neither."""


@dataclass(frozen=True)
class Chunk:
    """The next ids of a text."""

    ids: NDArray[np.int64]
    """[m]; an end-of-text id is the last."""
    logprobs: NDArray[np.float64] | None = None
    """log p of each id given those before it, [m]. None = not wanted."""
    likeliest_ids: NDArray[np.int64] | None = None
    """[m, k], likeliest first."""
    likeliest_logprobs: NDArray[np.float64] | None = None
    """[m, k]."""
    reason: EndReason | None = None
    """Why these are the last ids; None = there are more to come."""


class _Text:
    """How far a text has come."""

    def __init__(self, job: Job, offset: int, reported: int) -> None:
        self.job = job
        self.random = np.random.default_rng(job.seed)
        self.offset = offset  # the number in the text of the id at column 0
        self.reported = reported  # the column of the first id that is not reported yet


class _Window:
    """The random numbers of the texts, and what came of them, at each step of a window [W, B]."""

    def __init__(self, window: int, slots: int, likeliest: int) -> None:
        self.draws = np.zeros((window, slots))
        self.ids = np.zeros((window, slots), np.int64)
        self.logprobs = np.zeros((window, slots))
        self.likeliest_ids = np.zeros((window, slots, likeliest), np.int64)
        self.likeliest_logprobs = np.zeros((window, slots, likeliest))

    def move(self, source: int, target: int) -> None:
        """Put the text of a slot into another."""
        arrays: tuple[NDArray[Any], ...] = (
            *(self.draws, self.ids, self.logprobs),
            *(self.likeliest_ids, self.likeliest_logprobs),
        )
        for array in arrays:
            array[:, target] = array[:, source]

    def chunk(self, slot: int, steps: slice, likeliest: int | None, reason: EndReason | None) -> Chunk:
        """Return what came of some steps in a slot."""
        ids = self.ids[steps, slot].copy()
        if likeliest is None:
            return Chunk(ids, reason=reason)
        return Chunk(
            ids,
            self.logprobs[steps, slot].copy(),
            self.likeliest_ids[steps, slot, :likeliest].copy(),
            self.likeliest_logprobs[steps, slot, :likeliest].copy(),
            reason,
        )


class Batch:
    """The texts in the slots of one network.

    Args:
        parameters: The weights.
        slots: B, how many texts are written at once, 1 or more.
        forbidden: Ids that are never chosen.
        end_id: The id that ends a text, or None.
        lanes: The width of a tile; None = the widest in which this machine computes the same bits everywhere.
        window: W, 1 or more.

    Raises:
        CharlmError: the logits of the network are not finite.

    """

    def __init__(
        self,
        parameters: Parameters,
        *,
        slots: int,
        forbidden: Iterable[int] = (),
        end_id: int | None = None,
        lanes: int | None = None,
        window: int = WINDOW,
    ) -> None:
        self.parameters, self.slots = parameters, slots
        self._stepper = TiledStepper(parameters, streams=slots, lanes=lanes or count_lanes(parameters))
        self._forbidden = list(forbidden)
        self._end_id = NO_ID if end_id is None else end_id
        self._settings = RowSettings([])
        self._window = _Window(window, slots, min(MAX_LIKELIEST, parameters.vocabulary_size))
        self._texts: list[_Text] = []
        self._due = np.full(slots, window)
        self._column = 0
        self._next_due = window
        self._scored = np.zeros(0, np.int64)
        self._reports: list[tuple[Job, Chunk]] = []

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken."""
        return len(self._texts) == self.slots

    def jobs(self) -> list[Job]:
        """Return the jobs whose texts are being written."""
        return [text.job for text in self._texts]

    def add(self, job: Job) -> None:
        """Put a text into a free slot: it takes part in the next step."""
        slot = len(self._texts)
        self._texts.append(_Text(job, -self._column, self._column))
        self._stepper.begin(slot, job.state)
        self._fill(slot)
        self._read_settings()
        self._refresh()

    def remove(self, job: Job) -> None:
        """Take a text out, if it is in a slot; the next step does not compute it."""
        slot = next((index for index, text in enumerate(self._texts) if text.job is job), None)
        if slot is not None:
            self._free(slot)
            self._refresh()

    def step(self) -> None:
        """Choose a character in every text."""
        texts, column = len(self._texts), self._column
        logits = self._stepper.logits(texts)
        ids = self._choose(logits, column)
        is_ended = (ids == NO_ID) | (ids == self._end_id)
        if self._scored.size:
            is_ended |= self._score(logits, ids, column)
        self._window.ids[column, :texts] = ids
        self._stepper.advance(np.maximum(ids, 0))
        self._column += 1
        if self._column >= self._next_due or is_ended.any():
            self._attend(is_ended)

    def take_reports(self, *, everything: bool = False) -> list[tuple[Job, Chunk]]:
        """Return new ids of texts, in order: those that are due, or with `everything` all that there are."""
        if everything:
            for slot in range(len(self._texts)):
                self._report(slot)
        reports, self._reports = self._reports, []
        return reports

    def _choose(self, logits: Floats, column: int) -> NDArray[np.int64]:
        if self._forbidden:
            logits = logits.copy()
            logits[:, self._forbidden] = -np.inf
        draws = self._window.draws[column, : len(logits)]
        return choose_rows(logits, self._settings, draws)

    def _score(self, logits: Floats, ids: NDArray[np.int64], column: int) -> Booleans:
        """Note log-probabilities where they are wanted; return which texts have one that is not finite."""
        slots = self._scored
        with np.errstate(invalid="ignore"):
            wide = logits[slots].astype(np.float64)
            wide -= wide.max(-1, keepdims=True)
            wide -= np.log(np.exp(wide).sum(-1, keepdims=True))
        of_ids = np.take_along_axis(wide, np.maximum(ids[slots], 0)[:, None], -1)[:, 0]
        self._window.logprobs[column, slots] = of_ids
        if self._most_likeliest:
            order = np.argsort(-wide, axis=-1, kind="stable")[:, : self._most_likeliest]
            width = order.shape[1]
            self._window.likeliest_ids[column, slots, :width] = order
            self._window.likeliest_logprobs[column, slots, :width] = np.take_along_axis(wide, order, -1)
        is_lost = np.zeros(len(ids), np.bool_)
        is_lost[slots] = ~np.isfinite(of_ids)
        return is_lost

    @property
    def _most_likeliest(self) -> int:
        return max(self._texts[slot].job.likeliest or 0 for slot in self._scored)

    def _attend(self, is_ended: Booleans) -> None:
        """Report the texts that are due, end those that have ended, and begin a new window after the last column."""
        is_due = self._due[: len(self._texts)] <= self._column
        for slot in reversed(np.flatnonzero(is_due | is_ended).tolist()):  # from the end: a freed slot gets the last
            text = self._texts[slot]
            reason: EndReason | None = None
            if is_ended[slot]:
                has_end = self._window.ids[self._column - 1, slot] == self._end_id != NO_ID
                reason = "end of text" if has_end else "not finite"
            elif text.offset + self._column == text.job.length:
                reason = "length"
            self._report(slot, reason)
            if reason is None:
                self._due[slot] = self._next_column(text)
            else:
                self._free(slot)
        if self._column == len(self._window.ids):
            self._begin_window()
        self._refresh()

    def _begin_window(self) -> None:
        self._column = 0
        for slot, text in enumerate(self._texts):
            text.offset += len(self._window.ids)
            text.reported = 0
            self._fill(slot)

    def _fill(self, slot: int) -> None:
        """Draw the random numbers of a text from the present column to the end of the window."""
        text, draws = self._texts[slot], self._window.draws
        draws[self._column :, slot] = text.random.random(len(draws) - self._column)
        self._due[slot] = self._next_column(text)

    def _next_column(self, text: _Text) -> int:
        """Return the next column at which a text has its first id or its last, or at which the window ends."""
        window = len(self._window.ids)
        events = (1 - text.offset, text.job.length - text.offset)
        return min(window, *(event for event in events if event > self._column))

    def _report(self, slot: int, reason: EndReason | None = None) -> None:
        text = self._texts[slot]
        begin, end = text.reported, self._column - (reason == "not finite")
        text.reported = self._column
        if begin < end or reason is not None:
            steps = slice(begin, max(begin, end))
            self._reports.append((text.job, self._window.chunk(slot, steps, text.job.likeliest, reason)))

    def _free(self, slot: int) -> None:
        last = len(self._texts) - 1
        if slot != last:
            self._stepper.move(last, slot)
            self._window.move(last, slot)
            self._due[slot] = self._due[last]
            self._texts[slot] = self._texts[last]
        self._texts.pop()
        self._read_settings()

    def _refresh(self) -> None:
        self._next_due = int(self._due[: len(self._texts)].min(initial=len(self._window.ids)))

    def _read_settings(self) -> None:
        """Lay out the settings of the texts after one has come or gone."""
        self._settings = RowSettings([text.job.sampler for text in self._texts])
        self._scored = np.array([i for i, text in enumerate(self._texts) if text.job.likeliest is not None], np.int64)
