"""The commands that train or lead to it: `train`, `plan`, `tokenize` and `tune`."""

import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.command import (
    COUNT,
    PATH,
    POSITIVE,
    Command,
    json_option,
    missing_package,
    quiet_option,
    recipe_option,
    set_option,
    suggest_runs,
    text_argument,
    training_options,
)
from charlm.cli.output import cut, fill, print_json, print_result, say, terminal_width
from charlm.cli.progress import ProgressDisplay, describe
from charlm.wording import as_argument, counted, duration, short_duration, short_number

if TYPE_CHECKING:
    from charlm.api.training import Plan
    from charlm.training.checkpoints import Progress
    from charlm.training.outcome import Outcome
    from charlm.training.signals import Stopped
    from charlm.training.suggestion import Suggestion

SAMPLE_COLUMNS = 70
"""How much of a sample is shown at the end."""


@click.command(cls=Command)
@training_options
@click.option(
    "-r",
    "--run",
    type=PATH,
    shell_complete=suggest_runs,
    help="Folder of the run, missing or empty; with --resume, it may hold the run.  [default: runs/<time>-<text>]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue --run, or the newest run that has not ended, or the newest. With TEXT: continue --run if it holds a "
    "run on this text, else begin it.",
)
@json_option
@quiet_option
def train(*, resume: bool, as_json: bool, **options: Any) -> None:
    """Train a model on a text.

    A run is a folder with the settings, the text as ids, the log of training, and the models best.safetensors and
    last.safetensors. Ctrl-C writes a checkpoint first; --resume continues from there as if nothing had happened.

    Examples:
      charlm train mytext.txt
        train with the recipe that is chosen for the text
      charlm train mytext.txt -c shakespeare -s model.units=256 -r runs/small
        another recipe, a setting, a folder
      charlm train mytext.txt --minutes 10
        the recipe and the steps that give the lowest loss in ten minutes
      charlm train --resume
        continue the newest run that has not ended
      charlm train mytext.txt -r runs/nightly --resume
        continue the run in runs/nightly if there is one, else begin it

    """
    new = {name: options.pop(name) for name in ("text", "recipe", "init")}
    is_known_run = resume and not any(new.values())
    if resume and not is_known_run and options["run"] is None:
        raise click.UsageError(
            "--resume with a text, a recipe or initial weights needs the folder of the run: --run"
        )
    with ProgressDisplay(
        first_line="opening the run" if is_known_run else "reading the text"
    ) as display:
        from charlm.api import training
        from charlm.training.signals import Stopped

        call = training.resume if is_known_run else partial(training.train, **new, resume=resume)
        try:
            outcome = call(**options, on_event=display)
        except Stopped as stopped:
            say(f"{stopped}; {_what_is_kept(stopped)}")
            raise
    if outcome.worker != 0:
        say(f"{outcome.reason}; the run is on worker 0")
    elif as_json:
        print_json(_to_json(outcome))
    else:
        _print_outcome(outcome)
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)


def _print_outcome(outcome: "Outcome") -> None:
    """Print how a training ended, what its model is worth, and what to do next."""
    progress, folder = outcome.progress, outcome.folder
    say(f"{outcome.reason}{_time_taken(progress)}")
    if outcome.signal is not None:
        say(_how_to_resume(folder))
        return
    run = as_argument(folder)
    if outcome.nats_per_char is not None:
        print_result(
            f"{folder}: {outcome.nats_per_char:.4f} nats per character on {outcome.measured_on}"
        )
    for line in _verdict(outcome):
        print_result(f"  {line}")
    if outcome.suggestion is not None:
        say(_suggestion(outcome.suggestion, outcome))
    for name, sample in {
        "the best model": outcome.sample,
        "the last model": outcome.last_sample,
    }.items():
        if words := " ".join(sample.split()):
            label = f"{name} generates" if outcome.last_sample else "it generates"
            say(f"{label}: {cut(words, SAMPLE_COLUMNS - len(label) + len('it generates'))}")
    say(f"generate text: charlm sample {run}")
    say(f"see what it does: charlm inspect {run} --out report.html")


def _time_taken(progress: "Progress") -> str:
    """Return how long a run has taken, as the end of a line; "" for a run without steps."""
    if not progress.step:
        return ""
    evaluating = max(0, progress.elapsed_seconds - progress.seconds)
    return (
        f": {counted(progress.step, 'step')} in {duration(progress.seconds)}, plus {duration(evaluating)} for "
        f"evaluations, samples and checkpoints"
    )


