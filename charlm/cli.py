"""The command line: parse, call one function, print.

Results go to standard output; progress, logs and warnings to standard error. Only click is imported at the top,
so that help and a first character come at once; each command imports what it calls inside its body.
"""

import io
import os
import shlex
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from charlm import __version__
from charlm.errors import CharlmError, harmless

if TYPE_CHECKING:
    from charlm.preparation import Run
    from charlm.stopwatch import Stopwatch
    from charlm.training.loop import Outcome
    from charlm.training.signals import StopWish

FOLDER = click.Path(path_type=Path)
MAX_PROMPT_BYTES = 1 << 24


class _Command(click.Group):
    """The command group; what is wrong outside the program ends in one line and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was asked for; what it raises for a person becomes a line and an exit code."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
            return result
        except CharlmError as error:
            _fail(error)
        except BrokenPipeError:  # the reader of our output has gone: stop quietly
            _drop_output()
            sys.exit(0)
        except OSError as error:
            if error.filename is None:  # the only file without a name that is written to
                _drop_output()
            _fail(CharlmError(f"{error.filename or 'standard output'}: {error.strerror}"))
        except click.ClickException as error:
            error.message = harmless(error.message)  # type: ignore[misc]
            raise
        except KeyboardInterrupt as stopped:
            sys.exit(getattr(stopped, "exit_code", 130))


def _fail(error: CharlmError) -> NoReturn:
    _say(str(error))
    sys.exit(1)


def _say(message: str) -> None:
    click.echo(f"charlm: {harmless(message)}", err=True)


def _drop_output() -> None:
    """Let go of what could not be written to standard output, lest Python tries again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="charlm")
