"""Served models, which are read again when their files are replaced."""

import asyncio
from pathlib import Path

import pytest
from models import make_random_model

pytest.importorskip("starlette", reason="missing: starlette")

from charlm.core.model_file import write_model
from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.serving.models import ServedModel, open_models


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a model of step 0."""
    return write(tmp_path / "one.safetensors", step=0)


def write(path: Path, *, step: int) -> Path:
    write_model(path, make_random_model(seed=step, facts={"step": step}))
    return path


def step_of(model: ServedModel) -> int:
    """Return the step of the newest version of a model."""
    asyncio.run(model.refresh())
    step: int = model.trained.facts["step"]
    return step


def test_a_replaced_model_is_read_again(path: Path) -> None:
    notes: list[Event] = []
    model = ServedModel("m", path, on_event=notes.append)
    assert step_of(model) == 0
    page = model.page
    write(path, step=7)
    assert (step_of(model), step_of(model)) == (7, 7)
    assert model.page != page
    assert notes == [Note("m: the file has changed; serving the new model")]


@pytest.mark.parametrize("data", [b"", None], ids=["damaged", "missing"])
def test_an_unusable_file_is_reported_once(data: bytes | None, path: Path) -> None:
    notes: list[Event] = []
    model = ServedModel("m", path, on_event=notes.append)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    assert (step_of(model), step_of(model)) == (0, 0)
    (note,) = notes
    assert isinstance(note, Note)
    assert note.message.startswith("m: the file has changed; still serving the old model: ")
    write(path, step=7)
    assert step_of(model) == 7


def test_a_model_outside_a_run_has_the_name_of_its_file(path: Path) -> None:
    other = write(path.with_name("two.safetensors"), step=1)
    models = open_models([path, other])
    assert {name: step_of(model) for name, model in models.items()} == {"one": 0, "two": 1}


def test_models_of_one_run_have_the_names_of_their_files(trained_run: Path) -> None:
    models = open_models([trained_run, trained_run / "last.safetensors"])
    assert [*models] == [f"{trained_run.name}-best", f"{trained_run.name}-last"]


def test_a_model_cannot_be_served_twice(path: Path) -> None:
    with pytest.raises(CharlmError, match="another model is called one too"):
        open_models([path, path])
