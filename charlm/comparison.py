"""What `charlm compare` writes to standard output: runs beside each other, the best first.

The score is that of the bundle best/, so that it belongs to weights that can be had; time and speed are those of
the last line of metrics.jsonl, which may be growing meanwhile. What a run does not have yet is None, shown as `-`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from charlm import runs
from charlm.bundle import CONFIG, MODEL, VOCABULARY, WEIGHTS, is_bundle, read_model
from charlm.config_file import flatten, load_config
from charlm.corpus import is_corpus, read_manifest
from charlm.errors import CharlmError, harmless
from charlm.intake import open_file
from charlm.scoring import Score

Order = Literal["score", "name", "time"]
MAX_LINE_BYTES = 1 << 20
MAX_VALUE_CHARACTERS = 24
TEXT = "corpus.sha256"
"""Stands among the settings: scores on different texts do not compare."""


@dataclass(frozen=True)
class Standing:
    """How far a run has come."""

    folder: Path
    settings: Mapping[str, Any]
    """Every setting by its dotted key, and what text it learns from."""
    split: str | None = None
    """What the score was measured on: validation, or train where there is no validation text."""
    nats_per_char: float | None = None
    step: float | None = None
    """The step of the score."""
    seconds: float | None = None
    """Training alone, without evaluation and start-up."""
    characters_per_second: float | None = None
    weights: int | None = None
    """Numbers that were trained."""
    bundle_bytes: int | None = None
    """Of best/, all its files together."""


def print_comparison(folders: Sequence[Path], *, sort: Order, as_json: bool) -> None:
    """Write a table of some runs, or of all under runs/ if none is named.

    Raises CharlmError where there is no run, or a file of one is not what it should be.
    """
    standings = sorted((read_standing(folder) for folder in folders or runs.find_runs()), key=_ORDERS[sort])
    keys = differing(standings)
    if as_json:
        print(json.dumps({"runs": [_figures(standing, keys) for standing in standings]}))
        return
    for line in _align([_heads(keys), *(_cells(standing, keys) for standing in standings)], texts_from=9):
        print(line)


def read_standing(folder: Path) -> Standing:
    """Return how far the run in a folder has come.

    Raises CharlmError where it is not a run, or a file of it is not what it should be.
    """
    if not runs.is_run(folder):
        raise CharlmError(f"{folder}: not a run: there is no {runs.CONFIG} and {runs.METRICS} in it")
    settings = flatten(load_config(folder / runs.CONFIG))
    if is_corpus(folder / runs.CORPUS):
        settings[TEXT] = read_manifest(folder / runs.CORPUS).ids_sha256
    seconds, characters_per_second = _read_speed(folder / runs.METRICS)
    standing = Standing(folder, settings, seconds=seconds, characters_per_second=characters_per_second)
    return _with_bundle(standing, folder / "best")


def differing(standings: Sequence[Standing]) -> list[str]:
    """Return the settings that are not the same in all runs, in the order of a config."""
    keys = dict.fromkeys(key for standing in standings for key in standing.settings)
    return [key for key in keys if len({_as_json(standing.settings, key) for standing in standings}) > 1]


def _with_bundle(standing: Standing, best: Path) -> Standing:
    if not is_bundle(best):
        return standing
    model = read_model(best)
    try:
        score = model.get("score") or {}
        return replace(
            standing,
            split=str(score["split"]) if "split" in score else None,
            nats_per_char=_number(score.get("nats_per_char")),
            step=_number(model.get("step")),
            weights=sum(map(math.prod, model["shapes"].values())),
            bundle_bytes=sum((best / name).lstat().st_size for name in (MODEL, WEIGHTS, VOCABULARY, CONFIG)),
        )
    except (KeyError, TypeError, AttributeError):
        raise CharlmError(f"{best / MODEL}: damaged: not what describes a bundle") from None
    except OSError as error:
        raise CharlmError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _read_speed(path: Path) -> tuple[float | None, float | None]:
    """Return the seconds of training and the characters per second, over the whole run, of the last whole line."""
    last = b"{}"
    with open_file(path) as file:
        while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):  # half a line is still being written
            if b'"seconds"' in line:
                last = line
    try:
        figures = json.loads(last)
        seconds, characters = (_number(figures.get(key)) for key in ("seconds", "characters"))
    except (ValueError, AttributeError, RecursionError):
        raise CharlmError(f"{path}: damaged: its last line is not a JSON object") from None
    return seconds, characters / seconds if characters is not None and seconds else None


def _number(value: Any) -> int | float | None:
    """Return a number of a file, or None for anything else, NaN and infinity included."""
    return value if type(value) in {int, float} and abs(value) < 1e18 else None


_ORDERS: dict[Order, Callable[[Standing], Any]] = {
    "score": lambda run: (run.split != "validation", _last_if_none(run.nats_per_char), str(run.folder)),
    "name": lambda run: str(run.folder),
    "time": lambda run: (_last_if_none(run.seconds), str(run.folder)),
}


def _last_if_none(value: float | None) -> float:
    return math.inf if value is None else value


def _bits(standing: Standing) -> float | None:
    nats = standing.nats_per_char
    return None if nats is None else Score(nats, 0).bits_per_char


def _figures(standing: Standing, keys: Sequence[str]) -> dict[str, Any]:
    return {
        "run": str(standing.folder),
        "split": standing.split,
        "nats_per_char": standing.nats_per_char,
        "bits_per_char": _bits(standing),
        "step": standing.step,
        "seconds": standing.seconds,
        "characters_per_second": standing.characters_per_second,
        "weights": standing.weights,
        "bundle_bytes": standing.bundle_bytes,
        "settings": {key: standing.settings[key] for key in keys if key in standing.settings},
    }


def _heads(keys: Sequence[str]) -> list[str]:
    names = ["nats/char", "bits/char", "of", "step", "training", "chars/s", "weights", "bytes"]
    return ["run", *names, *map(harmless, keys)]


def _cells(standing: Standing, keys: Sequence[str]) -> list[str]:
    return [
        harmless(str(standing.folder)),
        _shown(standing.nats_per_char, ".4f"),
        _shown(_bits(standing), ".4f"),
        _shortened(standing.split or "-"),
        _shown(standing.step, ","),
        _duration(standing.seconds),
        _shown(standing.characters_per_second, ",.0f"),
        _shown(standing.weights, ","),
        _shown(standing.bundle_bytes, ","),
        *(_shortened(_as_json(standing.settings, key).strip('"')) for key in keys),
    ]


def _as_json(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key], ensure_ascii=False) if key in settings else "-"


def _shown(value: float | None, pattern: str) -> str:
    return "-" if value is None else format(value, pattern)


def _duration(seconds: float | None) -> str:
    if seconds is None or seconds < 60:
        return _shown(seconds, ".1f") + (" s" if seconds is not None else "")
    return str(timedelta(seconds=round(seconds)))  # h:mm:ss


def _shortened(text: str) -> str:
    """Return a text that does a terminal no harm and fits into a column."""
    text = harmless(text)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"


def _align(rows: Sequence[Sequence[str]], *, texts_from: int) -> list[str]:
    """Return rows as lines: figures to the right, the first column and those from `texts_from` on to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_text = [index == 0 or index >= texts_from for index in range(len(widths))]
    return [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, is_text, strict=True)
        ).rstrip()
        for row in rows
    ]
