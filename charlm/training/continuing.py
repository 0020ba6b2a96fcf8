"""Check that a command which may continue a run has the text and the settings of that run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from charlm.config.file import differences, is_resumable, show_value
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.runs.initial_weights import InitialModel
from charlm.runs.run import Run
from charlm.text.corpus import resolve_corpus_settings
from charlm.text.identity import check_same_text
from charlm.training.decision import UserSettings

NOT_COMPARED = ("recipe", "corpus.", "training.initial_weights", "training.earlier_lengths")
"""Settings that are compared in another way, or not at all, by how their keys begin."""


def check_same_run(
    run: Run, sources: Sequence[str], user: UserSettings, init: InitialModel | None
) -> None:
    """Check that a command names the text, the settings and the initial weights that a run has.

    Settings that a resume may change are not compared, nor are those that were decided when the run began.

    Args:
        run: The run.
        sources: The text that the command names.
        user: What else the command gives.
        init: The model whose weights the command names as initial weights.

    Raises:
        CharlmError: something differs; the message names it, and what the run has.

    """
    check_same_text(sources, run.corpus, owner=run.folder)
    weights = None if init is None else init.sha256
    if run.config.training.initial_weights != weights:
        begun = (
            "with random weights" if weights is not None else "with the weights of another model"
        )
        raise CharlmError(
            f"{run.folder}: the run began {begun}; name the same initial weights, or another folder"
        )
    if init is not None:
        user = replace(user, architecture=init.model.architecture.settings())
    config = user.config_of(run.config) if user.recipe is None else user.config(user.recipe)
    resolve_corpus_settings(run.corpus, config.corpus)
    for key, wanted, found in differences(config, run.config):
        is_compared = not key.startswith(NOT_COMPARED) and not is_resumable(key)
        if is_compared and not _is_decided(key, wanted, found):
            raise CharlmError(
                f"{key}: found {show_value(wanted)}, but the run in {run.folder} has {show_value(found)}; give the "
                f"same settings, or name another folder"
            )


def _is_decided(key: str, given: Any, found: Any) -> bool:
    """Return whether the value that a run has follows from a given value when the run begins."""
    match key, given, found:
        case "training.parts", None, _:
            return True
        case "training.precision" | "training.kernel", "auto", _:
            return True
        case "training.precision", "bfloat16", "float32":  # the processor cannot multiply bfloat16
            return True
        case "training.ngram_weight", _, 0.0:  # counting takes too long
            return True
    return False


def new_settings(config: Config, user: UserSettings) -> dict[str, Any]:
    """Return the given settings that differ from a run and that a resume may change, by dotted keys."""
    changes = differences(config, user.config_of(config))
    return {key: new for key, _, new in changes if is_resumable(key)}
