"""`charlm sample`: text as it is generated, plain and as JSON."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charlm.cli.command import Command
from charlm.cli.options import Finite, json_option, run_argument
from charlm.cli.output import print_aside, print_result, say, write_result
from charlm.errors import escape_controls

if TYPE_CHECKING:
    from charlm.sampling.generation import GeneratedText

EXAMPLES = {
    "charlm sample": "500 characters from the newest run",
    'charlm sample tiny -p "Once upon a time" -n 200 -t 0.7': "continue a prompt, with few surprises",
    "charlm sample --samples 3 --top-p 0.9 --seed 1 --json": "three texts that can be repeated, for a script",
}


@click.command(cls=Command, examples=EXAMPLES)
@run_argument
@click.option(
    "-p",
    "--prompt",
    default="",
    show_default=False,
    help="Text to continue.  [default: a new line]",
)
@click.option(
    "-n",
    "--length",
    type=click.IntRange(min=0),
    default=500,
    help="The most characters to write; 0 = until stopped, with a blank line where the model ends the text.",
)
@click.option(
    "-t",
    "--temperature",
    type=Finite(min=0),
    help="Below 1 is safer, above 1 is wilder than the model; 0 = always the most likely character.  "
    "[default: sampling.temperature of the model's recipe, 0.5 in all that come with charlm]",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    metavar="K",
    help="Choose among the K most likely characters.  [default: all]",
)
@click.option(
    "--top-p",
    type=Finite(0, 1, min_open=True),
    metavar="P",
    help="Choose among the fewest characters whose probabilities add up to P.  [default: all]",
)
@click.option(
    "--min-p",
    type=Finite(0, 1),
    metavar="P",
    help="Leave out characters less likely than P times the most likely one.  [default: none]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Seed of the random numbers: the same seed gives the same text.  [default: random]",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 10_000),
    default=1,
    help="Number of texts; their seeds count up from --seed.",
)
@click.option(
    "--stop",
    metavar="TEXT",
    help="End the text before the first occurrence of TEXT.  [default: no stop]",
)
@json_option
def sample(
    *,
    run: Path | None,
    prompt: str,
    length: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    seed: int | None,
    samples: int,
    stop: str | None,
    as_json: bool,
) -> None:
    """Write text from a trained model, as it is generated.

    The prompt is written first, as it was given; characters that the model does not know are left out of what it reads.
    """
    if length == 0 and (as_json or samples > 1):
        raise click.UsageError("-n 0 has no end; leave out --samples and --json")
    from charlm.api.model import load
    from charlm.sampling.generation import TextRequest, generate_text, random_seed
    from charlm.sampling.sampler import Sampler
    from charlm.text.vocabulary import describe_left_out

    model = load(run, say=say)
    wanted = TextRequest(
        length,
        Sampler(
            temperature=model.sampling_temperature if temperature is None else temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
        ),
        seed=random_seed() if seed is None else seed,
        prompt=prompt,
        stop=stop or "",
        ignore_end=length == 0,
    )
    left_out = model.vocabulary.left_out(prompt)
    if left_out:
        say(describe_left_out(left_out, "the prompt"))
    if samples == 1 and not as_json:
        streamed = generate_text(model.trained, wanted)
        _stream(streamed, prompt=prompt)
        if wanted.sampler.temperature == 0 and length and str(streamed).isspace():
            say("-t 0 always writes the most likely character, here only blanks; -t 0.5 varies")
        return
    numbered = (generate_text(model.trained, replace(wanted, seed=wanted.seed + k)).finish() for k in range(samples))
    if as_json:
        facts = {
            "model": str(model.path),
            "prompt": prompt,
            "left_out": left_out,
            "seed": wanted.seed,
            "samples": [{**asdict(text), "characters": len(text.text)} for text in numbered],
        }
        print_result(json.dumps(facts))
        return
    for number, text in enumerate(numbered, start=1):
        print_aside(f"--- sample {number} of {samples} ---")
        write_result(_shown(prompt + text.text) + "\n")


def _shown(text: str) -> str:
    r"""Return a text for standard output: a terminal, which would obey its control characters, gets them as \\x1b."""
    return escape_controls(text, keep="\n\t") if sys.stdout.isatty() else text


def _stream(text: "GeneratedText", *, prompt: str) -> None:
    try:
        write_result(_shown(prompt))
        for piece in text:
            write_result(_shown(piece))
    finally:  # after Ctrl-C too, so that the prompt of the shell starts a line
        if sys.stdout.isatty():
            write_result("\n")
