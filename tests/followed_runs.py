"""Small runs of the real engine that `reference_training` follows step by step."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference_training import Settings, Trained
from reference_training import train as train_reference

import charlm
from charlm.core.model_file import read_tensors
from charlm.events import Evaluated, Event, StepsTaken
from charlm.runs.run import open_run
from charlm.text.corpus import Split

Floats = dict[str, NDArray[np.float32]]
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
    schedule = f"warmup_steps: {settings.warmup_steps}, final_fraction: {settings.final_fraction}"
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
    samples: dict[int, str]
    """Text generated at each evaluation, by its step."""

    def reference(self) -> Trained:
        """Return the results of the reference with the initial weights of the run."""
        return train_reference(self.weights(0), self.ids("train"), self.settings)

    def ids(self, split: Split) -> NDArray[np.int64]:
        """Return the ids of a part of the text."""
        return open_run(self.folder).corpus.split(split).astype(np.int64)

    def weights(self, step: int) -> Floats:
        """Return the weights at a step with a checkpoint."""
        _, _, tensors = self._checkpoint(step)
        weights: Floats = {}
        for name, tensor in tensors.items():
            section, _, own_name = name.partition("/")
            if section == "weights":
                weights[own_name] = tensor
        return weights

    def average(self, step: int) -> Floats:
        """Return the average of the weights at a step with a checkpoint."""
        _, _, tensors = self._checkpoint(step)
        return {name: tensors[name] for name in self.weights(step)}

    def _checkpoint(self, step: int) -> Any:
        return read_tensors(self.folder / f"checkpoints/step-{step}.safetensors")


def follow(folder: Path, settings: Settings, *overrides: str, text: str = TEXT) -> Followed:
    """Train a run in folder/run."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8")
    losses: list[float] = []
    samples: dict[int, str] = {}

    def note(event: Event) -> None:
        if isinstance(event, StepsTaken):
            losses.extend(event.losses)
        if isinstance(event, Evaluated):
            samples[event.step] = event.sample

    outcome = charlm.train(
        source,
        recipe="tiny",
        run=folder / "run",
        overrides=[*overrides_of(settings), *overrides],
        on_event=note,
    )
    return Followed(outcome.folder, settings, losses, samples)
