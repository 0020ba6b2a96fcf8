"""`charlm evaluate`: the score of a text, as a table and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from charlm.cli.command import Command
from charlm.cli.options import COUNT, PATH, json_option, model_argument
from charlm.cli.output import align, print_json, print_result, say, shows_progress
from charlm.errors import counted, short_repr

if TYPE_CHECKING:
    from charlm.api.evaluation import Evaluation


@click.command(cls=Command)
@model_argument
@click.argument(
    "text",
    required=False,
    type=PATH,
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
    help="stream carries the state from start to end of the text, windows reads each window from the zero state.",
)
@click.option("--window", type=COUNT, metavar="N", default=256, help="Characters in a window, for --protocol windows.")
@click.option("--baselines", is_flag=True, help="Add the scores of a compressor and of n-gram models on the same text.")
@click.option(
    "--copies", is_flag=True, help="Add how much of the text occurs word for word in the training text; needs the run."
)
@json_option
@click.pass_context
def evaluate(context: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Score a text: nats per character, bits per character, perplexity.

    Lower is better: 0 nats would mean that every character was foreseen. bits = nats / ln 2, perplexity = exp(nats).
    Scores compare only if the text and the way of reading it are the same.

    Examples:
      charlm evaluate
        the score of the newest run on its validation text
      charlm evaluate tiny other.txt --baselines
        another text, beside a compressor and n-gram models
      charlm evaluate --protocol windows --window 256
        windows of 256 characters, as nanoGPT scores
      charlm evaluate --copies
        and how much of the text occurs in the training text

    """
    if options["protocol"] != "windows" and context.get_parameter_source("window") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--window is the length of the windows of --protocol windows; add that, or leave it out")
    from charlm.api.evaluation import evaluate
    from charlm.text.vocabulary import describe_left_out

    found = evaluate(**options, say=say, show_progress=shows_progress())
    if as_json:
        print_json(asdict(found))
    else:
        print_result(*_lines(found))
    if found.left_out:
        say(describe_left_out(found.left_out, str(options["text"])))


def _lines(found: "Evaluation") -> Iterator[str]:
    from charlm.evaluation.scoring import ERROR_BLOCK
    from charlm.network.rnn import bits, perplexity
    from charlm.text.copies import MIN_SPAN

    yield f"{found.model}: {found.text}, {counted(found.characters, 'character')}, {found.protocol}"
    scores = {"this model": found.nats_per_char, **(found.baselines or {})}
    figures = [(name, nats, bits(nats), perplexity(nats)) for name, nats in scores.items()]
    rows = [(name, *(f"{one:.4f}" for one in row)) for name, *row in sorted(figures, key=lambda row: row[1])]
    yield from (f"  {line}" for line in align([("", "nats", "bits", "perplexity"), *rows], text_columns={0}))
    given, of = found.given_characters, found.training_characters
    if found.baselines is not None and of:
        part = f"the last {given:,} of " if given < of else ""
        yield f"  the others were given {part}the {of:,} characters of the training text"
    elif found.baselines is not None:
        yield "  the training text is not known: the compressor goes without it, n-gram models are left out"
    if found.standard_error is not None:
        error = f"{found.standard_error:.4f} nats"
        yield f"  standard error of this model's mean, by blocks of {ERROR_BLOCK} characters: {error}"
    if (copies := found.copies) is not None:
        longest = "no character does"
        if copies.position is not None:
            length, place = counted(copies.length, "character"), f"at position {copies.position:,}"
            longest = f"the longest has {length}, {place}: {short_repr(found.longest_copy)}"
        yield f"  {copies.share:.1%} occurs in the training text in spans of {MIN_SPAN} or more; {longest}"
