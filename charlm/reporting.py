"""What `charlm evaluate` writes to standard output, for people and as JSON."""

import json
import math
from pathlib import Path
from typing import Literal

import numpy as np

from charlm import runs
from charlm.bundle import read_bundle
from charlm.evaluation import Protocol, evaluate, ids_to_score


def print_score(
    run: Path | None,
    text: Path | None,
    *,
    split: str | None,
    protocol: Protocol,
    window: int,
    checkpoint: runs.Choice,
    unknown: Literal["error", "skip"],
    as_json: bool,
) -> None:
    """Write the score of a text; raises CharlmError where there is no bundle or the text cannot be scored."""
    folder = runs.find_bundle(run, checkpoint=checkpoint)
    bundle = read_bundle(folder)
    name, ids = ids_to_score(folder, bundle, text, split=split, unknown=unknown)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of them is refused in a line
        score = evaluate(bundle, ids, protocol=protocol, window=window)
    figures = {
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if math.isfinite(score.perplexity) else None,  # JSON has no infinity
        "characters": score.characters,
    }
    if as_json:
        facts = {"bundle": str(folder), "text": name, "protocol": protocol}
        print(json.dumps({**figures, **facts, "window": window if protocol == "windows" else None}))
        return
    how = protocol if protocol == "stream" else f"windows of {window}"
    print(f"{folder}: {name}, {score.characters:,} characters, {how}")
    print(f"  nats per character  {score.nats_per_char:.4f}")
    print(f"  bits per character  {score.bits_per_char:.4f}")
    print(f"  perplexity          {score.perplexity:.4f}")
