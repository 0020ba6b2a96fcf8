"""A trained model in memory: it writes text, scores text, and can be stepped through by hand. No TensorFlow.

Axes: B batch, T time, V vocabulary, H units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.checks import check_flag, check_path, check_text, check_whole
from charlm.errors import CharlmError
from charlm.events import OnEvent, ignore
from charlm.network.model_file import TrainedModel, read_model
from charlm.network.rnn import Floats, State, read_outputs
from charlm.runs.folder import find_model
from charlm.sampling.generation import GeneratedText, TextRequest, generate_text, random_seed
from charlm.sampling.sampler import Sampler
from charlm.text.markup import LEVELS, coloured_text
from charlm.text.vocabulary import Vocabulary
from charlm.wording import counted, short_repr

if TYPE_CHECKING:
    from charlm.config.schema import Config
    from charlm.evaluation.scoring import ScoringProtocol

MAX_STREAMS = 1_000_000
"""The largest number of streams of a state."""
Text = str | NDArray[Any] | Sequence[int]
"""Characters, or ids, integers [T]."""


def load(model: "str | Path | Model | None" = None, *, on_event: OnEvent = ignore) -> "Model":
    """Load a trained model.

    Args:
        model: A model file or a checkpoint; or a run, of which the model with the best score is taken, or a part of the
            name of one run under runs/; or river-plays; None = the newest run. A loaded model is returned as it is.
        on_event: Called with NewestRunTaken and LastModelTaken.

    Raises:
        CharlmError: there is no model, or it is damaged.

    """
    if isinstance(model, Model):
        return model
    file = find_model(
        None if model is None else Path(check_path("model", model)), on_event=on_event
    )
    return Model(file, read_model(file))


@dataclass(frozen=True, eq=False)
class Surprise:
    """How much each character of a text surprises a model."""

    characters: tuple[str, ...]
    """The text, T characters."""
    nats: Floats
    """-log p of each but the first, given those before it, float32 [T - 1]."""

    def _repr_html_(self) -> str:
        """Return the text as HTML: the darker the ground of a character, the greater its surprise."""
        shades = "".join(
            f".surprise .l{n}{{background:rgba(214,69,65,{n / 15:.2f})}}"
            for n in range(1, LEVELS + 1)
        )
        text = coloured_text(self.characters, [None, *self.nats.tolist()])
        return f'<style>{shades}</style><pre class="surprise" style="white-space:pre-wrap">{text}</pre>'


class Model:
    """A trained network with its vocabulary; `charlm.load` returns one.

    Characters that it does not know are left out of a text.
    """

    def __init__(self, path: Path, trained: TrainedModel) -> None:
        self.path = path
        """The file of the model."""
        self.trained = trained
        """The network, its vocabulary and its config."""

    def __repr__(self) -> str:
        shape = self.trained.architecture
        return f"<Model {self.path}: {shape.layers} x {shape.units} units, {shape.vocabulary_size} ids>"

    @property
    def vocabulary(self) -> Vocabulary:
        """The characters by id."""
        return self.trained.vocabulary

    @cached_property
    def config(self) -> "Config":
        """Every setting of the run that made the model; raises CharlmError if the file does not have such."""
        return self.trained.parse_config(origin=str(self.path))

    @property
    def sampling_temperature(self) -> float:
        """The temperature of the recipe, 0 or more."""
        return self.trained.sampling_temperature

    def zero_state(self, batch: int = 1) -> State:
        """Return the state before the first character: zeros, one float32 [batch, H] for each layer."""
        return self.trained.parameters.zero_state(
            check_whole("batch", batch, least=0, most=MAX_STREAMS)
        )

    def step(
        self, ids: NDArray[Any] | Sequence[int], state: Sequence[Floats] | None = None
    ) -> tuple[Floats, State]:
        """Read one character in each of B streams.

        Args:
            ids: Integers [B], 0 to V - 1.
            state: One float32 [B, H] for each layer; None = the zero state.

        Returns:
            The logits of the next character, float32 [B, V], and the state after this character.

        Raises:
            CharlmError: an id is out of range, or the state is not one of B streams of this network.

        """
        ids = _check_ids(ids, len(self.vocabulary))
        return self.trained.parameters.step(ids, self._state_of(state, streams=len(ids)))

    def logits(self, text: Text, *, state: Sequence[Floats] | None = None) -> Floats:
        """Return the logits after each character of a text.

        Args:
            text: Characters, or ids, integers [T].
            state: The state before the text, one float32 [1, H] for each layer; None = the zero state.

        Returns:
            float32 [T, V].

        Raises:
            CharlmError: an id is out of range.

        """
        ids = self._encode(text)
        return self.trained.parameters.unroll(ids[:, None], self._state_of(state))[0][:, 0]

    def score(
        self,
        text: Text,
        *,
        protocol: "ScoringProtocol" = "stream",
        window: int = 256,
        state: Sequence[Floats] | None = None,
    ) -> Floats:
        """Return the loss of each character of a text but the first, given those before it.

        The mean of the losses is what `charlm.evaluate` and `charlm evaluate` report as nats per character.

        Args:
            text: Characters, or ids, integers [T].
            protocol: stream reads the text once from start to end, windows reads each window from the zero state.
            window: Characters in a window, 1 or more.
            state: Where a stream begins, one float32 [1, H] for each layer; None = the zero state. Windows always
                begin at the zero state.

        Returns:
            -log p in nats, float32 [T - 1].

        Raises:
            CharlmError: T < 2, an argument is out of range or a state given for windows, or a loss is not finite.

        """
        from charlm.evaluation.scoring import score_ids

        if state is not None and protocol != "stream":
            raise CharlmError(
                f"state: given with the protocol {protocol}; only a stream begins at a state"
            )
        ids = self._encode(text)
        first = self._state_of(state)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # values that are not finite raise a CharlmError
            blocks = score_ids(
                self.trained.parameters, ids, protocol=protocol, window=window, state=first
            )
            return np.concatenate([block.ravel() for block in blocks])

    def states(self, text: Text, *, state: Sequence[Floats] | None = None) -> State:
        """Return the hidden state of each layer after each character of a text.

        Args:
            text: Characters, or ids, integers [T].
            state: The state before the text, one float32 [1, H] for each layer; None = the zero state.

        Returns:
            float32 [T, H] for each layer, lowest first.

        Raises:
            CharlmError: as for `logits`.

        """
        first = tuple(layer[0] for layer in self._state_of(state))
        return read_outputs(self.trained.parameters, self._encode(text), first)

    def surprise(self, text: str) -> "Surprise":
        """Return the loss of each character of a text, which a notebook colours; raises what `score` raises."""
        check_text("text", text)
        ids = self._encode(text)
        return Surprise(tuple(self.vocabulary.glyphs[index] for index in ids), self.score(ids))

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        stop: str | None = None,
        ignore_end: bool = False,
    ) -> GeneratedText:
        """Generate a text that continues a prompt: the prompt is read at once, each character when it is asked for.

        Args:
            prompt: What the model reads first; the text does not repeat it.
            length: The most characters to generate; 0 = without end.
            temperature: 0 always chooses the most likely character; below 1 is safer, above 1 wilder than the model.
                None = `self.sampling_temperature`.
            top_k: Choose among the k most likely characters, 1 or more; None = all.
            top_p: Choose among the fewest characters whose probabilities reach this sum, above 0 and at most 1.
            min_p: Leave out characters less likely than this share of the most likely one, 0 to 1.
            seed: 0 or more; the same seed gives the same text. None = a random seed.
            stop: The text ends before the first occurrence of this one.
            ignore_end: Whether to continue with a blank line when the model ends the text.

        Returns:
            An iterator over the chunks of the text; `str` of it is the whole text.

        Raises:
            CharlmError: an argument is out of range.

        """
        temperature = self.sampling_temperature if temperature is None else temperature
        check_text("prompt", prompt)
        if stop is not None:
            check_text("stop", stop)
        check_flag("ignore_end", ignore_end)
        sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        seed = random_seed() if seed is None else seed
        wanted = TextRequest(
            length, sampler, seed=seed, prompt=prompt, stop=stop or "", ignore_end=ignore_end
        )
        return generate_text(self.trained, wanted)

    def _state_of(self, state: Sequence[Floats] | None, *, streams: int = 1) -> State:
        """Return a state that a caller gave as float32 [streams, H] for each layer; None = the zero state."""
        zeros = self.zero_state(streams)
        if state is None:
            return zeros
        layers = (
            [*state]
            if isinstance(state, Sequence) or (isinstance(state, np.ndarray) and state.ndim)
            else []
        )
        if len(layers) != len(zeros):
            expected = f"{counted(len(zeros), 'array')}, one for each layer"
            raise CharlmError(f"state: found {short_repr(state)}; must be {expected}")
        arrays = []
        for index, (layer, zero) in enumerate(zip(layers, zeros, strict=True)):
            array = _as_array(layer)
            if array.dtype.kind not in "fiu" or array.shape != zero.shape:
                found = f"{array.dtype} of shape {array.shape}"
                raise CharlmError(
                    f"state: layer {index}: found {found}; must be float32 of shape {zero.shape}"
                )
            arrays.append(array.astype(np.float32))
        return tuple(arrays)

    def _encode(self, text: Text) -> NDArray[Any]:
        if isinstance(text, str):
            return self.vocabulary.encode(text)
        return _check_ids(text, len(self.vocabulary), argument="text")


def _check_ids(
    ids: NDArray[Any] | Sequence[int], vocabulary_size: int, *, argument: str = "ids"
) -> NDArray[np.int64]:
    """Return ids that a caller gave as an array, int64 [n].

    Raises:
        CharlmError: they are not whole numbers from 0 to V - 1 in a single row.

    """
    array = _as_array(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        found = short_repr(ids) if array.ndim == 1 else f"shape {array.shape}"
        raise CharlmError(
            f"{argument}: found {found}; must be a text, or whole numbers in a single row"
        )
    for found in (array.min(initial=0), array.max(initial=0)):
        if not 0 <= found < vocabulary_size:
            raise CharlmError(f"{argument}: found {found}; must be from 0 to {vocabulary_size - 1}")
    return array.astype(np.int64)


def _as_array(values: Any) -> NDArray[Any]:
    """Return values as an array; of objects, if NumPy has no other."""
    try:
        return np.asarray(values)
    except (ValueError, OverflowError):  # rows of different lengths
        return np.empty((), object)
