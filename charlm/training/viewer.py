"""Makes what TensorBoard shows of each evaluation of a run, besides its losses."""

from collections.abc import Sequence

import numpy as np

from charlm.network.rnn import Floats, Parameters
from charlm.network.spectrum import spectral_radius
from charlm.runs.run import Run
from charlm.text.vocabulary import Ids
from charlm.training.pictures import draw_lags, draw_surprise
from charlm.training.probe import LayerProbe, choose_windows, probe
from charlm.training.samples import WrittenSample
from charlm.training.step_change import StepChange
from charlm.training.text_report import MAX_TRAINING_CHARACTERS, NGRAM, TextReport
from charlm.training.views import Picture, Views


class Viewer:
    """Makes the views of a run.

    Args:
        run: Its text.
        validation: The ids that the run is evaluated on, integers [n], n >= 2; None = there is no such text, and the
            training text is read instead.
        report: What simple models score on the same text.

    """

    def __init__(self, run: Run, validation: Ids | None, report: TextReport) -> None:
        training = run.corpus.split("train", check=False)
        self._windows = choose_windows(training[:MAX_TRAINING_CHARACTERS] if validation is None else validation)
        self._report = report

    def summary(self, *, sample: WrittenSample | None, change: StepChange | None, best_nats: float | None) -> Views:
        """Return what is shown at every evaluation, since it takes next to no time.

        Args:
            sample: The sampled text, or None.
            change: What the last step did; None = not known.
            best_nats: The lowest loss so far in nats per character, or None.

        """
        scalars = {} if change is None else change.scalars()
        if NGRAM in self._report.simple_nats():
            scalars[f"nats_per_char/{NGRAM}"] = self._report.simple_nats()[NGRAM]
        if best_nats is not None:
            scalars["best_nats_per_char"] = best_nats
        if sample is None:
            return Views(scalars=scalars)
        pictures = {"surprise": draw_surprise(sample.glyphs, sample.nats)} if sample.glyphs else {}
        return Views(scalars=scalars, pictures=pictures, texts={"sample": sample.text})

    def details(self, parameters: Parameters, samples: Sequence[WrittenSample]) -> Views:
        """Return what is shown of a network if there is time for it.

        Args:
            parameters: The network that is evaluated: the average of the weights if one is kept.
            samples: Texts at other temperatures.

        """
        layers = [] if self._windows is None else probe(parameters, self._windows)
        scalars = {
            f"spectral_radius/rnn.{index}": spectral_radius(layer.recurrent_kernel)
            for index, layer in enumerate(parameters.layers)
        }
        scalars |= {f"saturated/rnn.{index}": layer.saturated_share for index, layer in enumerate(layers)}
        return Views(
            scalars=scalars,
            histograms={f"state/rnn.{index}": layer.states for index, layer in enumerate(layers)},
            pictures=_draw(layers),
            texts={f"sample/temperature_{sample.temperature:g}": sample.text for sample in samples},
        )


def _draw(layers: Sequence[LayerProbe]) -> dict[str, Picture]:
    names = [f"rnn.{index}" for index in range(len(layers))]
    return {"gradient_by_lag": draw_lags(names, [layer.gradient for layer in layers])} if layers else {}


def input_rows(parameters: Parameters) -> Floats:
    """Return what tells the characters apart for the network, float32 [V, width].

    It is the embedding if there is one; else the rows of the kernel of the first layer, one for each character.
    """
    rows = parameters.layers[0].kernel if parameters.embedding is None else parameters.embedding
    return np.asarray(rows, np.float32)
