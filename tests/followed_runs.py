"""Small runs of the real engine that `reference_training` follows step by step."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reference_training import Settings, Trained
from reference_training import train as train_reference

import charlm
from charlm.events import Event, StepsTaken
from charlm.network.model_file import read_tensors
from charlm.runs.run import open_run

WORDS = [
    "a",
    "and",
    "at",
    "cat",
    "hat",
    "its",
    "mat",
    "on",
    "one",
    "rat",
    "run",
    "sat",
    "the",
    "to",
]
TEXT = " ".join(random.Random(0).choices(WORDS, k=900))
"""A text of words in random order."""
OPTIMIZERS = {
    "adam": Settings("adam", learning_rate=0.02, weight_decay=0.5),
    "adamw": Settings("adamw", learning_rate=0.02, weight_decay=2.0),
    "muon": Settings("muon", learning_rate=0.03, weight_decay=1.0, momentum=0.8),
    "sgd": Settings("sgd", learning_rate=0.5, weight_decay=0.02, momentum=0.9),
}


def overrides_of(settings: Settings) -> list[str]:
    """Return the settings of a run in the form of the command line."""
    optimizer = (
        f"name: {settings.name}, learning_rate: {settings.learning_rate}, "
        f"weight_decay: {settings.weight_decay}"
    )
    if settings.momentum:
        optimizer += f", momentum: {settings.momentum}"
    schedule = (
        f"name: cosine, warmup_steps: {settings.warmup_steps}, "
        f"final_fraction: {settings.final_fraction}"
    )
    return [
        "model={layers: 2, units: 24, embedding: 16, skip_connections: true}",
        f"training.optimizer={{{optimizer}}}",
        f"training.schedule={{{schedule}}}",
        f"seed={settings.seed}",
        f"training.batch_size={settings.batch_size}",
        f"training.sequence_length={settings.sequence_length}",
        f"training.steps={settings.steps}",
        f"training.clip_norm={settings.clip_norm}",
        f"training.average_momentum={settings.average_momentum}",
        "training.shuffle=true",
        "training.parts=1",
        "training.evaluations=1",
        "training.keep_checkpoints=true",
        "sampling.length=0",
    ]


@dataclass(frozen=True)
class Followed:
    """A run, and what is expected of it."""

    folder: Path
    settings: Settings
    losses: list[float]
    """Loss of each step."""

    def reference(self) -> Trained:
        """Return the results of the reference with the initial weights of the run."""
        _, _, tensors = read_tensors(self.folder / "checkpoints/step-0.safetensors")
        ids = open_run(self.folder).corpus.split("train").astype(np.int64)
        return train_reference(trained_weights(tensors), ids, self.settings)


def trained_weights(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights in a checkpoint that is kept with their average."""
    return {
        name.removeprefix("weights/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("weights/")
    }


def follow(folder: Path, settings: Settings, *overrides: str, text: str = TEXT) -> Followed:
    """Train a run in folder/run."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8")
    losses: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, StepsTaken):
            losses.extend(event.losses)

    outcome = charlm.train(
        source,
        recipe="tiny",
        run=folder / "run",
        overrides=[*overrides_of(settings), *overrides],
        on_event=note,
    )
    return Followed(outcome.folder, settings, losses)