def main() -> None:
    """Train, watch and sample character-level SimpleRNN language models."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has every character


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--out", required=True, type=FOLDER, help="The folder to write; it must not hold anything yet.")
@click.option("-c", "--config", "config_name", default="default", help="Take the corpus section of this recipe.")
@click.option("-s", "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value.")
def tokenize(paths: tuple[str, ...], out: Path, config_name: str, overrides: tuple[str, ...]) -> None:
    """Turn text into a corpus on disk.

    PATHs are files, folders, glob patterns, .gz files, or - for standard input. Settings are those of the
    config's corpus section, for instance: -s corpus.encoding=latin-1 -s corpus.level=byte
    """
    from charlm.config_file import load_config
    from charlm.recipes import find_recipe
    from charlm.tokenization import tokenize as write_corpus

    config = load_config(find_recipe(config_name), overrides=overrides)
    corpus = write_corpus(paths, out, config.corpus, progress=sys.stderr.isatty())
    click.echo(f"{out}: {corpus.summary}")


@main.command()
@click.argument("corpus", required=False, type=FOLDER)
@click.option("-c", "--config", "config_name", help="A recipe by name, or any YAML file.  [default: default]")
@click.option("-s", "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value.")
@click.option("-r", "--run", "folder", type=FOLDER, help="Where the run goes.  [default: runs/<time>-<config>]")
@click.option("--resume", is_flag=True, help="Go on with the run in --run, or the newest under runs/.")
def train(
    corpus: Path | None,
    config_name: str | None,
    overrides: tuple[str, ...],
    folder: Path | None,
    resume: bool,
) -> None:
    """Train a model.

    CORPUS is a text file, a folder of them, or what tokenize wrote; without it, the plays that come with
    charlm. Keys of a config are given with -s, for instance: -s model.units=256 -s training.epochs=3
    """
    from charlm import preparation, runs
    from charlm.stopwatch import Stopwatch
    from charlm.training.signals import Stopped, stop_on_signal

    watch = Stopwatch()
    if resume and (corpus is not None or config_name is not None):
        raise click.UsageError("--resume goes on with the corpus and the config of the run; leave them out")
    with stop_on_signal() as wish:
        if resume:
            run = preparation.open_run(folder or runs.newest_run(), overrides=overrides)
        else:
            run = _new_run(corpus, config_name or "default", overrides, folder)
        try:
            watch.lap("text")
            _train(run, resume=resume, wish=wish, watch=watch)
        except Stopped as stopped:
            _say(f"{stopped}; {_how_to_go_on(run)}")
            raise


def _train(run: "Run", *, resume: bool, wish: "StopWish", watch: "Stopwatch") -> None:
    from charlm.training import runtime

    with wish.at_once():
        cores = runtime.start()
        from charlm.training.loop import train as train_run
    watch.lap("TensorFlow")
    is_watched = sys.stderr.isatty()
    outcome = train_run(
        run, resume=resume, cores=cores, wish=wish, say=_say, show_progress=is_watched, watch=watch
    )
    _report(run, outcome)


def _how_to_go_on(run: "Run") -> str:
    return f"go on with: charlm train --resume --run {shlex.quote(str(run.folder))}"


def _new_run(corpus: Path | None, config_name: str, overrides: tuple[str, ...], folder: Path | None) -> "Run":
    from charlm import preparation, runs
    from charlm.config_file import load_config
    from charlm.recipes import find_recipe
    from charlm.resources import DEFAULT_CORPUS

    path = find_recipe(config_name)
    config = load_config(path, overrides=overrides)
    folder = folder or runs.new_folder(path.stem)
    return preparation.begin_run(folder, config, corpus or DEFAULT_CORPUS, progress=sys.stderr.isatty())


def _report(run: "Run", outcome: "Outcome") -> None:
    from charlm.scoring import Score

    progress, folder = outcome.progress, run.folder
    _say(f"{outcome.reason}: {progress.step:,} steps in {progress.seconds:.1f} s of training")
    if outcome.signal is not None:
        _say(_how_to_go_on(run))
        sys.exit(128 + outcome.signal)
    if progress.best_nats is not None:
        score = Score(progress.best_nats, 0)
        click.echo(
            f"{folder}: {score.nats_per_char:.4f} nats per character ({score.bits_per_char:.4f} bits, "
            f"perplexity {score.perplexity:.2f}) on the {outcome.split} text at step {progress.best_step:,}; "
            f"{outcome.characters_per_second:,.0f} characters/s"
        )
    _say(f"write text with: charlm sample {shlex.quote(str(folder))}")


@main.command()
@click.argument("run", required=False, type=FOLDER)
@click.option("-p", "--prompt", default="", help="The text to go on from.  [default: a new line]")
@click.option("--prompt-file", type=click.File("rb"), help="Read it from here, as UTF-8; - = standard input.")
@click.option(
    "-n",
    "--length",
    type=click.IntRange(0, sys.maxsize),
    default=500,
    show_default=True,
    help="Characters to write; 0 = until stopped.",
)
@click.option(
    "-t",
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    help="Higher is wilder, lower is safer; 0 = always the most likely character.",
)
@click.option("--top-k", type=int, help="Choose among the K most likely characters.")
@click.option("--top-p", type=float, help="Choose among the fewest characters that make up this probability.")
@click.option("--min-p", type=float, help="Leave out what is less likely than this share of the most likely.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same text.  [default: random]")
@click.option("--samples", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many texts.")
@click.option("--stop", metavar="TEXT", help="End a text before the first TEXT in it.")
@click.option("--ignore-end", is_flag=True, help="Write on where the model ends a text.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do with a character of the prompt that the model never saw.",
)
@click.option("--raw", is_flag=True, help="Write control characters to a terminal as they are.")
@click.option("--copies", is_flag=True, help="Tell what of each text stands in the training text.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing before it.")
def sample(run: Path | None, prompt: str, prompt_file: Any, **options: Any) -> None:
    """Write text from a trained model, as it comes.

    RUN is a run or a bundle folder; without it, the newest run under runs/. The prompt is written first.
    """
    from charlm.printing import print_samples

    if prompt_file is not None:
        if prompt:
            raise click.UsageError("--prompt and --prompt-file exclude each other")
        prompt = _read_text(prompt_file)
    print_samples(run, prompt=prompt, **options)


def _read_text(file: IO[bytes]) -> str:
    data = file.read(MAX_PROMPT_BYTES + 1)
    if len(data) > MAX_PROMPT_BYTES:
        raise CharlmError(f"{file.name}: a prompt has at most {MAX_PROMPT_BYTES:,} bytes")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CharlmError(f"{file.name}: not UTF-8 at byte {error.start}") from None


@main.command()
@click.argument("run", required=False, type=FOLDER)
@click.argument("text", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Which part.  [default: validation of the run's own text, all of TEXT]",
)
@click.option(
    "--protocol",
    type=click.Choice(["stream", "windows"]),
    default="stream",
    show_default=True,
    help="stream: read once, the state carried; windows: each window from the zero state.",
)
@click.option("--window", type=click.IntRange(min=1), default=256, show_default=True, help="Its characters.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do with a character of TEXT that the model never saw.",
)
@click.option("--dynamic", is_flag=True, help="Go on learning from each stretch of the text once it is scored.")
@click.option("--dynamic-rule", type=click.Choice(["rms", "sgd"]), help="How.  [default: rms]")
@click.option("--dynamic-rate", type=click.FloatRange(min=0), metavar="X", help="The learning rate of the rule.")
@click.option("--dynamic-decay", type=click.FloatRange(0, 1), metavar="X", help="Back to the trained weights.")
@click.option("--dynamic-stretch", type=click.IntRange(min=1), metavar="N", help="Characters of a stretch.")
@click.option("--baselines", is_flag=True, help="Add what compressors and n-grams make of the text.")
@click.option(
    "--surprise",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the nats of each character there, as JSON lines; - = standard output.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(run: Path | None, text: Path | None, **options: Any) -> None:
    """Score a text: nats per character, bits per character, perplexity.

    RUN is a run or a bundle folder; without it, the newest run under runs/. TEXT is a text file; without it,
    the text that the run learnt from, which --split divides.
    """
    from charlm.evaluation import dynamic_rule
    from charlm.reporting import print_score

    given = {key: options.pop(f"dynamic_{key}") for key in ("rule", "rate", "decay", "stretch")}
    wanted = [f"--dynamic-{key}" for key, value in given.items() if value is not None]
    is_dynamic = options.pop("dynamic")
    if wanted and not is_dynamic:
        raise click.UsageError(f"{wanted[0]} is for --dynamic")
    if is_dynamic and options["protocol"] != "stream":
        raise click.UsageError("--dynamic reads a stream: leave out --protocol windows")
    print_score(run, text, dynamic=dynamic_rule(**given) if is_dynamic else None, **options)


@main.command()
@click.argument("runs", nargs=-1, type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="0 = any free one.")
def tensorboard(runs: tuple[Path, ...], host: str, port: int) -> None:
    """Open TensorBoard on runs: those named, or all under runs/."""
    from charlm.board import serve

    serve(runs, host=host, port=port)


def _sizes(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    sizes = value.split(",")
    if not all(size.isdecimal() and 1 <= int(size) <= 65536 for size in sizes):
        raise click.BadParameter(f"{value}: should be numbers from 1 to 65536, for instance 128,256")
    return tuple(map(int, sizes))


@main.command()
@click.argument(
    "parts", nargs=-1, type=click.Choice(["training", "sampling", "start", "tokenize"]), metavar="[PART]..."
)
@click.option("--units", default="128,256,512,1024", callback=_sizes, show_default=True, help="Widths to compare.")
@click.option("--layers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Windows a step.")
@click.option("--time", type=click.IntRange(min=1), default=100, show_default=True, help="Characters a window.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Their median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every round.")
def bench(parts: tuple[str, ...], **options: Any) -> None:
    """Measure the speed of charlm beside that of others and of this machine.

    PARTs are training (Keras, and PyTorch if it is installed, beside it), sampling, start (of charlm sample and
    of charlm train) and tokenize; without any, all of them. They take minutes, and want the machine to
    themselves.
    """
    from charlm.bench import print_bench

    print_bench(parts, **options)


@main.command()
@click.argument("runs", nargs=-1, type=FOLDER)
@click.option(
    "--sort",
    type=click.Choice(["score", "name", "time"]),
    default="score",
    show_default=True,
    help="The best score, the first name or the shortest training first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing shortened.")
def compare(runs: tuple[Path, ...], **options: Any) -> None:
    """Show runs beside each other: those named, or all under runs/.

    For each: the score of its best checkpoint, the step of it, the time and the speed of training, how many
    weights, the bytes of the bundle best/, and the settings in which the runs differ.
    """
    from charlm.comparison import print_comparison

    print_comparison(runs, **options)
