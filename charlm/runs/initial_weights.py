"""Initial weights of a run, taken from another model and adapted to the text of the run.

The other model is the one that the user names, or the base that comes with charlm if that is
better than random weights.

The run keeps them as the model file init.safetensors, so it can be resumed without that model. A
known character gets the weights of the same character. A new character gets the mean of the known
rows, with a little noise (Hewitt 2021, "Initializing new word embeddings for pretrained language
models"), and a logit bias that fits its frequency.

Axes: V ids of the model, W ids of the other vocabulary.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from charlm.config.file import flatten, show_value
from charlm.config.schema import Config
from charlm.core.architecture import ONE_HOT
from charlm.core.evaluating import TrainingText
from charlm.core.model_file import TrainedModel, read_model, tensors_sha256
from charlm.core.reading import one_thread
from charlm.core.rnn import Floats, Integers, Parameters
from charlm.core.scoring import ERROR_BLOCK, Score, estimate_stream
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ignore
from charlm.measures.baselines import NGRAM
from charlm.runs.folder import BASE, INIT, find_model, model_name
from charlm.runs.run import Run
from charlm.text.corpus import Corpus, count_ids
from charlm.wording import counted

MARGIN = 0.8
"""How much higher than the loss of an n-gram model of the text the loss of the base may be before
training, in nats per character, so that training begins with it; measured, see docs/recipes.md."""
COMPARED_BLOCKS = 33
"""Number of blocks of the validation text on which the base is scored; it takes about a second."""
NOISE = 0.3
"""Standard deviation of the noise, relative to the known rows. On a text with 37 new characters,
after four epochs, the loss is 1.650 nats per character with 0.1, 1.620 with 0.3, and 1.615 with
1.0."""


@dataclass(frozen=True)
class InitialModel:
    """A trained model with the initial weights of a run."""

    path: Path
    model: TrainedModel

    @property
    def name(self) -> str:
        """Name of the model or of its run."""
        return model_name(self.path)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the weights."""
        return tensors_sha256(self.model.parameters.tensors)


def read_initial_model(path: Path) -> InitialModel:
    """Read a model; see `find_model` for the path. Raises CharlmError if there is none."""
    file = find_model(path)
    return InitialModel(file, read_model(file))


def compare_base(
    corpus: Corpus, text: TrainingText, ngram: Score
) -> tuple[InitialModel | None, str]:
    """Return the base if training should begin with it, and the reason for the choice.

    Args:
        corpus: The text.
        text: The same text as ids, with a validation part.
        ngram: Score of an n-gram model on the validation part.

    """
    assert text.validation is not None, "an n-gram model has scored it"
    base = read_initial_model(BASE)
    matched = match_ids(base.model.vocabulary, corpus.vocabulary)
    parameters = _adapt(base, corpus, matched, seed=0)
    blocks = ngram.block_means[:COMPARED_BLOCKS]
    ids = text.validation[: COMPARED_BLOCKS * ERROR_BLOCK + 1]
    with one_thread():
        nats = estimate_stream(parameters, ids).nats_per_char
    ngram_nats = float(np.mean(blocks)) if len(blocks) == COMPARED_BLOCKS else ngram.nats_per_char
    losses = f"{nats:.2f} nats on this text before training, an {NGRAM} model {ngram_nats:.2f}"
    if nats > ngram_nats + MARGIN:
        return None, f"random weights; {base.name} does not suit this text ({losses})"
    return base, f"{base.name} ({losses}); --init none begins with random weights"


def check_initial_model(config: Config, init: InitialModel | None) -> None:
    """Raise CharlmError if the config does not fit the initial weights or their absence."""
    if init is None and config.training.initial_weights is not None:
        raise CharlmError(
            "training.initial_weights: this recipe began with the weights of "
            f"{config.training.initial_model or 'a model'}; give the model with --init, or set "
            "training.initial_weights=null"
        )
    if init is None:
        return
    settings = flatten(config)
    for key, value in init.model.architecture.settings().items():
        if settings[key] != value:
            raise CharlmError(
                f"{key}: found {show_value(settings[key])}; must be {show_value(value)}, as in "
                f"{init.path}, which has the initial weights; remove the setting"
            )


