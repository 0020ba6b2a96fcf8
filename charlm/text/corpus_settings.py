"""The `corpus` section of a config, as the manifest of a corpus on disk has decided it."""

import codecs
from fractions import Fraction
from typing import Any

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError, shorten
from charlm.text.corpus import Corpus, Manifest, split_positions
from charlm.text.decoding import check_encoding

_DIGITS = 17
"""Decimal digits that tell any two fractions apart."""


def settle_corpus_settings(corpus: Corpus, given: CorpusConfig) -> CorpusConfig:
    """Return the settings that a corpus was made with.

    The manifest of an older corpus has no fractions. They are those of `given` if these split the corpus as it is
    split, else the shortest decimal numbers that do.

    Args:
        corpus: What `open_corpus` returned.
        given: The settings of the config; those that were written, not left out, must be the settings of the corpus.

    Raises:
        CharlmError: a setting that was written is not that of the corpus, or the manifest has an encoding that Python
            does not have; the message names the key.

    """
    manifest = corpus.manifest
    if manifest.level == "char":
        check_encoding(manifest.encoding, key=f"{corpus.folder / 'manifest.json'}: encoding")
    validation, test = _fractions(manifest, given)
    made = CorpusConfig(
        encoding=manifest.encoding,
        level=manifest.level,
        normalize=manifest.normalize,
        min_count=manifest.min_count,
        validation_fraction=validation,
        test_fraction=test,
    )
    for key in CorpusConfig.model_fields:
        if key in given.model_fields_set and not _agree(key, getattr(given, key), getattr(made, key), made):
            raise CharlmError(
                f"corpus.{key}: found {shorten(getattr(given, key))}, but {corpus.folder} was made with "
                f"{shorten(getattr(made, key))}; leave the setting out, or tokenize the text again"
            )
    return made


def _agree(key: str, given: Any, made: Any, settings: CorpusConfig) -> bool:
    """Return whether two values of a setting mean the same."""
    if key != "encoding" or given == made:
        return bool(given == made)
    if settings.level == "byte":  # the encoding is not used
        return True
    try:
        return codecs.lookup(given).name == codecs.lookup(made).name
    except (LookupError, ValueError):
        return False


def _fractions(manifest: Manifest, given: CorpusConfig) -> tuple[float, float]:
    """Return a validation_fraction and a test_fraction with the splits of the manifest."""
    if manifest.validation_fraction is not None and manifest.test_fraction is not None:
        return manifest.validation_fraction, manifest.test_fraction
    size = manifest.size
    after_train, after_validation = (size - manifest.splits[name][1] for name in ("train", "validation"))
    # A split starts at a rounded position, so the middle of the fractions that round to it is half an id below.
    test = Fraction(max(0, 2 * after_validation - 1), 2 * size)
    both = Fraction(max(0, 2 * after_train - 1), 2 * size)
    candidates = [(given.validation_fraction, given.test_fraction)]
    candidates += [(float(round(both - test, digits)), float(round(test, digits))) for digits in range(1, _DIGITS + 1)]
    possible = [pair for pair in candidates if sum(pair) < 1]
    return next((pair for pair in possible if _splits(size, *pair) == manifest.splits), possible[-1])


def _splits(size: int, validation: float, test: float) -> dict[str, tuple[int, int]]:
    return split_positions(size, CorpusConfig(validation_fraction=validation, test_fraction=test))
