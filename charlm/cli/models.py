"""The commands `sample`, `evaluate`, `export` and `serve`."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from charlm.api import WINDOW
from charlm.cli.command import (
    COUNT,
    NATURAL,
    PATH,
    Command,
    host_option,
    json_option,
    model_argument,
    models_argument,
    port_option,
)
from charlm.cli.output import (
    ProgressDisplay,
    align,
    print_aside,
    print_json,
    print_result,
    say,
    write_result,
)
from charlm.errors import CharlmError
from charlm.exports import FormatName
from charlm.wording import counted

if TYPE_CHECKING:
    from charlm.api.evaluation import Evaluation
    from charlm.api.model import NewLines
    from charlm.text.findings import Copies


@click.command(cls=Command)
@model_argument
@click.option(
    "-p",
    "--prompt",
    default="",
    show_default=False,
    help="Text to continue.  [default: begin a new text, or else a paragraph or a line]",
)
@click.option(
    "-n",
    "--length",
    type=NATURAL,
    metavar="N",
    default=500,
    help="Maximum number of characters; 0 = no limit.",
)
@click.option(
    "-t",
    "--temperature",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Below 1, likely characters become more likely; above 1, less likely; 0 = always the most "
    "likely character.  [default: the temperature chosen at the end of training]",
)
@click.option(
    "--top-k",
    type=COUNT,
    metavar="K",
    help="Sample from the K most likely characters.  [default: all]",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Sample from the smallest set of characters with a total probability of P.  "
    "[default: all]",
)
@click.option(
    "--min-p",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Leave out characters whose probability is below P times the highest one.  [default: 0]",
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
    help="Number of texts, with consecutive seeds.",
)
@click.option(
    "--lines",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Generate N different lines, none of which is in the model's own text; --prompt begins "
    "each line, and --length limits each.",
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
    lines: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate text with a trained model, printed character by character.

    The text starts with the prompt. Characters of the prompt that the model does not know are
    printed; it reads its unknown id instead, if it has one.

    Examples:
      charlm sample
        generate 500 characters with the newest run
      charlm sample tiny -p "Once upon a time" -n 200 -t 0.7
        continue a prompt, with fewer surprises
      charlm sample --samples 3 --top-p 0.9 --seed 1 --json
        generate three reproducible texts for a script
      charlm sample names --lines 50
        generate 50 new names with a model of a list of names

    """
    is_endless = options["length"] == 0
    if is_endless and (as_json or samples > 1 or lines):
        raise click.UsageError(
            "with -n 0, the text has no end; leave out --samples, --lines and --json"
        )
    if lines and (samples > 1 or options["stop"]):
        raise click.UsageError("--lines cannot be combined with --samples and --stop")
    if " " in str(model) and not Path(str(model)).exists():
        raise click.UsageError(f"{model}: no such model; a text to continue is given with -p")
    from charlm.api.model import load
    from charlm.core.generation import random_seed
    from charlm.core.vocabulary import describe_left_out

    first_seed = random_seed() if seed is None else seed
    display = ProgressDisplay()
    loaded = load(model, on_event=display)
    _, left_out = loaded.vocabulary.read(prompt)
    if left_out:
        say(describe_left_out(left_out, "the prompt"))
    facts = {"model": loaded.path, "prompt": prompt, "left_out": left_out, "seed": first_seed}
    if lines:
        del options["stop"]

        def show(line: str) -> None:
            with display:  # removes the bar
                print_result(line)

        on_line = None if as_json else show
        found = loaded.lines(
            lines, prompt, seed=first_seed, on_line=on_line, on_event=display, **options
        )
        if as_json:
            from charlm.api.evaluation import line_nats

            means = [float(nats.mean(dtype=float)) for nats in line_nats(loaded, found)]
            print_json(
                {**facts, "lines": found, "nats_per_char": means, "rejected": found.rejected}
            )
        if len(found) < lines:
            _explain_rejected(found)
        return
    texts = (
        loaded.generate(prompt, seed=first_seed + index, ignore_end=is_endless, **options)
        for index in range(samples)
    )
    if as_json:
        generated = [
            {"text": str(text), "stopped_by": text.stopped_by, "characters": len(str(text))}
            for text in texts
        ]
        print_json({**facts, "samples": generated})
    elif samples > 1:
        for number, text in enumerate(texts, start=1):
            print_aside(f"--- sample {number} of {samples} ---")
            write_result(f"{prompt}{text}\n")
    else:
        _stream(prompt, next(texts))


