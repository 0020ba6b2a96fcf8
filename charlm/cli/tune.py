"""`charlm tune`: searches for a better recipe, and says which it found."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER, POSITIVE, corpus_argument, quiet_option, suggest_spaces
from charlm.cli.output import print_result, say, shows_progress
from charlm.errors import counted

if TYPE_CHECKING:
    from charlm.tuning.search import SearchResult
EXAMPLES = {
    "charlm tune space mytext.txt --minutes 60": "an hour over the search space that comes with charlm",
    "charlm tune mine.yaml mytext.txt --minutes 60 --trials 20 --out runs/mine": "at most 20 trials of another space",
}


@click.command(cls=Command, examples=EXAMPLES)
@click.argument(
    "space",
    type=FOLDER,
    metavar="SPACE.yaml",
    shell_complete=suggest_spaces,
    help="YAML file that names a recipe, and settings with ranges; or space, the one that comes with charlm.",
)
@corpus_argument
@click.option("--minutes", type=POSITIVE, required=True, help="Minutes after which this call ends.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Number of trials of the whole search, earlier calls included, at which it ends.  [default: no limit]",
)
@click.option(
    "--trial-minutes",
    type=POSITIVE,
    help="Minutes that each trial trains.  [default: that of the search; for a new one, a twentieth of --minutes]",
)
@click.option("--out", type=FOLDER, help="Folder of the search.  [default: runs/tune-<name of the space>]")
@quiet_option
def tune(
    *,
    space: Path,
    corpus: tuple[Path, ...],
    minutes: float,
    trials: int | None,
    trial_minutes: float | None,
    out: Path | None,
) -> None:
    """Search for a better recipe.

    Each trial is a run that trains for the same time; trials that are worse than half of the others at the same point
    end early. The best recipe is written as a YAML file for train. The same command again goes on with the search, also
    after a kill.
    """
    from charlm.api import tuning
    from charlm.training.signals import Stopped

    try:
        result = tuning.tune(
            space,
            corpus or None,
            minutes=minutes,
            trials=trials,
            trial_minutes=trial_minutes,
            out=out,
            say=say,
            show_progress=shows_progress(),
        )
    except Stopped as stopped:
        say(f"{stopped}; the same command goes on with the search")
        raise
    _print_result(result)


def _print_result(result: "SearchResult") -> None:
    from charlm.network.rnn import bits, perplexity

    ended = sum(trial.state in {"complete", "pruned"} for trial in result.trials)
    pruned = sum(trial.state == "pruned" for trial in result.trials)
    say(f"{result.reason}: {counted(ended, 'trial')}, {pruned:,} of them pruned")
    best = result.best
    if best is None:
        say(f"{result.out}: the same command goes on with the search")
    else:
        nats = best.nats_per_char or 0.0
        print_result(
            f"{result.recipe}: {nats:.4f} nats per character ({bits(nats):.4f} bits, perplexity "
            f"{perplexity(nats):.2f}) on the validation text: trial {best.number} of {ended:,}"
        )
    say(f"compare the trials with: charlm runs {shlex.quote(str(result.out))}/trial-*")
    if result.signal is not None:
        sys.exit(128 + result.signal)
    if best is None:
        sys.exit(1)