def _verdict(outcome: "Outcome") -> Iterator[str]:
    """Yield what the score of a training on validation text is worth."""
    if outcome.split != "validation":
        return
    progress, comparison = outcome.progress, outcome.comparison
    if comparison is not None and comparison.verdict != "not compared":
        yield str(comparison)
    if not progress.step:
        return
    if outcome.is_uncertain:
        yield "fewer than 2,400 characters of validation text: which model is the best is uncertain;"
        yield f"the last one is {outcome.folder}/last.safetensors"
    if progress.best_nats is not None and progress.best_step == 0:
        yield "no evaluation was better than the initial weights, which are in best.safetensors"
    elif outcome.difference is not None and progress.best_step != progress.step:
        best = f"best at step {progress.best_step:,} of {progress.step:,}"
        yield f"{best}; the last evaluation is {outcome.difference} above it"


def _to_json(outcome: "Outcome") -> dict[str, Any]:
    """Return how a training ended as plain data, with the command that a suggestion means."""
    found = outcome.to_json()
    if outcome.suggestion is not None:
        command = _suggested_command(outcome.suggestion, outcome)
        found["suggestion"] = {**found["suggestion"], "command": command}
    return found


def _suggestion(suggestion: "Suggestion", outcome: "Outcome") -> str:
    """Return a suggestion as a line, with the command that follows it."""
    from charlm.inspection.next_steps import REASONS

    command = _suggested_command(suggestion, outcome)
    return REASONS[suggestion.kind] if command is None else f"{REASONS[suggestion.kind]}: {command}"


def _suggested_command(suggestion: "Suggestion", outcome: "Outcome") -> str | None:
    """Return the command that follows a suggestion; None if there is nothing to run."""
    from charlm.inspection.next_steps import suggested_command

    return suggested_command(
        suggestion, outcome.folder, has_initial_weights=outcome.has_initial_weights
    )


def _what_is_kept(stopped: "Stopped") -> str:
    """Return what is left of a training that was stopped before its first step."""
    if stopped.run is None:
        return "nothing was trained, and nothing is kept"
    unchanged = "" if stopped.is_saved else "the run is as it was; "
    return f"{unchanged}{_how_to_resume(stopped.run)}"


def _how_to_resume(folder: Path) -> str:

    return f"continue with: charlm train --resume -r {as_argument(folder)}"


INDENT = 12


@click.command(cls=Command)
@training_options
@json_option
def plan(*, as_json: bool, **options: Any) -> None:
    """Show what train would do with the same arguments: recipe, sizes, memory, steps and time.

    A few steps are timed on this machine, and undone; nothing is trained, and nothing is left behind. The time is in
    hours, minutes and seconds, the memory in bytes (JSON) or gigabytes.

    Examples:
      charlm plan mytext.txt
        what charlm train mytext.txt would do
      charlm plan mytext.txt --minutes 10
        the recipe and the steps for ten minutes
      charlm plan mytext.txt -c shakespeare-15m -s training.epochs=5 --json
        another recipe, shorter, for a script

    """
    with ProgressDisplay(first_line="reading the text") as display:
        from charlm.api import training

        found = training.plan(**options, on_event=display)
    if as_json:
        print_json(found.to_json())
    else:
        print_result(*_lines(found, width=terminal_width()))


def _lines(plan: "Plan", *, width: int) -> Iterator[str]:
    """Yield the plan as lines of `subject  facts`; facts that do not fit continue below."""
    for subject, facts in _facts(plan):
        lines = fill(facts, width=width, indent=INDENT)
        yield subject.ljust(INDENT) + lines[0].strip()
        yield from lines[1:]


def _facts(plan: "Plan") -> Iterator[tuple[str, list[str]]]:
    """Yield the subjects of a plan, each with its facts."""
    schedule, costs, network, decision = plan.schedule, plan.costs, plan.architecture, plan.decision
    batches = schedule.batches
    windows = f"{counted(batches.batch_size, 'window')} of {', '.join(map(str, schedule.lengths))} characters each"
    before = {"teachers": costs.teacher_seconds, "n-grams": costs.ngram_seconds}
    yield "text", plan.corpus.summary.split(", ")
    yield from (("problem", [problem]) for problem in plan.problems)
    named = decision.reason or "named by you"
    yield "recipe", [f"{decision.recipe}: {named}"]
    yield from (("note", [" ".join(describe(note))]) for note in decision.notes)
    yield (
        "network",
        [
            f"{network.layers} x {network.units} {network.activation} units",
            f"{network.size:,} weights",
        ],
    )
    epochs = short_number(schedule.epochs(schedule.total))
    yield "steps", [f"{schedule.total:,}", f"{epochs} epochs", windows]
    yield "memory", [f"{plan.memory_bytes / 1e9:,.1f} GB"]
    yield "precision", [f"{decision.precision.name}: {decision.precision.reason}"]
    limit = "" if decision.minutes is None else f" of {decision.minutes:g} min"
    preparations = [
        f"{name} {short_duration(seconds)}" for name, seconds in before.items() if seconds
    ]
    yield (
        "time",
        [
            f"{short_duration(plan.seconds)}{limit} in all",
            f"start {short_duration(plan.start_seconds)}",
            *preparations,
            f"{short_duration(costs.step_seconds)} per step",
            f"{counted(plan.evaluations, 'evaluation')} of {short_duration(costs.evaluation_seconds)} each",
            f"end {short_duration(costs.end_seconds)}",
        ],
    )
    yield (
        "speed",
        [f"{batches.characters_per_step / costs.step_seconds:,.0f} characters per second"],
    )
    if decision.better is not None:
        yield "better", [f"-c {decision.better} scores better and takes several times as long"]


