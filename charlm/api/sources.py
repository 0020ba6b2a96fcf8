"""The forms in which the library takes a text and settings, and the engine that trains."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import Config
from charlm.runs.run import with_parts
from charlm.text.corpus import Corpus
from charlm.training.engine import EngineFactory
from charlm.training.signals import StopRequest

Overrides = str | Iterable[str] | Mapping[str, Any]
"""Values that replace those of a config: one `KEY=VALUE` as on the command line, several of them, or a mapping of
dotted keys to values."""
Text = str | Path | Corpus | Sequence[str | Path] | None
"""What `tokenize` takes: files, folders, glob patterns, .gz files, or - for standard input; one of them or several,
each file a document. Or a corpus that it made, or the folder of one. None = the plays that come with charlm."""


def as_sources(text: Text) -> Sequence[str | Path]:
    """Return the files or the corpus that a text is made from."""
    if isinstance(text, Corpus):
        return [text.folder]
    if text is None:
        return [DEFAULT_CORPUS]
    return [text] if isinstance(text, str | Path) else text


def as_several(overrides: Overrides) -> list[str] | Mapping[str, Any]:
    """Return overrides as a list of `KEY=VALUE` texts or as a mapping; both can be read more than once."""
    if isinstance(overrides, Mapping):
        return overrides
    return [overrides] if isinstance(overrides, str) else list(overrides)


def overridden_keys(overrides: Iterable[str] | Mapping[str, Any]) -> set[str]:
    """Return the dotted keys of overrides, which are `KEY=VALUE` texts or a mapping."""
    return {override.partition("=")[0].strip() for override in overrides}


def start_engine(request: StopRequest, *, device: str = "cpu") -> EngineFactory:
    """Import TensorFlow, and return what makes the engine of a run on a device; raises Stopped if a signal comes."""
    with request.at_once():
        from charlm.engine import runtime

        runtime.start(device=device)
        from charlm.engine.keras_engine import KerasEngine
    return KerasEngine


def settle_cards(config: Config, request: StopRequest) -> Config:
    """Return a config with a part of the batch for each graphics card, if it trains on them and names no parts.

    Args:
        config: Every setting; one that trains on the processor is returned as it is.
        request: The stop request of a `stop_on_signal` block.

    Raises:
        CharlmError: there is no graphics card.
        Stopped: a signal came while TensorFlow started.

    """
    if config.training.device == "cpu":
        return config
    start_engine(request, device=config.training.device)
    from charlm.engine.devices import devices_for

    cards = devices_for(config.training.device)
    return config if config.training.parts is not None else with_parts(config, len(cards))
