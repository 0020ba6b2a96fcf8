"""The models of a server, which are reloaded when their files are replaced."""

import asyncio
import re
from pathlib import Path

import pytest
from models import make_random_model

pytest.importorskip("starlette", reason="missing: starlette")

from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.network.model_file import write_model
from charlm.serving.models import ServedModel, Shelf, open_shelf


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Write two models of one vocabulary, from the steps 0 and 1."""
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for step, path in enumerate(paths):
        write_model(path, make_random_model(seed=step, facts={"step": step}))
    return paths


def steps_of(shelf: Shelf) -> list[int]:
    """Return the steps of the models on a shelf."""

    async def find_all() -> list[ServedModel]:
        return [await shelf.find(name) for name in shelf.names]

    return [model.trained.facts["step"] for model in asyncio.run(find_all())]


def test_models_have_the_names_of_their_files(models: list[Path]) -> None:
    assert open_shelf(models).names == ("one", "two")


def test_a_replaced_model_is_reloaded(models: list[Path]) -> None:
    events: list[Event] = []
    shelf = open_shelf(models, on_event=events.append)
    assert steps_of(shelf) == [0, 1]
    write_model(models[0], make_random_model(facts={"step": 7}))
    assert steps_of(shelf) == [7, 1]
    assert events == [Note("one: the file was replaced; serving the new model")]


def test_a_damaged_file_is_reported_once_while_the_old_model_is_served(models: list[Path]) -> None:
    events: list[Event] = []
    shelf = open_shelf(models[:1], on_event=events.append)
    models[0].write_bytes(models[0].read_bytes()[:-1])
    assert [steps_of(shelf), steps_of(shelf)] == [[0], [0]]
    (event,) = events
    assert isinstance(event, Note)
    assert re.match("one: .*, but the old model is still served: .*damaged", event.message)


def test_a_missing_file_leaves_the_old_model(models: list[Path]) -> None:
    shelf = open_shelf(models[:1])
    models[0].unlink()
    assert steps_of(shelf) == [0]


def test_an_intact_file_is_loaded_after_a_damaged_one(models: list[Path]) -> None:
    shelf = open_shelf(models[:1])
    models[0].write_bytes(b"")
    assert steps_of(shelf) == [0]
    models[1].replace(models[0])
    assert steps_of(shelf) == [1]


def test_models_of_one_run_have_the_names_of_their_files(trained_run: Path) -> None:
    shelf = open_shelf([trained_run, trained_run / "last.safetensors"])
    assert shelf.names == (f"{trained_run.name}-best", f"{trained_run.name}-last")


def test_a_model_cannot_be_served_twice(trained_run: Path) -> None:
    message = f"another model is called {trained_run.name}-best too"
    with pytest.raises(CharlmError, match=message):
        open_shelf([trained_run, trained_run / "best.safetensors"])
