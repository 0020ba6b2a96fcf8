"""Make the golden files of the present format: a bundle, and a run that can be resumed.

    python tests/golden/make.py

They show that files of earlier versions of charlm can still be read. So the files of a released format are never made
again, even if this script changes. The folders are numbered by the format of checkpoints. If a format changes, raise
its number, let this script write the next folder, and commit both. The script never overwrites a folder.
"""

import contextlib
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from charlm.cli.main import main as charlm
from charlm.config.file import dump_config
from charlm.config.schema import Config
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle, read_bundle, write_bundle
from charlm.network.rnn import parameters_from_tensors
from charlm.runs.folder import CHECKPOINTS, METRICS_FILE
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.text.vocabulary import Vocabulary
from charlm.training import checkpoints

TEXT = "the cat sat on the mat.\n" * 40
SETTINGS = (
    *("model.units=6", "model.layers=2", "training.batch_size=4", "training.sequence_length=8", "training.parts=2"),
    *("training.steps=10", "training.evaluate_every=5", "training.checkpoint_every=5", "training.kernel=tensorflow"),
    "sampling.length=0",
)


def make(folder: Path) -> None:
    """Write bundle/, run/ and expected.json into a new folder."""
    folder.mkdir()
    _make_bundle(folder / "bundle")
    _make_run(folder / "run")
    expected = {
        str(bundle.relative_to(folder)): _describe(read_bundle(bundle))
        for bundle in (folder / "bundle", folder / "run/best", folder / "run/last")
    }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


def _make_bundle(folder: Path) -> None:
    architecture = Architecture(7, 2, 3, 2, True, "tanh", True)
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    vocabulary = Vocabulary(("\n", " ", "a", "é", "😀", None, None), unknown_id=5, end_of_text_id=6)
    parameters = parameters_from_tensors(tensors, activation="tanh", skip_connections=True)
    facts = {"step": 7, "epoch": 1.5, "score": {"split": "validation", "nats_per_char": 1.25}}
    write_bundle(folder, Bundle(architecture, parameters, vocabulary, dump_config(Config()), facts))


def _make_run(folder: Path) -> None:
    """Train for ten steps; keep one checkpoint, and nothing that depends on this machine."""
    with TemporaryDirectory() as scratch:
        with contextlib.chdir(scratch):
            Path("text.txt").write_text(TEXT, encoding="utf-8")
            settings = [argument for setting in SETTINGS for argument in ("-s", setting)]
            charlm(["train", "text.txt", "-c", "tiny", *settings, "-r", "run"], standalone_mode=False)
        run = Path(scratch) / "run"
        kept = checkpoints.restore(run / CHECKPOINTS, warn=print)
        shutil.rmtree(run / CHECKPOINTS)
        for path in (*run.glob(".*"), *run.glob("events.*")):
            path.unlink()
        sizes = {METRICS_FILE: kept.facts.file_sizes[METRICS_FILE]}
        facts = kept.facts.model_copy(update={"file_sizes": sizes})
        checkpoints.save(run / CHECKPOINTS, checkpoints.Checkpoint(kept.tensors, facts))
        shutil.copytree(run, folder)


def _describe(bundle: Bundle) -> dict[str, object]:
    """Return all weights by the names of their tensors, and the most likely text."""
    text = str(generate_text(bundle, TextRequest(40, Sampler(temperature=0), seed=0, ignore_end=True)))
    weights = {name: tensor.tolist() for name, tensor in bundle.parameters.tensors().items()}
    return {"weights": weights, "text": text}


if __name__ == "__main__":
    make(Path(__file__).parent / f"format-{checkpoints.FORMAT}")
