"""What is settled before a training: the recipe that a text gets, every setting, the memory, and the time."""

import math
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from corpora import make_corpus, write_plays
from fake_engine import FakeEngines
from models import weights_of

import charlm
from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, ModelConfig, OptimizerConfig, TrainingConfig
from charlm.errors import CharlmError
from charlm.hardware import core_count
from charlm.training.preparation import Preparation, Text, check_memory, describe_advice, new_engine, prepare, text_name
from charlm.training.signals import Session
from charlm.training.timing import check_minutes

SHORT, MEDIUM, LONG, LONGEST = 1000, 100_000, 1_000_000, 6_000_000
QUICK = {"training.log_every": 1000, "training.evaluations": 1}


def prepare_text(text: Text | int, recipe: str | None = None, overrides: Overrides = ()) -> Preparation:
    """Prepare a training on a text, or one of some characters, which is tokenized into a new folder."""
    if isinstance(text, int):
        Path("text.txt").write_text(("abba\n" * text)[:text], encoding="utf-8")
        text = Path("text.txt")
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    options: dict[str, Any] = {"folder": folder, "engines": FakeEngines(), "session": Session()}
    return prepare(text, recipe=recipe, overrides=parse_overrides(overrides), **options)


@pytest.mark.parametrize(
    ("characters", "recipe", "minutes", "better"),
    [
        (SHORT, "small", None, []),
        (MEDIUM, "default", None, None),
        (LONG, "shakespeare", None, ["shakespeare-15m"]),
        (LONGEST, "5mb", 10, None),
    ],
)
def test_a_text_alone_gets_the_recipe_for_its_size_and_the_user_is_told_of_a_better_one(
    characters: int, recipe: str, minutes: float | None, better: list[str] | None
) -> None:
    prepared, expected = prepare_text(characters), load_config(find_recipe(recipe))
    assert (prepared.is_advised, prepared.config.recipe, prepared.advised_minutes) == (True, recipe, minutes)
    assert prepared.config.model == expected.model
    assert prepared.config.training.optimizer == expected.training.optimizer
    lines = describe_advice(prepared.advice)
    assert lines[0].startswith("recipe: ")
    found = [line.split()[-1] for line in lines if line.startswith("better, in about ")]
    assert found == better or better is None


