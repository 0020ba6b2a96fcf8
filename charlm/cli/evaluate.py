"""`charlm evaluate`: the score of a text, as a table and as JSON."""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from charlm.cli.command import Command
from charlm.cli.options import (
    NonEmptyPath,
    checkpoint_option,
    describe_skipped,
    is_given,
    json_option,
    run_argument,
    unknown_option,
    with_option,
)
from charlm.cli.output import align, print_result, say, shows_progress
from charlm.errors import counted, short_repr

if TYPE_CHECKING:
    from charlm.api.evaluation import Evaluation
    from charlm.api.model import Model

EXAMPLES = {
    "charlm evaluate": "the score of the newest run on its validation text",
    "charlm evaluate tiny other.txt --unknown skip --baselines": "another text, beside a compressor and n-gram models",
    "charlm evaluate --protocol windows --window 256": "windows of 256 characters, as nanoGPT scores",
    "charlm evaluate --dynamic --mix": "a model that goes on learning, mixed with counts and copies",
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
@checkpoint_option
@with_option
@unknown_option("TEXT")
@click.option(
    "--dynamic",
    is_flag=True,
    help="Learn from each segment of the text after it has been scored; needs the run and TensorFlow.",
)
@click.option(
    "--mix",
    "mixed",
    is_flag=True,
    help="Mix the network with n-gram models and the longest match, which go on learning; needs the run.",
)
@click.option("--baselines", is_flag=True, help="Add the scores of a compressor and of n-gram models on the same text.")
@click.option(
    "--copies", is_flag=True, help="Add how much of the text occurs word for word in the training text; needs the run."
)
@click.option(
    "--surprise",
    type=NonEmptyPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File to write the nats of each character to, as JSON lines.",
)
@json_option
def evaluate(
    *,
    run: Path | None,
    text: Path | None,
    split: Literal["train", "validation", "test"] | None,
    protocol: Literal["stream", "windows"],
    window: int,
    others: tuple[Path, ...],
    checkpoint: Literal["best", "last"],
    unknown: Literal["error", "skip"],
    dynamic: bool,
    mixed: bool,
    baselines: bool,
    copies: bool,
    surprise: Path | None,
    as_json: bool,
) -> None:
    """Score a text: nats per character, bits per character, perplexity.

    Lower is better: 0 nats would mean that every character was foreseen. bits = nats / ln 2, perplexity = exp(nats).
    Scores compare only if the text and the way of reading it are the same.
    """
    if protocol != "windows" and is_given("window"):
        raise click.UsageError("--window is the length of the windows of --protocol windows; add that, or leave it out")
    if (dynamic or mixed) and protocol != "stream":
        raise click.UsageError("--dynamic and --mix read the text as a stream; leave out --protocol windows")
    from charlm.api import evaluation
    from charlm.api.model import load

    model = load(run, checkpoint=checkpoint, others=others, say=say)
    from charlm.storage.atomic import open_scratch

    with contextlib.nullcontext() if surprise is None else open_scratch(surprise) as write_surprise:
        found = evaluation.evaluate(
            model,
            text,
            split=split,
            protocol=protocol,
            window=window,
            unknown=unknown,
            dynamic=dynamic,
            mixed=mixed,
            baselines=baselines,
            copies=copies,
            write_surprise=write_surprise,
            show_progress=shows_progress(),
        )
    if as_json:
        print_result(_as_json(model, found, protocol=protocol, window=window))
    else:
        print_result(*_lines(model, found, protocol=protocol, window=window))
    if found.skipped_characters:
        say(describe_skipped(found.skipped_characters, str(text)))
    if found.static is not None and found.is_worse:
        say(
            f"{'--mix' if mixed else '--dynamic'} makes the score worse here: {found.score.nats_per_char:.4f} nats per "
            f"character, {found.static.nats_per_char:.4f} without it; leave it out"
        )


def _as_json(model: "Model", found: "Evaluation", *, protocol: str, window: int) -> str:
    score = found.score
    figures: dict[str, Any] = {
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if math.isfinite(score.perplexity) else None,  # JSON has no infinity
        "characters": score.characters,
        "standard_error": score.standard_error,
        "bundle": str(model.folder),
        "with": [str(folder) for folder in model.others],
        "text": found.text,
        "skipped_characters": found.skipped_characters,
        "protocol": protocol,
        "window": window if protocol == "windows" else None,
        "dynamic": {"rates": found.dynamic_rates} if found.dynamic_rates else None,
        "mixed": found.is_mixed,
        "static_nats_per_char": found.static.nats_per_char if found.static else None,
        "static_difference_error": score.difference_error(found.static) if found.static else None,
        "alone": [
            {"nats_per_char": other.nats_per_char, "difference_error": score.difference_error(other)}
            for other in found.alone
        ],
    }
    if found.baselines is not None:
        figures["baselines"] = found.baselines
        figures["baselines_given"] = {"characters": found.given_characters, "of": found.training_characters}
    if found.copies is not None:
        figures["copies"] = {**asdict(found.copies), "text": found.longest_copy}
    return json.dumps(figures)


def _lines(model: "Model", found: "Evaluation", *, protocol: str, window: int) -> Iterator[str]:
    from charlm.evaluation.scoring import ERROR_BLOCK

    how = protocol if protocol == "stream" else f"windows of {window}"
    if found.dynamic_rates:
        how = f"stream, learning at a rate of {', '.join(f'{rate:.3g}' for rate in found.dynamic_rates)}"
    if found.is_mixed:
        how += ", mixed"
    names = " + ".join(map(str, (model.folder, *model.others)))
    yield f"{names}: {found.text}, {counted(found.score.characters, 'character')}, {how}"
    yield from _table(found)
    if (error := found.score.standard_error) is not None:
        yield f"  standard error of this model's mean, by blocks of {ERROR_BLOCK} characters: {error:.4f} nats"
    if (other := found.compared) is not None and (error := found.score.difference_error(other)) is not None:
        gain = other.nats_per_char - found.score.nats_per_char
        name = "the best of its networks" if found.alone else "the network as it was trained"
        yield f"  {gain:.4f} nats below {name}, standard error {error:.4f}"
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
