"""`charlm train`: trains, and reports how training ended."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.command import Command
from charlm.cli.options import (
    PATH,
    POSITIVE,
    quiet_option,
    recipe_option,
    set_option,
    suggest_models,
    suggest_runs,
    text_argument,
)
from charlm.cli.output import cut, print_result, say, shows_progress
from charlm.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from charlm.training.loop import Outcome

SAMPLE_LINES, SAMPLE_COLUMNS = 3, 60
"""How much of a sample is shown at the end."""


@click.command(cls=Command)
@text_argument
@recipe_option("the recipe that suits the size of the text")
@set_option
@click.option(
    "-r",
    "--run",
    type=PATH,
    shell_complete=suggest_runs,
    help="Folder of the run, missing or empty; with --resume, a run that exists.  [default: runs/<time>-<text>]",
)
@click.option(
    "--init",
    type=PATH,
    metavar="MODEL",
    shell_complete=suggest_models,
    help="Begin with the weights of another model, a run or a model file; characters are matched by what they are.  "
    "[default: random weights]",
)
@click.option(
    "--minutes", type=POSITIVE, metavar="X", help="Take as many steps as fit into X minutes.  [default: no limit]"
)
@click.option("--resume", is_flag=True, help="Continue the run in --run, or the newest unfinished run under runs/.")
@quiet_option
def train(*, resume: bool, **options: Any) -> None:
    """Train a model on a text.

    A run is a folder with the settings, the text as ids, the log of training, and the models best.safetensors and
    last.safetensors. Ctrl-C writes a checkpoint first; --resume goes on from there as if nothing had happened.

    Examples:
      charlm train mytext.txt
        train with the recipe that suits the size of the text
      charlm train mytext.txt -c shakespeare -s model.units=256 -r runs/small
        another recipe, a setting, a folder
      charlm train mytext.txt --minutes 10
        as much training as fits into ten minutes
      charlm train --resume
        go on with the newest run that has not ended

    """
    begin = {name: options.pop(name) for name in ("text", "recipe", "init")}
    if resume and any(begin.values()):
        raise click.UsageError("--resume keeps the text, the config and the first weights of the run: leave them out")
    from charlm.api import training
    from charlm.training.signals import Stopped

    call = training.resume if resume else partial(training.train, **begin)
    try:
        outcome = call(**options, say=say, show_progress=shows_progress())
    except Stopped as stopped:
        if stopped.run is not None and stopped.run.exists():
            say(f"{stopped}; {_how_to_resume(stopped.run)}")
        raise
    if outcome.worker == 0:
        _print_outcome(outcome)
    else:
        say(f"{outcome.reason}; the run is on worker 0")
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)


def _print_outcome(outcome: "Outcome") -> None:
    from charlm.network.rnn import bits, perplexity
    from charlm.runs.folder import as_argument
    from charlm.training.display import duration

    progress, folder = outcome.progress, outcome.folder
    say(
        f"{outcome.reason}: {counted(progress.step, 'step')} in {duration(progress.seconds)}, beside them "
        f"{duration(max(0, progress.elapsed_seconds - progress.seconds))} for evaluations, samples and checkpoints"
    )
    if outcome.signal is not None:
        say(_how_to_resume(folder))
        return
    if (nats := outcome.nats_per_char) is not None:
        print_result(
            f"{folder}: {nats:.4f} nats per character on {outcome.measured_on}",
            f"  step {progress.best_step:,}, {bits(nats):.4f} bits per character, perplexity {perplexity(nats):.2f}; "
            f"{outcome.characters_per_second:,.0f} characters/s",
            *compare_scores(nats, outcome.baseline_nats),
        )
    lines = [line for line in outcome.sample.splitlines() if line.strip()]
    for line in lines[:SAMPLE_LINES]:
        say(f"it writes: {cut(line, SAMPLE_COLUMNS)}")
    run = as_argument(folder)
    if outcome.longer:
        say(f"train longer: charlm train --resume -r {run} {' '.join(f'-s {setting}' for setting in outcome.longer)}")
    say(f"see how it learnt: charlm tensorboard {run}")
    say(f"see what it does: charlm inspect {run} --out report.html")
    say(f"write text: charlm sample {run}")


def compare_scores(nats: float, baseline_nats: "Mapping[str, float]") -> "Iterator[str]":
    """Yield what a score is worth beside those of simple models.

    Args:
        nats: The score, in nats per character.
        baseline_nats: Those of a 5-gram model and of lzma on the same text, by name; empty = nothing is yielded.

    """
    if not baseline_nats:
        return
    scores = ", ".join(f"{name} {score:.4f}" for name, score in baseline_nats.items())
    name, best = min(baseline_nats.items(), key=lambda item: item[1])
    comparison = "better" if nats < best else "worse"
    yield f"  {scores} on the same text: {abs(best - nats):.4f} nats {comparison} than {name}"


def _how_to_resume(folder: Path) -> str:
    from charlm.runs.folder import as_argument

    return f"continue with: charlm train --resume --run {as_argument(folder)}"
