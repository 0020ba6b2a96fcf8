"""`charlm sample`: text as it is generated, plain and as JSON."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from charlm.cli.command import Command
from charlm.cli.options import COUNT, NATURAL, json_option, model_argument
from charlm.cli.output import print_aside, print_json, say, write_result
from charlm.errors import escape_controls


@click.command(cls=Command)
@model_argument
@click.option("-p", "--prompt", default="", show_default=False, help="Text to continue.  [default: a new line]")
@click.option(
    "-n", "--length", type=NATURAL, metavar="N", default=500, help="The most characters to write; 0 = until stopped."
)
@click.option(
    "-t",
    "--temperature",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Below 1 is safer, above 1 is wilder than the model; 0 = always the most likely character.  "
    "[default: sampling.temperature of the model's recipe, 0.5 in all that come with charlm]",
)
@click.option("--top-k", type=COUNT, metavar="K", help="Choose among the K most likely characters.  [default: all]")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Choose among the fewest characters whose probabilities add up to P.  [default: all]",
)
@click.option(
    "--min-p",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Leave out characters less likely than P times the most likely one.  [default: none]",
)
@click.option("--seed", type=NATURAL, metavar="N", help="The same seed gives the same text.  [default: random]")
@click.option(
    "--samples", type=click.IntRange(1, 10_000), metavar="N", default=1, help="Number of texts; their seeds count up."
)
@click.option("--stop", metavar="TEXT", help="End the text before the first occurrence of TEXT.  [default: no stop]")
@json_option
def sample(*, model: Path | None, prompt: str, seed: int | None, samples: int, as_json: bool, **options: Any) -> None:
    """Write text from a trained model, as it is generated.

    The prompt is written first, as it was given; characters that the model does not know are left out of what it reads.

    Examples:
      charlm sample
        500 characters from the newest run
      charlm sample tiny -p "Once upon a time" -n 200 -t 0.7
        continue a prompt, with few surprises
      charlm sample --samples 3 --top-p 0.9 --seed 1 --json
        three texts that can be repeated, for a script

    """
    endless = options["length"] == 0
    if endless and (as_json or samples > 1):
        raise click.UsageError("-n 0 has no end; leave out --samples and --json")
    from charlm.api.model import load
    from charlm.sampling.generation import random_seed
    from charlm.text.vocabulary import describe_left_out

    loaded, first = load(model, say=say), random_seed() if seed is None else seed
    if left_out := loaded.vocabulary.left_out(prompt):
        say(describe_left_out(left_out, "the prompt"))
    seeds = range(first, first + samples)
    texts = (loaded.generate(prompt, seed=number, ignore_end=endless, **options) for number in seeds)
    if as_json:
        found = [text.finish() for text in texts]
        given = {"model": loaded.path, "prompt": prompt, "left_out": left_out, "seed": first}
        print_json({**given, "samples": [{**asdict(one), "characters": len(one.text)} for one in found]})
    elif samples > 1:
        for number, text in enumerate(texts, start=1):
            print_aside(f"--- sample {number} of {samples} ---")
            write_result(_shown(f"{prompt}{text}\n"))
    else:
        text = next(texts)
        _stream([prompt], text)
        if options["temperature"] == 0 and not endless and str(text).isspace():
            say("-t 0 always writes the most likely character, here only blanks; -t 0.5 varies")


def _shown(text: str) -> str:
    r"""Return a text for standard output: a terminal, which would obey its control characters, gets them as \\x1b."""
    return escape_controls(text, keep="\n\t") if sys.stdout.isatty() else text


def _stream(*parts: Iterable[str]) -> None:
    try:
        for part in parts:
            for piece in part:
                write_result(_shown(piece))
    finally:  # after Ctrl-C too, so that the prompt of the shell starts a line
        if sys.stdout.isatty():
            write_result("\n")
