"""`charlm sample`: text as it is generated, plain and as JSON."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from charlm.cli.command import Command
from charlm.cli.options import (
    Finite,
    checkpoint_option,
    describe_skipped,
    is_given,
    json_option,
    run_argument,
    unknown_option,
)
from charlm.cli.output import print_aside, print_result, say, write_result
from charlm.errors import escape_controls

if TYPE_CHECKING:
    from charlm.api.model import Model
    from charlm.sampling.generation import GeneratedText, TextRequest
    from charlm.sampling.growing import Sample

Show = Callable[[bytes], str | bytes]
"""Prepares the UTF-8 of a text, or the bytes of a model, for standard output."""
INTERACTIVE_LENGTH = 40
"""Characters that --interactive goes on by at a time, unless --length says otherwise."""
EXAMPLES = {
    "charlm sample": "500 characters from the newest run",
    'charlm sample tiny -p "Once upon a time" -n 200 -t 0.7': "continue a prompt, with few surprises",
    "charlm sample --interactive": "write together with the model",
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
@click.option("--samples", type=click.IntRange(1, 10_000), default=1, help="Number of texts to write.")
@click.option(
    "--stop",
    metavar="TEXT",
    help="End the text before the first occurrence of TEXT.  [default: no stop]",
)
@click.option(
    "--interactive",
    is_flag=True,
    help="Write together with the model: choose its characters, type, go back; -n is how far it goes on.",
)
@checkpoint_option
@unknown_option("the prompt")
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
    interactive: bool,
    checkpoint: Literal["best", "last"],
    unknown: Literal["error", "skip"],
    as_json: bool,
) -> None:
    """Write text from a trained model, as it is generated.

    The prompt is written first. A model of bytes writes them as they are, unless standard output is a terminal.
    """
    if interactive:
        _check_interactive(length, has_others=as_json or samples > 1 or bool(stop))
    elif length == 0 and (as_json or samples > 1):
        raise click.UsageError("-n 0 has no end; leave out --samples and --json")
    import secrets

    from charlm.api.model import MAX_SEED, load
    from charlm.sampling.generation import TextRequest, generate_text, generate_texts
    from charlm.sampling.growing import to_bytes
    from charlm.sampling.sampler import Sampler

    model = load(run, checkpoint=checkpoint, say=say)
    wanted = TextRequest(
        INTERACTIVE_LENGTH if interactive and not is_given("length") else length,
        Sampler(
            temperature=model.sampling_temperature if temperature is None else temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
        ),
        seed=secrets.randbelow(MAX_SEED) if seed is None else seed,
        prompt=prompt,
        stop=stop or "",
        ignore_end=length == 0,
        unknown=unknown,
    )
    show = _displayer(model.vocabulary.level)
    if interactive:
        from charlm.cli.interactive import write_together

        write_result(show(to_bytes(f"{write_together(model.bundle, wanted)}\n")))
        return
    if unknown == "skip" and (skipped := model.vocabulary.count_skipped(prompt)):
        say(describe_skipped(skipped, "the prompt"))
    if samples == 1 and not as_json:
        streamed = generate_text(model.bundle, wanted)
        _stream(streamed, prompt=to_bytes(prompt), show=show)
        if wanted.sampler.temperature == 0 and length and str(streamed).isspace():
            say("-t 0 always writes the most likely character, here only blanks; -t 0.5 varies")
        return
    if samples == 1:
        texts = [generate_text(model.bundle, wanted).finish()]
    else:
        texts = generate_texts(model.bundle, wanted, samples=samples)
    if as_json:
        _print_json(model, texts, wanted)
        return
    for number, text in enumerate(texts, start=1):
        print_aside(f"--- sample {number} of {len(texts)} ---")
        write_result(show(to_bytes(prompt) + text.data))
        write_result("\n")


def _check_interactive(length: int, *, has_others: bool) -> None:
    """Refuse --interactive without a length, or with others of the options."""
    if has_others:
        raise click.UsageError("--interactive: leave out --samples, --stop and --json")
    if length == 0:
        raise click.UsageError("--interactive: -n is how far the model goes on at a time; must be 1 or more")


def _displayer(level: str) -> "Show":
    r"""Return the function that prepares the UTF-8 of a text, or the bytes of a model, for standard output.

    A terminal would obey the escape sequences in a text, so it gets them as \\x1b.
    """
    if sys.stdout.isatty():
        return lambda data: escape_controls(data.decode("utf-8", "replace"), keep="\n\t")
    if level == "byte":
        return lambda data: data
    return lambda data: data.decode("utf-8", "surrogateescape")  # gets the encoding of standard output


def _stream(text: "GeneratedText", *, prompt: bytes, show: Show) -> None:
    try:
        write_result(show(prompt))
        for piece in text.as_bytes():
            write_result(show(piece))
    finally:  # after Ctrl-C too, so that the prompt of the shell starts a line
        if sys.stdout.isatty():
            write_result("\n")


def _print_json(model: "Model", texts: "Sequence[Sample]", wanted: "TextRequest") -> None:
    import json  # here: the first character of a text comes sooner

    from charlm.sampling.growing import readable

    found = [{"text": text.text, "characters": text.characters, "stopped_by": text.stopped_by} for text in texts]
    facts = {"bundle": str(model.folder), "prompt": readable(wanted.prompt), "seed": wanted.seed, "samples": found}
    print_result(json.dumps(facts))
