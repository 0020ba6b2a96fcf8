"""Checks that a command which may continue a run names its text and its settings."""

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
"""Prefixes of the keys that are compared differently, or not at all."""


def check_same_run(
    run: Run, sources: Sequence[str], user: UserSettings, init: InitialModel | None
) -> None:
    """Check that a command names the text, the settings and the initial weights of a run.

    Settings that a resume may change, or that were decided when the run began, may differ.

    Raises:
        CharlmError: Something differs.

    """
    check_same_text(sources, run.corpus, owner=run.folder)
    weights = None if init is None else init.sha256
    if run.config.training.initial_weights != weights:
        if run.config.training.initial_weights is None:
            problem = "the run started with random weights; leave out the initial weights"
        else:
            problem = "the run started with the weights of a model; use the same initial weights"
        raise CharlmError(f"{run.folder}: {problem}, or choose another folder")
    if init is not None:
        user = replace(user, architecture=init.model.architecture.settings())
    config = user.config_of(run.config) if user.recipe is None else user.config(user.recipe)
    resolve_corpus_settings(run.corpus, config.corpus)
    for key, wanted, present in differences(config, run.config):
        if key.startswith(NOT_COMPARED) or is_resumable(key) or _is_decided(key, wanted, present):
            continue
        raise CharlmError(
            f"{key}: found {show_value(wanted)}, but the run in {run.folder} has "
            f"{show_value(present)}; use the same settings, or choose another folder"
        )


def _is_decided(key: str, wanted: Any, present: Any) -> bool:
    """Return whether a run that begins with the wanted value may end up with the present one."""
    match key, wanted, present:
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
    """Return the user's settings that change a run and may do so, by dotted keys."""
    changes = differences(config, user.config_of(config))
    return {key: new for key, _, new in changes if is_resumable(key)}
