"""The commands that use a model: `sample`, `evaluate`, `export` and `serve`."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from charlm.cli.command import (
    COUNT,
    NATURAL,
    PATH,
    Command,
    host_option,
    json_option,
    missing_package,
    model_argument,
    models_argument,
    port_option,
)
from charlm.cli.output import align, print_aside, print_json, print_result, say, write_result
from charlm.cli.progress import ProgressDisplay
from charlm.events import Event, RequestAnswered, ServerListening
from charlm.formats import FormatName
from charlm.wording import counted, escape_controls, short_repr

if TYPE_CHECKING:
    from charlm.api.evaluation import Evaluation

SERVER_ERROR = 500
"""The lowest HTTP status of a server error."""


@click.command(cls=Command)
@model_argument
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
    type=NATURAL,
    metavar="N",
    default=500,
    help="The most characters to write; 0 = until stopped.",
)
@click.option(
    "-t",
    "--temperature",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Below 1 is safer, above 1 is wilder than the model; 0 = always the most likely character.  "
    "[default: what suits the model, chosen at the end of its training]",
)
@click.option(
    "--top-k",
    type=COUNT,
    metavar="K",
    help="Choose among the K most likely characters.  [default: all]",
)
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
@click.option(
    "--seed",
    type=NATURAL,
    metavar="N",
    help="The same seed gives the same text.  [default: random]",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 10_000),
    metavar="N",
    default=1,
    help="Number of texts; their seeds count up.",
)
@click.option(
    "--stop",
    metavar="TEXT",
    help="End the text before the first occurrence of TEXT.  [default: no stop]",
)
@json_option
def sample(
    *,
    model: Path | None,
    prompt: str,
    seed: int | None,
    samples: int,
    as_json: bool,
    **options: Any,
) -> None:
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

    first = random_seed() if seed is None else seed
    loaded = load(model, on_event=ProgressDisplay())
    if left_out := loaded.vocabulary.left_out(prompt):
        say(describe_left_out(left_out, "the prompt"))
    seeds = range(first, first + samples)
    texts = (
        loaded.generate(prompt, seed=number, ignore_end=endless, **options) for number in seeds
    )
    if as_json:
        found = [text.finish() for text in texts]
        given = {"model": loaded.path, "prompt": prompt, "left_out": left_out, "seed": first}
        print_json(
            {**given, "samples": [{**asdict(one), "characters": len(one.text)} for one in found]}
        )
    elif samples > 1:
        for number, text in enumerate(texts, start=1):
            print_aside(f"--- sample {number} of {samples} ---")
            write_result(_shown(f"{prompt}{text}\n"))
    else:
        _stream([prompt], next(texts))


def _shown(text: str) -> str:
    r"""Return a text for standard output: a terminal, which would obey its control characters, gets them as \\x1b."""
    return escape_controls(text, keep="\n\t") if sys.stdout.isatty() else text


def _stream(*parts: Iterable[str]) -> None:
    try:
        for part in parts:
            for chunk in part:
                write_result(_shown(chunk))
    finally:  # after Ctrl-C too, so that the prompt of the shell starts a line
        if sys.stdout.isatty():
            write_result("\n")


@click.command(cls=Command)
@model_argument
@click.argument(
    "text",
    required=False,
    type=PATH,
    help="File, folder of files, corpus, or - for standard input.  [default: the text that the model was trained on]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Part of the text to score.  [default: all of TEXT; without TEXT, the validation part]",
)
@click.option(
    "--protocol",
    type=click.Choice(["stream", "windows"]),
    default="stream",
    help="stream carries the state from start to end of the text, windows reads each window from the zero state.",
)
@click.option(
    "--window",
    type=COUNT,
    metavar="N",
    default=256,
    help="Characters in a window, for --protocol windows.",
)
@click.option(
    "--baselines",
    is_flag=True,
    help="Add the scores of simple models on the same text, and compare with the 5-gram model.",
)
@click.option(
    "--copies",
    is_flag=True,
    help="Add how much of the text occurs word for word in the training text; needs the run.",
)
@json_option
@click.pass_context
def evaluate(context: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Score a text: nats per character, bits per character, perplexity.

    Lower is better: 0 nats would mean that every character was foreseen. bits = nats / ln 2, perplexity = exp(nats).
    Scores compare only if the text and the way of reading it are the same. Nats per character of two texts do not
    compare, even if one only has tabs where the other has spaces; the total bits of the same content do.

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
    if (
        options["protocol"] != "windows"
        and context.get_parameter_source("window") is ParameterSource.COMMANDLINE
    ):
        raise click.UsageError(
            "--window is the length of the windows of --protocol windows; add that, or leave it out"
        )
    from charlm.api.evaluation import evaluate
    from charlm.text.vocabulary import describe_left_out

    with ProgressDisplay() as display:
        found = evaluate(**options, on_event=display)
    if as_json:
        print_json(asdict(found))
    else:
        print_result(*_lines(found))
    if found.left_out:
        say(describe_left_out(found.left_out, str(options["text"])))


def _lines(found: "Evaluation") -> Iterator[str]:
    from charlm.evaluation.scoring import ERROR_BLOCK, bits, perplexity
    from charlm.text.copies import MIN_SPAN

    size = f"{counted(found.characters, 'character')}, {found.total_bits:,.0f} bits in all"
    yield f"{found.model}: {found.text}, {size}, {found.protocol}"
    scores = {"this model": found.nats_per_char, **(found.baselines or {})}
    figures = [(name, nats, bits(nats), perplexity(nats)) for name, nats in scores.items()]
    rows = [
        (name, *(f"{one:.4f}" for one in row))
        for name, *row in sorted(figures, key=lambda row: row[1])
    ]
    yield from (
        f"  {line}" for line in align([("", "nats", "bits", "perplexity"), *rows], text_columns={0})
    )
    given, of = found.given_characters, found.training_characters
    if found.baselines is not None and of:
        part = f"the last {given:,} of " if given < of else ""
        yield f"  the others were given {part}the {of:,} characters of the training text"
    elif found.baselines is not None:
        yield "  the training text is not known: the compressor goes without it, n-gram models are left out"
    if found.comparison is not None:
        yield f"  this model: {found.comparison}"
    if found.standard_error is not None:
        error = f"{found.standard_error:.4f} nats"
        yield f"  standard error of this model's mean, by blocks of {ERROR_BLOCK} characters: {error}"
    if (copies := found.copies) is not None:
        longest = "no character does"
        if copies.position is not None:
            length, place = counted(copies.length, "character"), f"at position {copies.position:,}"
            longest = f"the longest has {length}, {place}: {short_repr(found.longest_copy)}"
        yield f"  {copies.share:.1%} occurs in the training text in spans of {MIN_SPAN} or more; {longest}"


@click.command(cls=Command)
@model_argument
@click.option(
    "--format",
    type=click.Choice(get_args(FormatName)),
    required=True,
    help="html: a page for writing in a browser; onnx: ONNX; torch: PyTorch; keras: Keras; c: weights and a C library.",
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="Folder to write, missing or empty; or one file, FILE.html, FILE.onnx or FILE.keras, which is replaced.",
)
@click.option(
    "--check",
    is_flag=True,
    help="First let the other program, which must be installed, read a text; fail if its logits differ from those of "
    "charlm by more than 1e-4.",
)
@json_option
def export(*, as_json: bool, **options: Any) -> None:
    """Write a model for another program.

    The folder that is written also has a model card, a license and the model file, which charlm reads.

    Examples:
      charlm export --format html --out model.html
        the newest run as a page for writing in a browser
      charlm export tiny --format onnx --out model.onnx --check
        a run for ONNX, compared with charlm first
      charlm export --format c --out model-c
        weights and a C library with an example program

    """
    from charlm.formats.exporting import export

    written = export(**options, on_event=ProgressDisplay())
    if as_json:
        print_json(asdict(written))
        return
    is_folder = written.path.is_dir()
    sizes = [
        f"{name} {size:,} bytes" if is_folder else f"{size:,} bytes"
        for name, size in written.files.items()
    ]
    print_result(f"{written.path}: {', '.join(sizes)}")
    if (found := written.check) is not None:
        print_result(
            f"{found.program}: the largest difference of a logit over {found.characters:,} characters is "
            f"{found.largest_difference:.2g}; at most {found.tolerance:g} is allowed"
        )


@click.command(cls=Command)
@models_argument
@host_option
@port_option(8000)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Name under which clients reach the server, for instance through a proxy; can be repeated. Only needed "
    "without a key.",
)
@click.option(
    "--allow-origin",
    "allow_origins",
    multiple=True,
    metavar="URL",
    help="Site whose pages may use the server, for instance https://example.com, or * for every site; can be repeated.",
)
@click.option(
    "--log",
    "has_log",
    is_flag=True,
    help="Print a line for each request, not only for server errors.",
)
def serve(*, has_log: bool, **options: Any) -> None:
    """Serve models at an OpenAI-compatible endpoint, and at / the page that `charlm export --format html` writes.

    The pages of further models are at /NAME. The URL is printed when the server listens. Requests must carry the key in
    the variable CHARLM_API_KEY, if there is one. A model is read again when its file is replaced. Ctrl-C or SIGTERM
    ends the server, after the answers that were begun.

    Examples:
      charlm serve
        the newest run at http://127.0.0.1:8000
      charlm serve small large --port 0
        two models, at any free port
      charlm serve --host 0.0.0.0
        open to the network, for those who have the key in CHARLM_API_KEY
      charlm serve --allow-host texts.example.com --log
        behind a proxy for that name, with a line for each request

    """
    from charlm.hardware import limit_product_threads

    limit_product_threads(1)  # before NumPy is imported
    try:
        from charlm.serving import server
    except ModuleNotFoundError as error:
        raise missing_package("serve", error) from None
    key = os.environ.get("CHARLM_API_KEY") or None

    display = ProgressDisplay()

    def show(event: Event) -> None:
        """Show an event; the URL is the result of the command."""
        if isinstance(event, RequestAnswered):
            is_error = event.status >= SERVER_ERROR or event.problem is not None
            if not has_log and not is_error:
                return
        display(event)
        if isinstance(event, ServerListening):
            print_result(event.url)

    server.serve(**options, key=key, on_event=show)
