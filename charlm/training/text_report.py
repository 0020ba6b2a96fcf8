"""What is known of a text before training: its size, its problems, and what simple models score on it.

All of it is computed in a thread while the engine starts, so that the first step comes no later.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from charlm.evaluation.baselines import NGRAM_ORDER, compressed_nats, ngram_nats
from charlm.text.corpus import Corpus
from charlm.text.findings import TextFacts, describe_text
from charlm.text.vocabulary import Ids

NGRAM = f"{NGRAM_ORDER}-gram"
MAX_TRAINING_CHARACTERS = 1_000_000
"""The simple models learn from the end of the training text; a 5-gram model of so much takes a third of a second."""


class TextReport:
    """A look at the text of a run, which begins when the object is made.

    Args:
        corpus: The text.
        validation: The ids that the run is evaluated on, integers [n], n >= 2; None = there is no such text.

    """

    def __init__(self, corpus: Corpus, validation: Ids | None) -> None:
        worker = ThreadPoolExecutor(max_workers=1)
        self._facts = worker.submit(describe_text, corpus)
        self._simple_nats = worker.submit(score_simple_models, corpus, validation)
        worker.shutdown(wait=False)

    def facts(self) -> TextFacts:
        """Return the facts about the text when they are known.

        Raises:
            CharlmError: an id is not in the vocabulary, or ids.bin has become shorter.

        """
        return self._facts.result()

    def simple_nats(self) -> Mapping[str, float]:
        """Return the scores of simple models when they are known, see `score_simple_models`."""
        return self._simple_nats.result()


def score_simple_models(corpus: Corpus, validation: Ids | None) -> dict[str, float]:
    """Return what a 5-gram model (interpolated modified Kneser-Ney) and bz2 score on the validation text.

    Args:
        corpus: The text; both learn from the end of its training part.
        validation: Ids, integers [n], n >= 2; None = there is no such text.

    Returns:
        Nats per character by the names 5-gram and bz2; empty without a validation text.

    """
    if validation is None:
        return {}
    training = corpus.split("train", check=False)[-MAX_TRAINING_CHARACTERS:]
    corpus.check_ids(training)
    ngram = ngram_nats(validation, training, vocabulary_size=len(corpus.vocabulary))
    return {NGRAM: ngram, **compressed_nats(validation, corpus.vocabulary, training, names=("bz2",))}
