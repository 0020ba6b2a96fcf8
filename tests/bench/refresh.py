"""Compare ways to train on after a text has grown: number of steps and learning rate.

    PYTHONPATH=tests python -m bench.refresh TEXT... --growths 0.05 0.2

For each text and growth g, the recipe trains on the first 1 / (1 + g) of the text. Then new runs on
the whole text start from these weights (`--init`), for a share of the recipe's steps and with a
share of its learning rate. The script prints by how much the loss of the last weights on the
validation part of the whole text differs from that of the initial weights, in nats per character.
Training again from random weights is the last row.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import charlm

STEPS = (0.05, 0.2, 1.0)
RATES = (0.1, 1 / 3, 1.0)


def validation_losses(run: Path) -> list[float]:
    """Return the validation loss at each evaluation of a run, the first before the first step."""
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    metrics = [json.loads(line) for line in lines]
    return [line["nats_per_char"] for line in metrics if line["split"] == "validation"]


def measure(text: Path, growth: float, recipe: str, folder: Path) -> None:
    """Print the results for one text and growth."""
    whole = text.read_text("utf-8")
    before = folder / "before.txt"
    before.write_text(whole[: int(len(whole) / (1 + growth))], "utf-8")
    settings = ["sampling.length=0"]
    charlm.train(before, recipe=recipe, overrides=settings, run=folder / "before")
    new = charlm.train(text, recipe=recipe, overrides=settings, run=folder / "new")
    config = charlm.load(folder / "new").config
    for number, (steps, rate) in enumerate(itertools.product(STEPS, RATES)):
        overrides = [
            *settings,
            f"training.steps={max(1, round(steps * new.step))}",
            f"training.optimizer.learning_rate={rate * config.training.optimizer.learning_rate}",
        ]
        run = folder / str(number)
        charlm.train(text, recipe=recipe, overrides=overrides, init=folder / "before", run=run)
        first, *_, last = validation_losses(run)
        print(
            f"{text.name}, {growth:+.0%}, {steps:.0%} of the steps, {rate:.2f} of the rate: "
            f"{first:.4f} {last - first:+.4f}",
            flush=True,
        )
    from_scratch = validation_losses(folder / "new")[-1]
    print(f"{text.name}, {growth:+.0%}, a new network: {from_scratch - first:+.4f}", flush=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--growths", nargs="+", type=float, default=[0.05, 0.2])
    parser.add_argument("--recipe", default="default")
    options = parser.parse_args()
    for text, growth in itertools.product(options.texts, options.growths):
        with tempfile.TemporaryDirectory() as folder:
            measure(text, growth, options.recipe, Path(folder))


if __name__ == "__main__":
    main()
