"""The commands `train`, `plan` and `tokenize`."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.command import (
    PATH,
    Command,
    json_option,
    quiet_option,
    recipe_option,
    set_option,
    suggest_runs,
    training_options,
)
from charlm.cli.output import ProgressDisplay, print_json, print_result, say, terminal_width, wrap
from charlm.wording import as_argument, counted, duration, short_number

if TYPE_CHECKING:
    from charlm.runs.run import Outcome

LENGTHS = ("training.steps=", "training.epochs=")
"""Start of an override that sets the length of a run."""


@click.command(cls=Command)
@training_options
@click.option(
    "-r",
    "--run",
    type=PATH,
    shell_complete=suggest_runs,
    help="Folder for the run, new or empty; with --resume, the run to continue.  "
    "[default: runs/<time>-<text>]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --run, or the newest unfinished run, to its end. With TEXT, start "
    "the run in --run if it does not exist.",
)
@json_option
@quiet_option
def train(*, resume: bool, as_json: bool, **options: Any) -> None:
    """Train a model on a text.

    A run is a folder with the settings, the text as ids, the training log, and the models
    best.safetensors and last.safetensors. Ctrl-C saves a checkpoint and stops; --resume
    continues from it as if nothing had happened.

    Examples:
      charlm train mytext.txt
        train with the recipe that suits the text
      charlm train mytext.txt -c shakespeare -s model.units=256 -r runs/small
        choose a recipe, a setting and a folder
      charlm train mytext.txt --minutes 10
        reach the lowest loss that ten minutes allow
      charlm train --resume
        continue the newest unfinished run
      charlm train mytext.txt --init runs/mine
        go on from the weights of another run

    """
    chosen = {name: value for name, value in options.items() if value is not None and value != ()}
    is_known_run = resume and "text" not in chosen
    if is_known_run and chosen.keys() - {"run"}:
        raise click.UsageError(
            "a run never changes, so --resume takes no settings, length or initial weights; to go "
            "on from its weights in a new run: charlm train TEXT --init RUN"
        )
    if resume and not is_known_run and "run" not in chosen:
        raise click.UsageError("--resume with a text also needs --run, the folder of the run")
    from charlm.storage import is_run

    had_begun = is_known_run or (resume and is_run(options["run"]))
    started = time.perf_counter()
    with ProgressDisplay() as display:
        try:
            from charlm.api import training

            if is_known_run:
                outcome = training.resume(options["run"], on_event=display)
            else:
                outcome = training.train(**options, resume=resume, on_event=display)
        except KeyboardInterrupt as stopped:
            say(str(stopped) or "stopped before training; nothing was saved")
            raise
    from charlm.core import BEST
    from charlm.runs.folder import CORPUS

    total_seconds = time.perf_counter() - started
    minutes = None if had_begun else options["minutes"]
    if options["text"] == (Path("-"),):  # it can be read only once
        options["text"] = [outcome.folder / CORPUS]
    command = None
    if outcome.is_improving and not had_begun:
        command = _longer_command(outcome, options)
    if as_json:
        command_fields = {
            "model": outcome.folder / BEST,
            "minutes": minutes,
            "total_seconds": total_seconds,
            "suggestion": command,
            "warnings": display.warnings,
        }
        print_json({**outcome.to_json(), **command_fields})
    else:
        _print_outcome(outcome, command, minutes=minutes)
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)


def _longer_command(outcome: "Outcome", options: Mapping[str, Any]) -> str:
    """Return the command that trains a new run twice as long, with the options of this one."""
    parts = ["charlm train", *map(as_argument, options["text"] or ())]
    if options["recipe"] is not None:
        parts.append(f"-c {shlex.quote(str(options['recipe']))}")
    for override in options["overrides"]:
        if not override.startswith(LENGTHS):
            parts.append(f"-s {shlex.quote(override)}")
    if options["init"] is not None:
        parts.append(f"--init {as_argument(options['init'])}")
    if options["minutes"] is not None:
        parts.append(f"--minutes {2 * options['minutes']:g}")
    elif options["epochs"] is not None:
        parts.append(f"--epochs {2 * options['epochs']}")
    else:
        parts.append(f"-s training.steps={2 * outcome.step}")
    if options["run"] is not None:
        parts.append(f"-r {as_argument(options['run'])}-longer")
    return " ".join(parts)


def _print_outcome(outcome: "Outcome", command: str | None, *, minutes: float | None) -> None:
    """Print why training ended, how good the model is, and what to do next.

    Args:
        outcome: The outcome of the training.
        command: The command for a longer run, if the network is still improving.
        minutes: Time limit of this run; None = no limit.

    """
    if outcome.had_ended:
        return
    run = as_argument(outcome.folder)
    elapsed = outcome.elapsed_seconds
    steps = counted(outcome.step, "step")
    say(f"{outcome.reason}: {steps} in {duration(elapsed)}{_best_step(outcome)}")
    if outcome.signal is not None:
        say(f"continue with: charlm train --resume -r {run}")
        return
    if outcome.nats_per_char is not None:
        print_result(f"{outcome.folder}: {_quality(outcome)}")
    if outcome.is_uncertain:
        say(
            "fewer than 2,400 validation characters: it is uncertain which model is best; compare "
            f"with the last one: charlm sample {run}/last.safetensors"
        )
    if command is not None:
        longer = duration(2 * (60 * minutes if minutes else elapsed))
        say(f"still improving; a new run twice as long takes about {longer}: {command}")
    inspect = f"charlm inspect {run} --out report.html"
    say(f"generate text: charlm sample {run}; look inside: {inspect}, charlm tensorboard {run}")


def _best_step(outcome: "Outcome") -> str:
    """Return the step of the best model as the end of a line, or "" if it is the last step."""
    if outcome.best_step == outcome.step:
        return ""
    if outcome.best_step == 0:
        return "; the initial weights are still the best, and in best.safetensors"
    return f"; best at step {outcome.best_step:,}"


def _quality(outcome: "Outcome") -> str:
    """Return how good a model is, as a sentence."""
    from charlm.core.scoring import perplexity
    from charlm.measures.baselines import more_text

    nats = outcome.nats_per_char
    assert nats is not None, "the caller has checked that there is a loss"
    choice = f"as uncertain as a choice among {perplexity(nats):,.1f} characters"
    if outcome.split != "validation":
        return f"{nats:.4f} nats per character of the training text: {choice}"
    baselines = ""
    for name, baseline in outcome.baselines.items():
        baselines += f"; an {name} model: {perplexity(baseline):,.1f}"
        baselines += more_text(outcome.initial_model)
    return f"{nats:.4f} nats per character: {choice}{baselines}"


INDENT = 12
"""Width of the first column of a plan."""


@click.command(cls=Command)
@training_options
@json_option
def plan(*, as_json: bool, **options: Any) -> None:
    """Show what train would do: recipe, network, memory, steps and time.

    A few steps are timed on this machine and undone; no run is made.

    Examples:
      charlm plan mytext.txt
        show what charlm train mytext.txt would do
      charlm plan mytext.txt --minutes 10
        show the recipe and the steps for ten minutes
      charlm plan mytext.txt -c shakespeare-15m -s training.epochs=5 --json
        plan a shorter run of another recipe, for a script

    """
    with ProgressDisplay() as display:
        from charlm.api import training

        plan = training.plan(**options, on_event=display)
    if as_json:
        print_json(plan)
        return
    for subject, found in _subjects(plan):
        line = subject.ljust(INDENT) + found
        print_result(*wrap(line, terminal_width(), next_indent=INDENT))


def _subjects(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each subject of a plan with the decision."""
    text = plan["text"]
    yield "text", text["summary"]
    for problem in text["findings"]:
        yield "problem", problem
    yield "begins with", plan["initial_reason"] or plan["initial_model"] or "random weights"
    yield "recipe", f"{plan['recipe']}: {plan['reason'] or 'chosen by you'}"
    units = f"{plan['layers']} x {plan['units']} units"
    yield "network", f"{units}, {plan['parameters']:,} weights, {plan['precision']}"
    epochs = f"{short_number(plan['epochs'])} epochs"
    windows = counted(plan["batch_size"], "window")
    length = f"{windows} of {plan['sequence_length']:,} characters each"
    evaluations = counted(plan["evaluations"], "evaluation")
    yield "steps", f"{plan['steps']:,}, {epochs}, {length}, {evaluations}"
    yield "memory", f"{plan['memory_bytes'] / 1e9:,.1f} GB"
    limit = "" if plan["minutes"] is None else f" of {plan['minutes']:g} min"
    at_most = "at most " if plan["may_end_early"] else ""
    yield "time", f"{at_most}{duration(plan['seconds'])}{limit}"
    if plan["characters_per_second"] is not None:
        yield "speed", f"{plan['characters_per_second']:,.0f} characters per second"


@click.command(cls=Command)
@click.argument(
    "sources",
    nargs=-1,
    required=True,
    type=PATH,
    metavar="PATH...",
    help="Text: a file, a folder, a .gz file, or - for standard input.",
)
@click.option("--out", required=True, type=PATH, help="Folder for the corpus, new or empty.")
@recipe_option("the recipe named default")
@set_option
@quiet_option
def tokenize(**options: Any) -> None:
    """Turn text into a corpus: ids, vocabulary and splits in a folder.

    Each file is a document, and the model learns where documents end. Only the recipe's section
    "corpus" is used: the encoding, the characters that get an id, and the validation and test
    splits. charlm train tokenizes texts automatically; a corpus saves time if several runs share
    it.

    Examples:
      charlm tokenize book.txt --out corpus
        make a corpus from one document
      charlm tokenize texts --out corpus -s corpus.encoding=cp1252
        make a corpus from a folder of files that are not UTF-8
      charlm train corpus
        train on a corpus

    """
    from charlm.api.training import tokenize
    from charlm.text.findings import find_omissions

    with ProgressDisplay() as display:
        corpus = tokenize(**options, on_event=display)
    for omission in find_omissions(corpus):
        say(omission)
    print_result(f"{options['out']}: {corpus.summary}")
