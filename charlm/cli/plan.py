"""`charlm plan`: what `charlm train` would do, as a list or as JSON."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.command import Command
from charlm.cli.options import json_option, recipe_option, set_option, text_argument
from charlm.cli.output import fill, print_json, print_result, say, shows_progress, terminal_width

if TYPE_CHECKING:
    from charlm.api.planning import Plan

INDENT = 12


@click.command(cls=Command)
@text_argument
@recipe_option("the recipe that suits the size of the text")
@set_option
@json_option
def plan(*, as_json: bool, **options: Any) -> None:
    """Say what train would do: sizes, memory, steps and time.

    The arguments are those of train. A few steps are timed on this machine, and undone; nothing is trained, and nothing
    is left behind. The time is in hours, minutes and seconds, the memory in bytes (JSON) or gigabytes.

    Examples:
      charlm plan mytext.txt
        what the recipe that suits the text would do
      charlm plan mytext.txt -c shakespeare-15m -s training.epochs=5 --json
        another recipe, shorter, for a script

    """
    from charlm.api import planning

    if shows_progress():
        say("timing a few steps of training on this machine")
    found = planning.plan(**options, show_progress=shows_progress())
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
    from charlm.training.display import duration

    schedule, costs, network = plan.schedule, plan.costs, plan.architecture
    batches, advice, characters = schedule.batches, plan.advice, plan.text.splits["train"]
    windows = f"{batches.batch_size} windows of {', '.join(map(str, schedule.lengths))} characters each"
    teachers = [f"teachers {duration(costs.teacher_seconds)}"] if costs.teacher_seconds else []
    taken = "is taken" if plan.is_advised else "would be taken without -c"
    yield "text", plan.text.summary.split(", ")
    yield from (("problem", [finding.line]) for finding in plan.text.findings)
    yield "network", [f"{network.layers} x {network.units} {network.activation} units", f"{plan.parameters:,} weights"]
    yield "steps", [f"{schedule.total:,}", f"{schedule.epochs(schedule.total):.3g} epochs", windows]
    yield "memory", [f"{plan.memory_bytes / 1e9:.2g} GB, products in {plan.precision}"]
    yield (
        "time",
        [
            *(duration(plan.seconds), *teachers, f"start {plan.start_seconds:.1f} s"),
            f"a step {1000 * costs.step_seconds:.3g} ms",
            f"{plan.evaluations} evaluations of {1000 * costs.mark_seconds:.0f} ms",
            f"{batches.characters_per_step / costs.step_seconds:,.0f} characters/s",
        ],
    )
    yield "recipe", [f"{advice.options} suits {characters:,} characters of training and {taken}: {advice.reason}"]
    if advice.better is not None:
        yield "better", [f"-c {advice.better}", f"about {advice.times:g} times as long"]
