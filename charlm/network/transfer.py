"""The weights of a model for another vocabulary: characters are matched by what they are, and new ones are added.

A new id gets the mean of the rows of the known ids, with a little noise (Hewitt 2021, "Initializing new word embeddings
for pretrained language models"), and a bias of the logits that fits how often it occurs.

Axes: V ids of the model, W ids of the other vocabulary.
"""

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Floats, Parameters, parameters_from_tensors
from charlm.text.vocabulary import Vocabulary

NOISE = 0.3
"""Standard deviation of the noise, as a share of that of the known rows; docs/experiments.md compares others."""


def match_ids(known: Vocabulary, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the id that each character of a vocabulary has in the one of a model.

    Args:
        known: The vocabulary of the model, V ids.
        vocabulary: The other one, W ids, of the same level.

    Returns:
        int64 [W]; -1 for a character that the model does not know. A reserved id matches the one of the same purpose.

    """
    ids = {character: index for index, character in enumerate(known.characters) if character is not None}
    matched = [ids.get(character, -1) if character is not None else -1 for character in vocabulary.characters]
    for ours, theirs in (
        (vocabulary.unknown_id, known.unknown_id),
        (vocabulary.end_of_text_id, known.end_of_text_id),
    ):
        if ours is not None and theirs is not None:
            matched[ours] = theirs
    return np.array(matched, np.int64)


def transfer(parameters: Parameters, matched: NDArray[np.int64], counts: NDArray[np.int64], *, seed: int) -> Parameters:
    """Return the weights of a model for another vocabulary.

    The weights of known ids are copied, so if no id is new and none is left out, the model predicts as before.

    Args:
        parameters: The weights of the model, for V ids.
        matched: What `match_ids` returned, int64 [W].
        counts: How often each id of the other vocabulary occurs in the text to train on, int64 [W].
        seed: Of the noise, 0 or more.

    Returns:
        The weights for W ids, float32.

    """
    rng = np.random.default_rng(seed)

    def rows(table: Floats) -> Floats:
        """Return the rows of all ids, [W, n], from those of the known ids, [V, n]."""
        noise = NOISE * table.std(0) * rng.standard_normal((len(matched), table.shape[1]))
        return np.where((matched >= 0)[:, None], table[matched], table.mean(0) + noise).astype(np.float32)

    tensors = dict(parameters.tensors())
    if parameters.embedding is not None:
        tensors["embedding"] = rows(parameters.embedding)
    else:
        for index, below in enumerate(parameters.below_kernels):
            name = f"rnn.{index}.kernel"
            if len(tensors[name]) > len(below):  # the layer reads the character
                tensors[name] = np.concatenate([below, rows(tensors[name][len(below) :])])
    tensors["logits.kernel"] = np.ascontiguousarray(rows(parameters.logits_kernel.T).T)
    tensors["logits.bias"] = _biases(parameters.logits_bias, matched, counts)
    return parameters_from_tensors(
        tensors, activation=parameters.activation, skip_connections=parameters.skip_connections
    )


def _biases(biases: Floats, matched: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    """Return the biases of all ids, float32 [W], from those of the known ids, [V].

    That of a new id is the logarithm of its frequency, (count + 1) / (sum of the counts + W), plus the mean difference
    between the two among the known ids that occur: a constant that is added to all biases changes no probability.
    """
    log_frequencies = np.log((counts + 1) / (counts.sum() + len(counts)))
    occurs = (matched >= 0) & (counts > 0)
    offset = np.mean(biases[matched[occurs]] - log_frequencies[occurs]) if occurs.any() else 0.0
    return np.where(matched >= 0, biases[matched], log_frequencies + offset).astype(np.float32)
