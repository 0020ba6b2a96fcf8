"""Files that earlier versions wrote, and files with a missing or an unknown key.

`make.py` made those of each version with that version.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import json_of
from formats.make import MODELS, expected
from models import change_model
from run_folders import contents

import charlm
from charlm.errors import CharlmError
from charlm.runs.run import read_outcome

VERSIONS = sorted(path.parent for path in Path(__file__).parent.glob("*/expected.json"))
CHECKPOINT = "unfinished/checkpoints/step-130.safetensors"


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Copy the files of a version."""
    return Path(shutil.copytree(request.param, tmp_path / "runs"))


def check_resumes(stored: Path) -> None:
    """Check that both runs are listed, and that the unfinished one ends like the other."""
    rows = {row["name"]: (row["state"], row["step"]) for row in json_of("runs", stored)}
    assert rows == {"ended": ("done", 200), "unfinished": ("stopped", 130)}
    whole = read_outcome(stored / "ended")
    outcome = charlm.resume(stored / "unfinished")
    assert whole is not None
    assert (outcome.step, outcome.best_step) == (whole.step, whole.best_step)
    assert outcome.nats_per_char == pytest.approx(whole.nats_per_char, abs=0.01)


def test_an_unfinished_run_of_an_earlier_version_is_resumed_to_its_end(stored: Path) -> None:
    before = contents(stored / "unfinished")
    check_resumes(stored)
    after = contents(stored / "unfinished")
    for name in ("config.yaml", "corpus/corpus.json", "corpus/ids.npy"):
        assert after[name] == before[name]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_an_earlier_version_has_the_same_texts_and_loss(
    model: str, stored: Path
) -> None:
    values = json.loads((stored / "expected.json").read_text(encoding="utf-8"))[model]
    nats = pytest.approx(values["nats_per_char"], rel=1e-5)
    assert expected(stored / model) == {**values, "nats_per_char": nats}


def edit(path: Path, key: str, value: Any = None) -> None:
    """Set a dotted key in a file, or remove it."""

    def change(values: Any) -> None:
        *sections, last = key.split(".")
        for name in sections:
            values = values[0] if isinstance(values, list) else values[name]
        values[last] = value
        if value is None:
            del values[last]

    if path.suffix == ".safetensors":
        change_model(path, change)
        return
    values = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def test_a_missing_value_has_its_default(stored: Path) -> None:
    for model in ("unfinished/best.safetensors", CHECKPOINT):
        edit(stored / model, "config.training.epochs")
        edit(stored / model, "config.model.skip_connections")
        edit(stored / model, "vocabulary.unknown_id")
    edit(stored / CHECKPOINT, "training.loop.pending_losses")
    edit(stored / "unfinished/config.yaml", "training.clip_norm")
    edit(stored / "unfinished/corpus/corpus.json", "rare")
    edit(stored / "ended/ended.json", "train_nats_per_char")
    check_resumes(stored)


WRITTEN = "written by charlm 0.2.0"


@pytest.mark.parametrize(
    ("read", "file", "key", "message"),
    [
        (charlm.resume, "config.yaml", "training.new", "no such key in version 0.2.0"),
        (charlm.resume, "corpus/corpus.json", "new", WRITTEN),
        (charlm.resume, "corpus/corpus.json", "sources.0.new", WRITTEN),
        (charlm.resume, CHECKPOINT, "training.loop.new", WRITTEN),
        (charlm.resume, CHECKPOINT, "config.model.new", WRITTEN),
        (charlm.load, "best.safetensors", "config.model.rnn.new", WRITTEN),
        (charlm.list_runs, "../ended/ended.json", "new", "written by charlm of a later version"),
    ],
)
def test_an_unknown_key_is_refused_with_the_version_that_wrote_it(
    read: Callable[[Path], object], file: str, key: str, message: str, stored: Path
) -> None:
    path = (stored / "unfinished" / file.removeprefix("unfinished/")).resolve()
    edit(path, key, 1)
    with pytest.raises(CharlmError) as error:
        read(stored / ("ended" if path.name == "ended.json" else "unfinished"))
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert f"{key}: " in line
    assert message in line
