"""The validation loss of each recipe within a time limit, and the recipe that charlm chooses there.

    python tests/bench/grid.py TEXT... --minutes 0.5 1 2 4 --recipes quick default shakespeare 5mb

Every cell of the table is the result of `charlm train TEXT -c RECIPE --minutes N`. A recipe can be
changed, for instance `shakespeare:training.batch_size=32`. The last column is the recipe that
`charlm plan TEXT --minutes N` chooses. Run it on an idle machine, where more steps fit into the
time. A slow machine behaves like a fast one with a shorter limit.

docs/recipes.md has the results, and how its texts were made.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def charlm(*arguments: str) -> str:
    """Return what a command of charlm prints on standard output."""
    command = [sys.executable, "-m", "charlm", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def options(recipe: str) -> list[str]:
    """Return the options for a recipe, or for NAME:KEY=VALUE,KEY=VALUE."""
    name, _, settings = recipe.partition(":")
    found = ["-c", name]
    for setting in filter(None, settings.split(",")):
        found += ["-s", setting]
    return found


def train(
    text: Path,
    minutes: float,
    recipe: str,
) -> float:
    """Train within a time limit, and return the validation loss, in nats per character."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        charlm("train", str(text), *options(recipe), "--minutes", str(minutes), "-r", run, "-q")
        (found,) = json.loads(charlm("runs", run, "--json"))
    loss: float = found["nats_per_char"]
    return loss


def choice(text: Path, minutes: float) -> str:
    """Return the recipe that is chosen for a time limit."""
    plan: dict[str, Any] = json.loads(
        charlm("plan", str(text), "--minutes", str(minutes), "--json")
    )
    recipe: str = plan["recipe"]
    return recipe


def row(text: Path, minutes: float, recipes: Sequence[str]) -> str:
    """Return a row of the table: the loss of each recipe, the lowest in bold, and the choice."""
    losses = [train(text, minutes, recipe) for recipe in recipes]
    lowest = min(losses)
    cells = [f"**{loss:.3f}**" if loss == lowest else f"{loss:.3f}" for loss in losses]
    return f"| {text.stem} | {minutes:g} | {' | '.join(cells)} | {choice(text, minutes)} |"


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--minutes", nargs="+", type=float, default=[0.5, 1, 2, 4])
    parser.add_argument(
        "--recipes", nargs="+", default=["quick", "small", "default", "shakespeare", "5mb"]
    )
    given = parser.parse_args()
    print(f"| text | minutes | {' | '.join(given.recipes)} | choice |")
    print("|" + "---|" * (len(given.recipes) + 3))
    for text in given.texts:
        for minutes in given.minutes:
            print(row(text, minutes, given.recipes), flush=True)


if __name__ == "__main__":
    main()
