"""The recipe that a text gets if none is named, and the run that begins with it."""

from pathlib import Path
from typing import Any

import pytest

from charlm.api.beginning import Beginning, begin
from charlm.config.file import load_config
from charlm.config.recipes import SUITED, find_recipe
from charlm.errors import CharlmError
from charlm.runs.run import open_run
from charlm.training.signals import StopRequest

SHORT, MEDIUM, LONG, LONGEST = 1000, 100_000, 1_000_000, 6_000_000


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def begin_with(characters: int | None, **arguments: Any) -> Beginning:
    """Begin a run on a text of some characters; None = without a text."""
    if characters is not None:
        Path("text.txt").write_text(("abba\n" * characters)[:characters], encoding="utf-8")
    defaults: dict[str, Any] = {"recipe": None, "overrides": (), "minutes": None, "folder": None}
    request = StopRequest()
    text = None if characters is None else Path("text.txt")
    return begin(text, request=request, show_progress=False, **{**defaults, **arguments})


@pytest.mark.parametrize(
    ("characters", "recipe", "minutes"),
    [(SHORT, "small", None), (MEDIUM, "default", None), (LONG, "shakespeare", None), (LONGEST, "5mb", 10)],
)
def test_a_text_alone_gets_the_recipe_for_its_size_and_a_folder_named_by_it(
    characters: int, recipe: str, minutes: float | None
) -> None:
    begun = begin_with(characters)
    assert (begun.is_advised, begun.advice.recipe, begun.minutes) == (True, recipe, minutes)
    assert [path.name for path in Path("runs").iterdir()] == [begun.run.folder.name]
    assert begun.run.folder.name.endswith(f"-{recipe}")
    expected = load_config(find_recipe(recipe))
    found = open_run(begun.run.folder)
    assert (found.config, found.corpus.folder) == (begun.run.config, begun.run.corpus.folder)
    assert found.config.model == expected.model
    assert found.config.training.optimizer == expected.training.optimizer


@pytest.mark.parametrize("overrides", [["model.units=9", "corpus.min_count=2"], {"model.units": 9}])
def test_what_the_user_gives_counts_more_than_the_advice(overrides: Any) -> None:
    config = begin_with(SHORT, overrides=overrides).run.config
    assert config.model.units == 9
    assert config.training.batch_size == load_config(find_recipe("small")).training.batch_size
    assert config.corpus.min_count == (2 if isinstance(overrides, list) else 1)


@pytest.mark.parametrize(
    ("arguments", "minutes"),
    [({"minutes": 3}, 3), ({"overrides": ["training.epochs=1"]}, None), ({"overrides": {"training.steps": 9}}, None)],
)
def test_a_length_that_the_user_gives_takes_the_place_of_the_minutes_of_the_advice(
    arguments: dict[str, Any], minutes: float | None
) -> None:
    assert begin_with(LONGEST, **arguments).minutes == minutes


@pytest.mark.parametrize(("characters", "recipe"), [(LONG, "tiny"), (None, None)])
def test_a_recipe_that_is_named_and_the_plays_are_left_as_they_are(characters: int | None, recipe: str | None) -> None:
    begun = begin_with(characters, recipe=recipe)
    assert not begun.is_advised
    assert begun.run.config.model == load_config(find_recipe(recipe or "default")).model
    assert begun.run.folder.name.endswith(f"-{recipe or 'default'}")


def test_a_folder_that_the_user_names_keeps_its_name() -> None:
    assert begin_with(LONG, folder=Path("mine")).run.folder == Path("mine")


def test_a_setting_that_does_not_go_with_the_advice_leaves_nothing_behind() -> None:
    Path("mine.yaml").write_text("training: {epochs: null, steps: 5}", encoding="utf-8")
    with pytest.raises(CharlmError, match="epochs or steps must be given"):
        begin_with(LONG, overrides=["training.epochs=null"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("advice", [advice for _, advice in SUITED], ids=lambda advice: advice.options)
def test_every_advice_is_a_recipe_that_comes_with_charlm(advice: Any) -> None:
    load_config(find_recipe(advice.recipe))
    if advice.better is not None:
        load_config(find_recipe(advice.better.recipe))
