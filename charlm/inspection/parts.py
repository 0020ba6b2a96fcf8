"""The parts of a report on a run, each made when it is asked for; `charlm.inspection.survey` asks for all."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams, score_ngrams
from charlm.evaluation.protocols import only_finite
from charlm.evaluation.scoring import score_stream
from charlm.inspection import saturation, units
from charlm.inspection.calibration import Calibration, calibrate
from charlm.inspection.characters import CharacterMap, map_characters
from charlm.inspection.context import UsableContext, usable_context
from charlm.inspection.curves import Curves, measure_levels, read_curves
from charlm.inspection.diagram import Diagram, draw_up
from charlm.inspection.edit import Edit, edit_text
from charlm.inspection.fixed_points import FixedPoints, find_fixed_points
from charlm.inspection.gradients import GradientByLag, gradient_by_lag
from charlm.inspection.impulse import ImpulseResponse, impulse_response
from charlm.inspection.initial import draw_initial
from charlm.inspection.limits import MOST_POSITIONS, Limits
from charlm.inspection.loss_by_class import LossByClass, divide_loss
from charlm.inspection.lyapunov import Lyapunov, lyapunov
from charlm.inspection.memory import LAGS, Memory, linear_memory
from charlm.inspection.predictions import Predictions, predict
from charlm.inspection.saturation import Saturation, measure_saturation
from charlm.inspection.spectrum import RecurrentSpectrum, recurrent_spectra
from charlm.inspection.trace import Trace, cut_weights, read_text
from charlm.inspection.trajectory import Trajectory, follow_state
from charlm.inspection.truncation import TruncationBias, truncation_bias
from charlm.inspection.units import Units, score_units
from charlm.network.bundle import Bundle
from charlm.network.rnn import Parameters

NGRAM_ORDER = 5
TRUNCATION_TEXTS, TRUNCATION_CHARACTERS = 8, 257
MEMORY_TEXTS = 16


@dataclass(frozen=True, eq=False)
class Subject:
    """What a report is made on."""

    name: str
    """The path of the run, for the user."""
    bundle: Bundle
    text_name: str
    """What is read, for the user."""
    ids: NDArray[Any]
    """The text, integers [n], n >= 2."""
    training_ids: NDArray[Any] | None = None
    """The text that the network was trained on, integers [m]; None if it is not known."""
    run: Path | None = None
    """The folder of the run; None for a bundle without its run."""
    edits: tuple[tuple[int, int], ...] = ()
    """Characters to change: position in the text, and the id to put there."""


class Survey:
    """The parts of a report; each method makes the part of its name. Texts are read once, when they are needed."""

    def __init__(self, subject: Subject, limits: Limits) -> None:
        self.subject, self.limits = subject, limits
        self.parameters, self.vocabulary = subject.bundle.parameters, subject.bundle.vocabulary
        self.ids = np.asarray(subject.ids[: limits.characters], np.int64)
        known = subject.training_ids
        self.training_ids = None if known is None or not len(known) else known[-limits.training_characters :]
        self.unread_training = 0 if self.training_ids is None or known is None else len(known) - len(self.training_ids)

    @cached_property
    def trace(self) -> Trace:
        """The beginning of the text, read with its derivatives."""
        return self._read(self.parameters, self.ids[: self.limits.positions])

    @cached_property
    def initial(self) -> Parameters:
        """A network with weights drawn anew by the initializers of the config."""
        return draw_initial(self.subject.bundle.parse_config(), len(self.vocabulary))

    @cached_property
    def initial_trace(self) -> Trace:
        """The beginning of the text, read by that network."""
        return self._read(self.initial, self.ids[: self.limits.positions // 2])

    def left_out(self) -> list[str]:
        """Return what the limits leave out, each a sentence."""
        limits, whole = self.limits, len(self.subject.ids)
        notes = []
        if whole > limits.characters:
            notes.append(f"Losses by class and baselines: the first {limits.characters:,} of {whole:,} characters.")
        if whole > limits.positions:
            notes.append(
                f"Surprise, gradients, impulse response, exponents: the first {limits.positions:,} characters."
            )
        if whole > units.MAX_POSITIONS:
            notes.append(f"Units, calibration: the first {units.MAX_POSITIONS:,} characters.")
        if whole > saturation.MAX_POSITIONS:
            notes.append(f"Saturation, trajectory, fixed points: the first {saturation.MAX_POSITIONS:,} characters.")
        if self.unread_training:
            notes.append(
                f"N-grams: counted on the last {limits.training_characters:,} characters of the training text."
            )
        return notes

    def surprise(self) -> Predictions:
        """Return the predictions of the text that is coloured by surprise."""
        found = predict(self.trace)
        for _ in only_finite([found.nats.astype(np.float32)]):
            pass
        return found

    def gradient_by_lag(self) -> GradientByLag:
        """Return the gradients along the whole state."""
        return gradient_by_lag(self.trace, positions=self.limits.gradient_positions)

    def gradient_by_lag_layer(self) -> GradientByLag:
        """Return the gradients through each layer alone."""
        return gradient_by_lag(self.trace, positions=self.limits.gradient_positions, path="layer")

    def initial_gradient_by_lag(self) -> GradientByLag:
        """Return the gradients along the whole state before training."""
        return gradient_by_lag(self.initial_trace, positions=self.limits.gradient_positions)

    def truncation(self) -> TruncationBias:
        """Return the bias of truncated backpropagation."""
        texts = max(1, TRUNCATION_TEXTS * self.limits.positions // MOST_POSITIONS)
        return truncation_bias(self._read(self.parameters, _side_by_side(self.ids, texts, TRUNCATION_CHARACTERS)))

    def usable_context(self) -> UsableContext:
        """Return the loss by the number of characters that are given."""
        return usable_context(
            self.parameters, self.ids, positions=self.limits.context_positions, training_ids=self.training_ids
        )

    def impulse_response(self) -> ImpulseResponse:
        """Return what is left of replaced characters."""
        return impulse_response(self.trace)

    def edits(self) -> tuple[Edit, ...]:
        """Return the ripples of the edits."""
        outside = [position for position, _ in self.subject.edits if not 0 <= position < len(self.trace.ids)]
        if outside:
            raise CharlmError(f"edit at {outside[0]}: the position must be from 0 to {len(self.trace.ids) - 1}")
        return tuple(edit_text(self.trace, position, after) for position, after in self.subject.edits)

    def memory(self) -> Memory:
        """Return how well a linear read-out remembers; refuse a text that is too short to fit it."""
        length = self.limits.memory_characters // MEMORY_TEXTS + LAGS[-1]
        texts = _side_by_side(self.ids, MEMORY_TEXTS, length)
        states = sum(layer.units for layer in self.parameters.layers)
        if (fitted := int((texts.size - LAGS[-1] * texts.shape[1]) * 0.6)) < states:
            raise CharlmError(f"a state of {states:,} dimensions, and only {max(0, fitted):,} characters to fit it to")
        return linear_memory(self._read(self.parameters, texts))

    def lyapunov(self) -> Lyapunov:
        """Return the Lyapunov exponents."""
        return lyapunov(self.trace)

    def initial_lyapunov(self) -> Lyapunov:
        """Return the Lyapunov exponents before training."""
        return lyapunov(self.initial_trace, most_steps=500)

    def spectrum(self) -> tuple[RecurrentSpectrum, ...]:
        """Return the spectra of the recurrent kernels."""
        return recurrent_spectra(self.trace, positions=self.limits.spectrum_positions)

    def initial_spectrum(self) -> tuple[RecurrentSpectrum, ...]:
        """Return the spectra of the recurrent kernels before training."""
        return recurrent_spectra(self.initial_trace, positions=self.limits.spectrum_positions)

    def units(self) -> Units:
        """Return how units follow features of the text."""
        return score_units(self.parameters, self.ids, self.vocabulary, untrained=self._untrained())

    def saturation(self) -> Saturation:
        """Return the share of saturated units."""
        return measure_saturation(self.parameters, self.ids)

    def trajectory(self) -> Trajectory:
        """Return the path of the state through a sentence."""
        return follow_state(self.parameters, self.ids, self.vocabulary)

    def fixed_points(self) -> FixedPoints:
        """Return the fixed and slow points."""
        return find_fixed_points(self.parameters, self.ids)

    def loss_by_class(self) -> LossByClass:
        """Return where the loss is."""
        nats = np.concatenate([*only_finite(score_stream(self.parameters, self.ids))])
        if self.training_ids is None:
            return divide_loss(nats, self.ids, self.vocabulary)
        model = count_ngrams(self.training_ids, vocabulary_size=len(self.vocabulary), order=NGRAM_ORDER)
        ngram_nats = np.concatenate([*score_ngrams(model, self.ids)])
        return divide_loss(nats, self.ids, self.vocabulary, ngram_nats=ngram_nats, ngram_order=NGRAM_ORDER)

    def calibration(self) -> Calibration:
        """Return how far the probabilities can be trusted."""
        return calibrate(self.parameters, self.ids)

    def curves(self) -> Curves:
        """Return the learning curves; refuse a bundle without its run."""
        if self.subject.run is None:
            raise CharlmError("a bundle without its run has no learning curves")
        return read_curves(self.subject.run, levels=measure_levels(self.ids, self.vocabulary, self.training_ids))

    def character_map(self) -> CharacterMap:
        """Return the characters in the plane."""
        return map_characters(self.parameters, self.ids, self.vocabulary)

    def network(self) -> Diagram:
        """Return the parts of the network."""
        return draw_up(self.parameters)

    def _untrained(self) -> Parameters | None:
        try:
            return self.initial
        except CharlmError:  # the units are scored without it; the parts that need it say what is wrong
            return None

    def _read(self, parameters: Parameters, ids: NDArray[np.int64]) -> Trace:
        return read_text(cut_weights(parameters, dtype=self.limits.dtype), ids)


def _side_by_side(ids: NDArray[np.int64], texts: int, length: int) -> NDArray[np.int64]:
    """Cut the beginning of a text into up to `texts` pieces of the same length, or less: int64 [T, B]."""
    length = min(length, len(ids))
    count = min(texts, len(ids) // length)
    return ids[: count * length].reshape(count, length).T