def _explain_rejected(lines: "NewLines") -> None:
    """Say why there are fewer new lines than wanted."""
    rejected = [f"{count:,} {reason}" for reason, count in lines.rejected.most_common()]
    advice = "a higher -t or, for long lines, a larger -n gives more"
    say(f"{counted(len(lines), 'new line')}; left out: {', '.join(rejected)}; {advice}")


def _stream(prompt: str, chunks: Iterable[str]) -> None:
    try:
        for chunk in chain([prompt], chunks):
            write_result(chunk)
    finally:  # also after Ctrl-C, so that the shell's prompt starts on a new line
        if sys.stdout.isatty():
            write_result("\n")


@click.command(cls=Command)
@model_argument
@click.argument(
    "text",
    required=False,
    type=PATH,
    help="File, folder of files, corpus, or - for standard input.  [default: the model's own text]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Part of the text to score.  [default: all of TEXT; without TEXT, validation]",
)
@click.option(
    "--protocol",
    type=click.Choice(["stream", "windows"]),
    default="stream",
    help="stream reads the text once and carries the state along; windows starts each window from "
    "the zero state.",
)
@click.option(
    "--window",
    type=COUNT,
    metavar="N",
    default=WINDOW,
    help="Window length in characters, for --protocol windows.",
)
@click.option(
    "--baselines",
    is_flag=True,
    help="Also score simple models on the same text, and compare with an 8-gram model.",
)
@click.option(
    "--copies",
    is_flag=True,
    help="Also measure how much of the text is copied from the training text; needs the run.",
)
@click.option(
    "--lines",
    "by_line",
    is_flag=True,
    help="Print a row for each line of TEXT, read by itself: its number, score (mean nats of its "
    "most surprising characters), nats per character, how rare the score is, number of "
    "characters, and the line, separated by tabs.",
)
@json_option
@click.pass_context
def evaluate(context: click.Context, /, *, by_line: bool, as_json: bool, **options: Any) -> None:
    """Score a text: nats per character, bits per character, perplexity.

    Lower is better; 0 nats would mean that every character was predicted with certainty.
    bits = nats / ln 2, perplexity = exp(nats). Scores can be compared only on the same text with
    the same protocol. Even replacing spaces with tabs changes the nats per character of a text, but
    its total bits can still be compared.

    Examples:
      charlm evaluate
        score the newest run on its validation text
      charlm evaluate tiny other.txt --baselines
        score another text, and compare with a compressor and n-gram models
      charlm evaluate --protocol windows --window 256
        score windows of 256 characters, as nanoGPT does
      charlm evaluate --copies
        also measure how much is copied from the training text
      charlm evaluate logs today.log --lines > scores.tsv
        score each line; sort -rnk2 scores.tsv shows the most surprising lines first

    """
    given = {
        name
        for name in options
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if by_line:
        if options["text"] is None or given - {"model", "text"}:
            raise click.UsageError("--lines needs a TEXT, and can only be combined with --json")
        _print_lines(options["model"], options["text"], as_json=as_json)
        return
    if "window" in given and options["protocol"] != "windows":
        raise click.UsageError("--window has an effect only with --protocol windows")
    from charlm.api.evaluation import evaluate
    from charlm.core.vocabulary import describe_left_out

    with ProgressDisplay() as display:
        evaluation = evaluate(**options, on_event=display)
    if as_json:
        print_json(asdict(evaluation))
    else:
        print_result(*_lines(evaluation))
    if evaluation.left_out:
        say(describe_left_out(evaluation.left_out, str(options["text"])))


def _print_lines(model: Path | None, text: Path, *, as_json: bool) -> None:
    """Print the score of each line of a text as soon as it is read."""
    from charlm.api.evaluation import score_lines

    for score in score_lines(model, text, on_event=ProgressDisplay()):
        if as_json:
            print_json(score._asdict())
            continue
        place = f"{score.document}:{score.number}" if text.is_dir() else score.number
        nats = f"{score.score:.4f}\t{score.nats_per_char:.4f}"
        write_result(f"{place}\t{nats}\t{score.rarity}\t{score.characters}\t{score.line}\n")


def _lines(evaluation: "Evaluation") -> Iterator[str]:
    characters = counted(evaluation.characters, "character")
    size = f"{characters}, {evaluation.total_bits:,.0f} bits in total"
    windows = "" if evaluation.protocol == "stream" else f", in {evaluation.protocol}"
    yield f"{evaluation.model}: {evaluation.text}: {size}{windows}"
    for line in _score_table(evaluation):
        yield f"  {line}"
    if evaluation.baselines is not None:
        yield f"  {_training_of_baselines(evaluation)}"
    if evaluation.comparison is not None:
        yield f"  this model: {evaluation.comparison}"
    if evaluation.standard_error is not None:
        from charlm.core.scoring import ERROR_BLOCK

        error = f"{evaluation.standard_error:.4f} nats"
        yield f"  standard error of this model's mean: {error} (blocks of {ERROR_BLOCK} characters)"
    if evaluation.copies is not None:
        yield f"  {_copies(evaluation.copies)}"


def _score_table(evaluation: "Evaluation") -> list[str]:
    """Return a table of the model and the baselines, the best first."""
    from charlm.core.scoring import bits, perplexity

    scores = {"this model": evaluation.nats_per_char, **(evaluation.baselines or {})}
    rows = [("", "nats", "bits", "perplexity")]
    for name, nats in sorted(scores.items(), key=lambda score: score[1]):
        rows.append((name, f"{nats:.4f}", f"{bits(nats):.4f}", f"{perplexity(nats):.4f}"))
    return align(rows, text_columns={0})


def _training_of_baselines(evaluation: "Evaluation") -> str:
    read, total = evaluation.given_characters, evaluation.training_characters
    if not total:
        reason = evaluation.no_comparison
        return f"{reason}: lzma compresses only the scored text, without n-gram models"
    part = f"the last {read:,} of " if read < total else "all "
    return f"baselines use {part}{total:,} characters of the training text"


def _copies(copies: "Copies") -> str:
    from charlm.text.findings import MIN_SPAN

    share = f"{copies.share:.1%} is copied from the training text"
    example = f", for example {copies.example!r}" if copies.example else ""
    return f"{share} in spans of {MIN_SPAN} characters or more{example}"


@click.command(cls=Command)
@model_argument
@click.option(
    "--format",
    type=click.Choice(get_args(FormatName)),
    required=True,
    help="html: a page that generates text in a browser; onnx: ONNX; torch: PyTorch; keras: Keras; "
    "c: a C library with the weights.",
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="New or empty folder; or a single file, FILE.html, FILE.onnx or FILE.keras, which is "
    "overwritten if it exists.",
)
@json_option
def export(*, as_json: bool, **options: Any) -> None:
    """Export a model for use in another program.

    An exported folder also contains a README.md, a license, and the model file for charlm.

    Examples:
      charlm export --format html --out model.html
        make a page that generates text in a browser
      charlm export tiny --format onnx --out model.onnx
        export a run to ONNX
      charlm export --format c --out model-c
        make a C library with an example program

    """
    from charlm.exports.exporting import export

    result = export(**options, on_event=ProgressDisplay())
    if as_json:
        print_json(asdict(result))
        return
    sizes = [f"{name} {size:,} bytes" for name, size in result.files.items()]
    if not result.path.is_dir():
        sizes = [f"{size:,} bytes" for size in result.files.values()]
    print_result(f"{result.path}: {', '.join(sizes)}")


@click.command(cls=Command)
@models_argument
@host_option
@port_option
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Host name by which clients reach the server, for example through a proxy, or * for all; "
    "can be repeated. Not needed if CHARLM_API_KEY is set.",
)
@click.option(
    "--allow-origin",
    "allow_origins",
    multiple=True,
    metavar="URL",
    help="Web site whose pages may use the server, for example https://example.com, or * for all; "
    "can be repeated.",
)
@click.option(
    "--log",
    type=PATH,
    metavar="FILE",
    help="File for a line about every request.  [default: no log]",
)
def serve(*, runs: tuple[Path, ...], **options: Any) -> None:
    """Serve models with an OpenAI-compatible API and a web page.

    The page of the first model is at /; the page of each model is at /NAME. If the environment
    variable CHARLM_API_KEY is set, requests need that key. A model is reloaded when its file is
    replaced. Ctrl-C or SIGTERM stops the server after it has answered the pending requests.

    Examples:
      charlm serve
        serve the newest run at http://127.0.0.1:8000
      charlm serve small large --port 0
        serve two models on any free port
      charlm serve --host 0.0.0.0
        let other machines use the server; set CHARLM_API_KEY first
      charlm serve --allow-host texts.example.com --log requests.log
        serve behind a proxy, and log every request

    """
    try:
        from charlm.serving.server import serve
    except ModuleNotFoundError as error:
        raise CharlmError(f"charlm serve needs {error.name}: pip install '.[serve]'") from None
    key = os.environ.get("CHARLM_API_KEY")
    serve(runs, **options, key=key, announce=print_result, on_event=ProgressDisplay())
