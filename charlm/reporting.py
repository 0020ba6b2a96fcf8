"""What `charlm evaluate` writes, for people and as JSON."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm import runs
from charlm.bundle import Bundle, read_bundle
from charlm.evaluation import (
    DynamicRule,
    Protocol,
    ids_to_score,
    run_corpus,
    score_ids,
    score_ids_dynamically,
)
from charlm.scoring import Score, mean_score

if TYPE_CHECKING:
    from charlm.baselines import Baselines

OURS = "this model"


def print_score(
    run: Path | None,
    text: Path | None,
    *,
    split: str | None,
    protocol: Protocol,
    window: int,
    checkpoint: runs.Choice,
    unknown: Literal["error", "skip"],
    dynamic: DynamicRule | None = None,
    baselines: bool = False,
    surprise: Path | None = None,
    as_json: bool,
) -> None:
    """Write the score of a text; raises CharlmError where there is no bundle or the text cannot be scored.

    `dynamic` is how the weights learn on the way, if they do; `baselines` adds what others make of the text.
    `surprise` names a file for the nats of each character, - being standard output; the score then goes to
    standard error.
    """
    folder = runs.find_bundle(run, checkpoint=checkpoint)
    bundle = read_bundle(folder)
    name, ids = ids_to_score(folder, bundle, text, split=split, unknown=unknown)
    if dynamic is None:
        blocks = score_ids(bundle, ids, protocol=protocol, window=window)
    else:
        blocks = score_ids_dynamically(folder, bundle, ids, dynamic)
    output = sys.stdout
    if surprise is not None:
        from charlm.surprise import STANDARD_OUTPUT, recorded

        blocks = recorded(blocks, ids, bundle.vocabulary, surprise)
        output = sys.stderr if surprise == STANDARD_OUTPUT else sys.stdout
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of them is refused in a line
        score = mean_score(blocks)
    others = _baselines(folder, bundle, ids) if baselines else None
    if as_json:
        facts: dict[str, Any] = {"bundle": str(folder), "text": name, "protocol": protocol}
        facts["window"] = window if protocol == "windows" else None
        facts["dynamic"] = asdict(dynamic) if dynamic else None
        print(json.dumps({**_figures(score), **facts, **_figures_of(others)}), file=output)
        return
    how = protocol if protocol == "stream" else f"windows of {window}"
    if dynamic:
        how = f"stream, learning by {dynamic.name} (rate {dynamic.rate:g}, decay {dynamic.decay:g})"
    print(f"{folder}: {name}, {score.characters:,} characters, {how}", file=output)
    print(*(_lines(score) if others is None else _table(score, others)), sep="\n", file=output)


def _baselines(folder: Path, bundle: Bundle, ids: NDArray[Any]) -> "Baselines":
    from charlm.baselines import measure_baselines

    corpus = run_corpus(folder, bundle)
    return measure_baselines(ids, bundle.vocabulary, None if corpus is None else corpus.split("train"))


def _figures(score: Score) -> dict[str, Any]:
    return {
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if math.isfinite(score.perplexity) else None,  # JSON has no infinity
        "characters": score.characters,
    }


def _lines(score: Score) -> Iterator[str]:
    yield f"  nats per character  {score.nats_per_char:.4f}"
    yield f"  bits per character  {score.bits_per_char:.4f}"
    yield f"  perplexity          {score.perplexity:.4f}"


def _figures_of(baselines: "Baselines | None") -> dict[str, Any]:
    if baselines is None:
        return {}
    given = {"characters": baselines.given_characters, "of": baselines.training_characters}
    return {"baselines": baselines.nats_per_char, "baselines_given": given}


def _table(score: Score, baselines: "Baselines") -> Iterator[str]:
    nats = {OURS: score.nats_per_char, **baselines.nats_per_char}
    yield f"  {'':10}  {'nats':>8}  {'bits':>8}  {'perplexity':>10}"
    for name in sorted(nats, key=nats.__getitem__):
        row = Score(nats[name], score.characters)
        yield f"  {name:10}  {row.nats_per_char:8.4f}  {row.bits_per_char:8.4f}  {row.perplexity:10.4f}"
    given, of = baselines.given_characters, baselines.training_characters
    if not of:
        yield "  the training text is not known: the compressors go without it, counting models are left out"
    elif given < of:
        yield f"  the others were given the last {given:,} of the {of:,} characters of the training text"
    else:
        yield f"  the others were given the {of:,} characters of the training text"