def adapt_initial_model(
    init: InitialModel, config: Config, corpus: Corpus, *, on_event: OnEvent = ignore
) -> TrainedModel:
    """Return the model for init.safetensors, adapted to the vocabulary of a corpus.

    Args:
        init: The model.
        config: Every setting of the run; layers, units and so on must be those of the model.
        corpus: The text of the run.
        on_event: Called with a note.

    """
    matched = match_ids(init.model.vocabulary, corpus.vocabulary)
    new = counted(int((matched < 0).sum()), "new character")
    on_event(Note(f"initial weights from {init.path}: {new}"))
    parameters = _adapt(init, corpus, matched, seed=config.seed)
    settings = config.model_dump(mode="json")
    return TrainedModel(parameters, corpus.vocabulary, settings, {"step": 0, "epoch": 0.0})


def _adapt(init: InitialModel, corpus: Corpus, matched: Integers, *, seed: int) -> Parameters:
    """Return the weights of a model for the vocabulary of a corpus, given their matched ids."""
    counts = count_ids(corpus.split("train"), len(corpus.vocabulary))
    return transfer(init.model.parameters, matched, counts, seed=seed)


def match_ids(known: Vocabulary, vocabulary: Vocabulary) -> Integers:
    """Return the ids that the characters of a vocabulary have in a model.

    Args:
        known: The vocabulary of the model, V ids.
        vocabulary: The other vocabulary, W ids.

    Returns:
        int64 [W]; -1 for unknown characters. Reserved ids match by their purpose.

    """
    ids = {name: index for index, name in enumerate(known.names)}
    return np.array([ids.get(name, -1) for name in vocabulary.names], np.int64)


def transfer(
    parameters: Parameters, matched: Integers, counts: Integers, *, seed: int
) -> Parameters:
    """Return the weights of a model for another vocabulary.

    The weights of known ids are copied. So the model predicts as before if both vocabularies have
    the same characters.

    Args:
        parameters: The weights of the model, for V ids.
        matched: The result of `match_ids`, int64 [W].
        counts: Number of occurrences of each id in the training text, int64 [W].
        seed: Seed of the noise, 0 or more.

    Returns:
        The weights for W ids, float32.

    """
    rng = np.random.default_rng(seed)
    tensors = dict(parameters.tensors)
    for name, spec in parameters.architecture.tensors.items():
        if ONE_HOT in spec.reads:  # its rows are the last ones
            other_rows, table = np.split(tensors[name], [spec.rows(ONE_HOT).start])
            tensors[name] = np.concatenate([other_rows, _rows(table, matched, rng)])
    kernel = _rows(parameters.logits_kernel.T, matched, rng)
    tensors["logits.kernel"] = np.ascontiguousarray(kernel.T)
    tensors["logits.bias"] = _biases(parameters.logits_bias, matched, counts)
    return Parameters(replace(parameters.architecture, vocabulary_size=len(matched)), tensors)


def _rows(table: Floats, matched: Integers, rng: np.random.Generator) -> Floats:
    """Return the rows of all ids, float32 [W, n], from the rows of the model's ids, [V, n]."""
    noise = NOISE * table.std(0) * rng.standard_normal((len(matched), table.shape[1]))
    rows = np.where((matched >= 0)[:, None], table[matched], table.mean(0) + noise)
    return rows.astype(np.float32)


def _biases(biases: Floats, matched: Integers, counts: Integers) -> Floats:
    """Return the biases of all ids, float32 [W], from the biases of the model's ids, [V].

    The bias of a new id is the logarithm of its frequency, (count + 1) / (sum of the counts + W),
    plus the mean of bias - log frequency over the known ids that occur. (A constant that is added
    to all biases does not change any probability.)
    """
    log_frequencies = np.log((counts + 1) / (counts.sum() + len(counts)))
    occurs = (matched >= 0) & (counts > 0)
    offset = np.mean(biases[matched[occurs]] - log_frequencies[occurs]) if occurs.any() else 0.0
    return np.where(matched >= 0, biases[matched], log_frequencies + offset).astype(np.float32)


def read_initial_weights(run: Run) -> Parameters | None:
    """Return the initial weights that a run has from another model, or None.

    Raises CharlmError if init.safetensors is missing or damaged.
    """
    if run.config.training.initial_weights is None:
        return None
    return read_model(run.folder / INIT).parameters
