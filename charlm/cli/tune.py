"""`charlm tune`: searches for a better recipe, and says which it found."""

import shlex
import sys
from typing import Any

import click

from charlm.cli.command import Command
from charlm.cli.options import COUNT, PATH, POSITIVE, quiet_option, suggest_spaces, text_argument
from charlm.cli.output import print_result, say, shows_progress
from charlm.errors import counted


@click.command(cls=Command)
@click.argument(
    "space",
    type=PATH,
    metavar="SPACE.yaml",
    shell_complete=suggest_spaces,
    help="YAML file that names a recipe, and settings with ranges; or space, the one that comes with charlm.",
)
@text_argument
@click.option("--minutes", type=POSITIVE, metavar="X", required=True, help="Minutes after which this call ends.")
@click.option("--trials", type=COUNT, metavar="N", help="Trials at which the whole search ends.  [default: no limit]")
@click.option(
    "--trial-minutes",
    type=POSITIVE,
    metavar="X",
    help="Minutes that each trial trains.  [default: that of the search; for a new one, a twentieth of --minutes, at "
    "least half a minute]",
)
@click.option("--out", type=PATH, help="Folder of the search.  [default: runs/tune-<name of the space>]")
@quiet_option
def tune(**options: Any) -> None:
    """Search for a better recipe.

    Each trial is a run that trains for the same time; trials that are worse than half of the others at the same point
    end early. The best recipe is written as a YAML file for train. The same command again goes on with the search, even
    if it was interrupted.

    Examples:
      charlm tune space mytext.txt --minutes 60
        an hour over the search space that comes with charlm
      charlm tune mine.yaml mytext.txt --minutes 60 --trials 20 --out runs/mine
        at most 20 trials of another space

    """
    from charlm.network.rnn import bits, perplexity
    from charlm.training.signals import Stopped
    from charlm.tuning import search

    try:
        result = search.tune(**options, say=say, show_progress=shows_progress())
    except Stopped as stopped:
        say(f"{stopped}; the same command goes on with the search")
        raise
    states = [trial.state.name for trial in result.study.trials]
    say(f"{counted(len(states), 'trial')}: {states.count('PRUNED'):,} pruned, {states.count('FAIL'):,} failed")
    say(f"compare the trials with: charlm runs {shlex.quote(str(result.folder))}/trial-*")
    if result.best is None:
        say(f"{result.folder}: no trial is complete; the same command goes on with the search")
        sys.exit(1)
    best, nats = result.study.best_trial, result.study.best_value
    print_result(
        f"{result.best}: {nats:.4f} nats per character ({bits(nats):.4f} bits, perplexity {perplexity(nats):.2f}) on "
        f"the validation text: trial {best.number} of {len(states):,}"
    )
    say(f"train it with: {result.command}")