def test_a_corpus_has_the_name_of_its_documents_and_no_text_that_of_the_plays(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\n", "baab\n")
    assert [text_name(text) for text in (corpus, corpus.folder, None)] == ["sources", "sources", "river_plays"]


def test_the_windows_depend_on_the_data_seed_if_there_is_one(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\n" * 200)

    def windows(seed: int, data_seed: int | None) -> list[int]:
        training = TrainingConfig(data_seed=data_seed, shuffle=True, batch_size=4, sequence_length=4)
        engine = new_engine(Config(seed=seed, training=training), corpus, FakeEngines(), session=Session())
        found: list[int] = engine.batches.positions(epoch=1, first=0, count=5).ravel().tolist()
        return found

    assert windows(1, None) == windows(2, 1) == windows(1, 1) != windows(2, None)
    assert windows(1, 2) == windows(2, None)


@pytest.mark.parametrize("overrides", [["model.units=9", "corpus.min_count=2"], {"model.units": 9}])
def test_what_the_user_gives_counts_more_than_the_advice(overrides: Any) -> None:
    config = prepare_text(SHORT, overrides=overrides).config
    assert config.model.units == 9
    assert config.training.batch_size == load_config(find_recipe("small")).training.batch_size
    assert config.corpus.min_count == (2 if isinstance(overrides, list) else 1)
    for setting, parts in (("training.batch_size=32", min(core_count(), 4)), ("training.parts=3", 3)):
        assert prepare_text(SHORT, "tiny", setting).config.training.parts == parts  # a part for each core


@pytest.mark.parametrize(
    "overrides", [["training.epochs=1"], ["training={epochs: 1}"], {"training.steps": 9}, {"training": {"steps": 9}}]
)
def test_a_length_that_the_user_gives_takes_the_place_of_the_minutes_of_the_advice(overrides: Any) -> None:
    assert prepare_text(LONGEST, overrides=overrides).advised_minutes is None


@pytest.mark.parametrize(("text", "recipe"), [(LONG, "tiny"), (None, None)])
def test_a_recipe_that_is_named_and_the_plays_are_left_as_they_are(text: int | None, recipe: str | None) -> None:
    prepared = prepare_text(text, recipe=recipe)
    assert not prepared.is_advised
    assert prepared.config.model == load_config(find_recipe(recipe or "default")).model
    assert prepared.config.recipe == (recipe or "default")


def test_a_setting_that_is_wrong_is_refused_before_the_text_is_read() -> None:
    with pytest.raises(CharlmError, match="epochs or steps must be given"):
        prepare_text("missing.txt", None, "training.epochs=null")


def test_the_settings_of_a_corpus_are_those_that_it_was_made_with() -> None:
    Path("text.txt").write_text("abba\n" * 99, encoding="utf-8")
    corpus = charlm.tokenize("text.txt", "corpus", overrides=["corpus.min_count=2", "corpus.validation_fraction=0.25"])
    config = prepare_text(corpus, "tiny").config
    assert (config.corpus.min_count, config.corpus.validation_fraction) == (2, 0.25)
    with pytest.raises(CharlmError, match=r"corpus\.min_count: found 1, but .*corpus was made with 2"):
        prepare_text("corpus", "tiny", "corpus.min_count=1")


# Memory

WEIGHTS = (3 * 2 + 2 * 2 + 2) + (2 * 3 + 3)


def config(optimizer: str = "adam") -> Config:
    return Config(
        model=ModelConfig(units=2),
        training=TrainingConfig(epochs=1, optimizer=OptimizerConfig.model_validate({"name": optimizer})),
    )


@pytest.mark.parametrize(("optimizer", "numbers"), [("adam", 4), ("adamw", 4), ("sgd", 2)])
def test_a_network_that_just_fits_is_accepted_and_with_a_byte_less_it_is_refused(optimizer: str, numbers: int) -> None:
    check_memory(config(optimizer), 3, available_bytes=4 * numbers * WEIGHTS)
    with pytest.raises(CharlmError, match=f"^model: {WEIGHTS} weights; training them with {optimizer} needs"):
        check_memory(config(optimizer), 3, available_bytes=4 * numbers * WEIGHTS - 1)


# Minutes


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf])
def test_minutes_must_be_a_number_more_than_0(minutes: Any) -> None:
    with pytest.raises(CharlmError, match=r"^minutes: found .*; must be a finite number above 0$"):
        check_minutes(minutes, {})


@pytest.mark.parametrize("overrides", [["model.units=3", " training.steps = 5"], "training={epochs: 5}"])
def test_the_length_is_not_given_twice(overrides: Any) -> None:
    with pytest.raises(CharlmError, match=r"^minutes 3: decides training\.(steps|epochs), which an override gives"):
        check_minutes(3, parse_overrides(overrides))


@pytest.mark.slow
def test_a_run_by_the_clock_has_its_steps_in_its_config_and_can_be_repeated_to_the_bit(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "text.txt")
    settings = {**QUICK, "model.layer_dropout": 0.1, "model.layers": 2, "training.average_momentum": 0.9}
    said: list[str] = []
    import_module("charlm.engine.keras_engine")  # which takes longer than the training; in time for it
    options: dict[str, Any] = {"recipe": "tiny", "overrides": settings, "run": tmp_path / "timed", "say": said.append}
    minutes, timed = 0.15, None
    while timed is None:
        try:
            timed = charlm.train(text, minutes=minutes, **options)
        except CharlmError:  # the machine is busy, and the start takes longer
            minutes *= 2
            assert minutes < 5
    config = charlm.load(tmp_path / "timed").config
    assert (config.training.steps, config.training.epochs) == (timed.progress.step, None)
    assert timed.reason == "all steps done"
    assert any(line.startswith(f"{minutes:g} min: {timed.progress.step:,} steps of ") for line in said)

    charlm.train(text, recipe=tmp_path / "timed/config.yaml", run=tmp_path / "again")
    assert weights_of(tmp_path / "timed/last.safetensors") == weights_of(tmp_path / "again/last.safetensors")


@pytest.mark.slow
def test_a_time_that_the_start_takes_up_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"^minutes 0.0001: the start and one step take .* min; give more$"):
        charlm.train(recipe="tiny", minutes=0.0001, run=tmp_path / "deep/run")
    assert list(tmp_path.iterdir()) == []
