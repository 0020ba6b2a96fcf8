"""Make the golden files of the present format: a model, and an interrupted run.

    python tests/golden/make.py

They show that files of earlier versions of charlm can still be read. So the files of a released
format are never written again, even if this script changes. The folders are numbered by the format
of model files. If it changes, increase its number, write the next folder with this script, and
commit both. The script never overwrites a folder.
"""

import contextlib
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import charlm
from charlm.config.schema import Config, ModelConfig
from charlm.events import Evaluated, Event
from charlm.network.architecture import architecture
from charlm.network.generation import TextRequest, generate_text
from charlm.network.model_file import FORMAT, TrainedModel, read_model, write_model
from charlm.network.rnn import Parameters
from charlm.network.sampler import Sampler
from charlm.text.vocabulary import Vocabulary

TEXT = "the cat sat on the mat.\n" * 40
SETTINGS = (
    "model.units=6",
    "model.layers=2",
    "training.batch_size=4",
    "training.sequence_length=8",
    "training.parts=2",
    "training.steps=40",
    "training.evaluations=8",
    "training.kernel=keras",
    "sampling.length=0",
)
INTERRUPTED_AT = 10
"""Step at which the run is interrupted."""


def make(folder: Path) -> None:
    """Write a model, a run, and their weights and most likely texts into a new folder."""
    folder.mkdir()
    _make_model(folder / "model.safetensors")
    _make_run(folder / "run")
    expected = {}
    for name in ("model.safetensors", "run/best.safetensors", "run/last.safetensors"):
        model = read_model(folder / name)
        weights = {key: tensor.tolist() for key, tensor in model.parameters.tensors.items()}
        text = str(
            generate_text(model, TextRequest(40, Sampler(temperature=0), seed=0, ignore_end=True))
        )
        expected[name] = {"weights": weights, "text": text}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


def _make_model(path: Path) -> None:
    settings = ModelConfig(layers=2, units=3, embedding=2, skip_connections=True)
    config, vocabulary = (
        Config(model=settings),
        Vocabulary(("\n", " ", "a", "é", "😀", None, None), 5, 6),
    )
    shape = architecture(config, len(vocabulary))
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(size).astype(np.float32) for name, size in shape.shapes().items()
    }
    facts = {"step": 7, "epoch": 1.5, "score": {"split": "validation", "nats_per_char": 1.25}}
    write_model(
        path,
        TrainedModel(Parameters(shape, tensors), vocabulary, config.model_dump(mode="json"), facts),
    )


def _make_run(folder: Path) -> None:
    """Train for ten steps; keep one checkpoint, and nothing that depends on this machine."""
    with TemporaryDirectory() as scratch:
        with contextlib.chdir(scratch), contextlib.suppress(KeyboardInterrupt):
            Path("text.txt").write_text(TEXT, encoding="utf-8")
            charlm.train("text.txt", recipe="tiny", overrides=SETTINGS, run="run", on_event=_stop)
        names = (".lock", "*tfevents*", "train", "validation", "5-gram", "step-5.safetensors")
        shutil.copytree(Path(scratch) / "run", folder, ignore=shutil.ignore_patterns(*names))


def _stop(event: Event) -> None:
    """Interrupt the training after an evaluation."""
    if isinstance(event, Evaluated) and event.step == INTERRUPTED_AT:
        raise KeyboardInterrupt


if __name__ == "__main__":
    make(Path(__file__).parent / f"format-{FORMAT}")