@click.command(cls=Command)
@click.argument(
    "sources",
    nargs=-1,
    required=True,
    type=PATH,
    metavar="PATH...",
    help="Text: a file, a folder, a .gz file, or - for standard input.",
)
@click.option(
    "--out", required=True, type=PATH, help="Folder to write; it must be missing or empty."
)
@recipe_option("default")
@set_option
@quiet_option
def tokenize(**options: Any) -> None:
    """Turn text into a corpus on disk.

    Each file is a document; the model learns where one ends. Of the recipe, only the section corpus is used: it says
    how the text is decoded, what gets an id, and which parts are for validation and test. Training on a text makes its
    corpus by itself; a corpus on disk pays if several runs share it.

    Examples:
      charlm tokenize book.txt --out corpus
        a corpus of one document
      charlm tokenize texts --out corpus -s corpus.encoding=cp1252
        the files of a folder, which are not UTF-8
      charlm train corpus
        train on it

    """
    from charlm.api.training import tokenize
    from charlm.text.findings import find_omissions

    with ProgressDisplay() as display:
        corpus = tokenize(**options, on_event=display)
    for finding in find_omissions(corpus):
        say(finding)
    print_result(f"{options['out']}: {corpus.summary}")


@click.command(cls=Command)
@click.argument(
    "space",
    type=PATH,
    metavar="SPACE.yaml",
    help="YAML file that names a recipe, and settings with ranges; or space, the one that comes with charlm.",
)
@text_argument
@click.option(
    "--minutes",
    type=POSITIVE,
    metavar="X",
    required=True,
    help="Minutes after which this call ends.",
)
@click.option(
    "--trials",
    type=COUNT,
    metavar="N",
    help="Trials at which the whole search ends.  [default: no limit]",
)
@click.option(
    "--trial-minutes",
    type=POSITIVE,
    metavar="X",
    help="Minutes that each trial trains.  [default: that of the search; for a new one, a twentieth of --minutes, at "
    "least half a minute]",
)
@click.option(
    "--out", type=PATH, help="Folder of the search.  [default: runs/tune-<name of the space>]"
)
@quiet_option
def tune(**options: Any) -> None:
    """Search for a better recipe.

    Each trial is a run that trains for the same time; trials that are worse than half of the others at the same point
    end early. The best recipe is written as a YAML file for train. The same command again continues the search, even
    if it was interrupted.

    Examples:
      charlm tune space mytext.txt --minutes 60
        an hour over the search space that comes with charlm
      charlm tune mine.yaml mytext.txt --minutes 60 --trials 20 --out runs/mine
        at most 20 trials of another space

    """
    from charlm.evaluation.scoring import bits, perplexity
    from charlm.training.signals import Stopped

    try:
        from charlm.tuning.search import tune as search
    except ModuleNotFoundError as error:
        raise missing_package("tune", error) from None
    try:
        with ProgressDisplay() as display:
            result = search(**options, on_event=display)
    except Stopped as stopped:
        say(f"{stopped}; the same command continues the search")
        raise
    states = [trial.state.name for trial in result.study.trials]
    say(
        f"{counted(len(states), 'trial')}: {states.count('PRUNED'):,} pruned, {states.count('FAIL'):,} failed"
    )
    say(f"compare the trials with: charlm runs {shlex.quote(str(result.folder))}/trial-*")
    best, nats = result.study.best_trial, result.study.best_value
    print_result(
        f"{result.best}: {nats:.4f} nats per character ({bits(nats):.4f} bits, perplexity {perplexity(nats):.2f}) on "
        f"the validation text: trial {best.number} of {len(states):,}"
    )
    text = "".join(f" {shlex.quote(source)}" for source in result.sources)
    say(f"train it with: charlm train{text} -c {as_argument(result.best)}")
