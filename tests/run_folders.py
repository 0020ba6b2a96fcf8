"""Run folders without a training: the files that commands and summaries look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charlm.config.file import dump_config, parse_config
from charlm.core.model_file import TrainedModel, write_model


def names(folder: Path) -> list[str]:
    """Return what a folder contains, in order."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return the bytes of all files under a folder except locks; None = a folder or a dead link."""
    paths = [path for path in folder.rglob("*") if path.name != ".lock"]
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in paths
    }


def metrics_line(**metrics: Any) -> str:
    """Return a line of metrics.jsonl for the training text."""
    return json.dumps({"split": "train", **metrics}) + "\n"


def make_run(folder: Path, *, metrics: str = "", **model: Any) -> Path:
    """Make a run without a model, with some settings in the section `model`."""
    folder.mkdir(parents=True)
    config = parse_config({"model": model}, origin="test")
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (folder / "metrics.jsonl").write_text(metrics, encoding="utf-8")
    return folder


def make_scored_run(
    folder: Path,
    trained: TrainedModel,
    nats: float,
    *,
    split: str = "validation",
    block_means: Sequence[float] = (),
    **model: Any,
) -> Path:
    """Make a run whose best model has a score; training 1,000 characters took two seconds."""
    run = make_run(folder, metrics=metrics_line(step=9, characters=1000, seconds=2.0), **model)
    score = {"split": split, "nats_per_char": nats, "block_means": [*block_means]}
    facts = {"step": 7, "epoch": 1.0, "score": score}
    write_model(run / "best.safetensors", TrainedModel(**{**vars(trained), "facts": facts}))
    return run


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bit(path: Path, position: int) -> None:
    """Flip a bit of a byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def replace_by_folder(path: Path) -> None:
    """Replace a file by a folder."""
    path.unlink()
    path.mkdir()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of the metrics.jsonl of a run."""
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_events(folder: Path) -> Any:
    """Return everything that TensorBoard reads in a folder with event files."""
    from tensorboard.backend.event_processing import plugin_event_accumulator

    events = plugin_event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


EVENT_FOLDERS = (".", "train", "validation", "8-gram")
"""The folders of a run that have event files."""


def event_files(run: Path) -> dict[str, list[str]]:
    """Return the names of the event files in each folder of a run."""
    paths = sorted(run.rglob("*tfevents*"))
    folders = dict.fromkeys(str(path.parent.relative_to(run)) for path in paths)
    return {name: [path.name for path in paths if path.parent == run / name] for name in folders}


def event_steps(run: Path) -> dict[str, list[int]]:
    """Return the steps of each FOLDER/TAG that TensorBoard shows of a run.

    An event replaces an earlier one of its tag and step: TensorBoard's data server does that, the
    reader in Python does not. A run that was killed between its logs and its checkpoint has both.
    """
    steps: dict[str, list[int]] = {}
    for name in event_files(run):
        events = read_events(run / name)
        for tag in events.Tags()["tensors"]:
            steps[f"{name}/{tag}"] = sorted({event.step for event in events.Tensors(tag)})
    return steps
