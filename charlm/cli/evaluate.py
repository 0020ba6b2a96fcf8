"""`charlm evaluate`: the score of a text, as a table and as JSON."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from charlm.cli.command import Command
from charlm.cli.options import NonEmptyPath, is_given, json_option, run_argument
from charlm.cli.output import align, print_result, say, shows_progress
from charlm.errors import counted, short_repr

if TYPE_CHECKING:
    from charlm.api.evaluation import Evaluation
    from charlm.api.model import Model

EXAMPLES = {
    "charlm evaluate": "the score of the newest run on its validation text",
    "charlm evaluate tiny other.txt --baselines": "another text, beside a compressor and n-gram models",
    "charlm evaluate --protocol windows --window 256": "windows of 256 characters, as nanoGPT scores",
    "charlm evaluate --copies": "and how much of the text occurs in the training text",
}


@click.command(cls=Command, examples=EXAMPLES)
@run_argument
@click.argument(
    "text",
    required=False,
    type=NonEmptyPath(path_type=Path, allow_dash=True),
    help="File, folder of files, corpus, or - for standard input.  [default: the text that the run was trained on]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Part of the text to score.  [default: validation of the run's own text, all of TEXT]",
)
@click.option(
    "--protocol",
    type=click.Choice(["stream", "windows"]),
    default="stream",
    help="How to read the text: stream carries the state from start to end, "
    "windows reads each window from the zero state.",
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    default=256,
    help="Characters in a window, for --protocol windows.",
)
@click.option("--baselines", is_flag=True, help="Add the scores of a compressor and of n-gram models on the same text.")
@click.option(
    "--copies", is_flag=True, help="Add how much of the text occurs word for word in the training text; needs the run."
)
@json_option
def evaluate(
    *,
    run: Path | None,
    text: Path | None,
    split: Literal["train", "validation", "test"] | None,
    protocol: Literal["stream", "windows"],
    window: int,
    baselines: bool,
    copies: bool,
    as_json: bool,
) -> None:
    """Score a text: nats per character, bits per character, perplexity.

    Lower is better: 0 nats would mean that every character was foreseen. bits = nats / ln 2, perplexity = exp(nats).
    Scores compare only if the text and the way of reading it are the same.
    """
    if protocol != "windows" and is_given("window"):
        raise click.UsageError("--window is the length of the windows of --protocol windows; add that, or leave it out")
    from charlm.api import evaluation
    from charlm.api.model import load
    from charlm.text.vocabulary import describe_left_out

    model = load(run, say=say)
    found = evaluation.evaluate(
        model,
        text,
        split=split,
        protocol=protocol,
        window=window,
        baselines=baselines,
        copies=copies,
        show_progress=shows_progress(),
    )
    how = protocol if protocol == "stream" else f"windows of {window}"
    if as_json:
        print_result(json.dumps({"model": str(model.path), "protocol": how, **_figures(found)}, default=asdict))
    else:
        print_result(*_lines(model, found, how=how))
    if found.left_out:
        say(describe_left_out(found.left_out, str(text)))


def _figures(found: "Evaluation") -> dict[str, Any]:
    score = found.score
    return {
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if math.isfinite(score.perplexity) else None,  # JSON has no infinity
        "characters": score.characters,
        "standard_error": score.standard_error,
        **{name: getattr(found, name) for name in ("text", "left_out", "baselines", "copies", "longest_copy")},
        "training_characters": found.training_characters,
        "given_characters": found.given_characters,
    }


def _lines(model: "Model", found: "Evaluation", *, how: str) -> Iterator[str]:
    from charlm.evaluation.scoring import ERROR_BLOCK

    yield f"{model.path}: {found.text}, {counted(found.score.characters, 'character')}, {how}"
    yield from _table(found)
    if (error := found.score.standard_error) is not None:
        yield f"  standard error of this model's mean, by blocks of {ERROR_BLOCK} characters: {error:.4f} nats"
    if (copies := found.copies) is not None:
        from charlm.text.copies import MIN_SPAN

        longest = "no character does"
        if copies.position is not None:
            place = f"at position {copies.position:,}"
            longest = (
                f"the longest has {counted(copies.length, 'character')}, {place}: {short_repr(found.longest_copy)}"
            )
        yield f"  {copies.share:.1%} occurs in the training text in spans of {MIN_SPAN} or more; {longest}"


def _table(found: "Evaluation") -> Iterator[str]:
    from charlm.network.rnn import bits, perplexity

    scores = {"this model": found.score.nats_per_char, **(found.baselines or {})}
    rows = [("", "nats", "bits", "perplexity")]
    for name, nats in sorted(scores.items(), key=lambda item: item[1]):
        rows.append((name, f"{nats:.4f}", f"{bits(nats):.4f}", f"{perplexity(nats):.4f}"))
    yield from (f"  {line}" for line in align(rows, text_columns={0}))
    if found.baselines is None:
        return
    if of := found.training_characters:
        given = found.given_characters
        part = f"the last {given:,} of " if given < of else ""
        yield f"  the others were given {part}the {of:,} characters of the training text"
    else:
        yield "  the training text is not known: the compressor goes without it, n-gram models are left out"
