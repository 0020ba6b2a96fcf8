"""The sampling temperature: the lowest at which the output repeats itself no more than the text."""

import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_runs import Clock, Trained, begin, engine_of, train
from run_folders import contents

from charlm.events import Event, TemperatureChosen
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.run import open_run
from charlm.sampling.generation import TextRequest
from charlm.training import loop
from charlm.training.costs import Costs
from charlm.training.session import Session
from charlm.training.temperature import Choice, choose_temperature
from charlm.training.timing import Deadline

LENGTH = "sampling.length=8"
LETTERS = "".join(random.Random(1).choices(string.ascii_letters, k=12_000))
NO_TIME = "there was no time to compare others"

IsGood = Callable[[float, int], bool]
"""Function that returns whether the text of a temperature and a seed is varied."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run on letters in random order, with a temperature of the user."""
    folder = tmp_path_factory.mktemp("letters") / "run"
    return train(folder, LENGTH, "sampling.temperature=0.3", text=LETTERS)


class Generator:
    """Generates random letters where a temperature and a seed are good, else from a few letters."""

    def __init__(self, is_good: IsGood, few_letters: str = "a") -> None:
        self.is_good = is_good
        self.few_letters = few_letters
        self.texts = 0

    def __call__(self, _model: TrainedModel, request: TextRequest) -> Iterator[str]:
        self.texts += 1
        assert request.ignore_end  # every text has its full length
        is_good = self.is_good(request.sampler.temperature, request.seed)
        letters = string.ascii_letters if is_good else self.few_letters
        yield from random.Random(request.seed).choices(letters, k=request.length)


def choose(run: Trained, generator: Generator, *, texts_in_time: int = 1_000) -> Choice:
    """Choose the temperature of a run whose time is over after some texts."""
    return choose_temperature(
        open_run(run.folder),
        run.model("best.safetensors"),
        is_over=lambda: generator.texts >= texts_in_time,
        generate=generator,
    )


@pytest.mark.parametrize(
    ("is_good", "chosen"),
    [
        pytest.param(lambda *_: True, 0.5, id="all are good"),
        pytest.param(lambda heat, _: heat > 0.75, 0.8, id="from 0.8 on"),
        pytest.param(
            lambda heat, seed: heat > 0.65 or seed != 3,
            0.7,
            id="one of four is bad below 0.7",
        ),
        pytest.param(lambda *_: False, 1.0, id="none is good"),
    ],
)
def test_the_lowest_temperature_with_varied_texts_is_chosen(
    is_good: IsGood,
    chosen: float,
    run: Trained,
) -> None:
    assert choose(run, Generator(is_good)).temperature == chosen


@pytest.mark.parametrize(
    ("letters", "chosen"),
    [
        pytest.param(30, 1.0, id="86% of the bits of the text"),
        pytest.param(44, 0.5, id="96% of the bits of the text"),
    ],
)
def test_a_text_is_varied_if_it_is_compressed_little_better_than_the_training_text(
    letters: int,
    chosen: float,
    run: Trained,
) -> None:
    generator = Generator(lambda *_: False, string.ascii_letters[:letters])
    assert choose(run, generator).temperature == chosen


@pytest.mark.parametrize(
    ("lowest_good", "reason"),
    [
        pytest.param(0.5, "", id="the lowest"),
        pytest.param(0.8, "at 0.7 the output repeats itself more than the text does", id="0.8"),
        pytest.param(9.9, "at 0.9 the output repeats itself more than the text does", id="none"),
    ],
)
def test_the_reason_is_that_the_next_lower_temperature_repeats_itself(
    lowest_good: float,
    reason: str,
    run: Trained,
) -> None:
    assert choose(run, Generator(lambda heat, _: heat >= lowest_good)).reason == reason


@pytest.mark.parametrize(
    ("lowest_good", "texts", "chosen"),
    [
        pytest.param(0.5, 0, 0.7, id="before the first text"),
        pytest.param(0.5, 1, 0.7, id="after a good text at 0.5"),
        pytest.param(9.9, 1, 0.7, id="after a bad text at 0.5"),
        pytest.param(9.9, 3, 0.8, id="after a bad text at 0.7"),
        pytest.param(0.8, 5, 0.8, id="after two good texts at 0.8"),
    ],
)
def test_a_search_whose_time_is_over_generates_no_further_text(
    lowest_good: float,
    texts: int,
    chosen: float,
    run: Trained,
) -> None:
    generator = Generator(lambda heat, _: heat >= lowest_good)
    assert choose(run, generator, texts_in_time=texts) == Choice(chosen, NO_TIME)
    assert generator.texts == texts


def test_a_run_whose_time_is_over_compares_no_temperatures(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(LETTERS, encoding="utf-8")
    run = begin(tmp_path / "run", LENGTH, text=text)
    deadline = Deadline(1.0, -9.0, Clock(), Costs(0.1, 0.1), fixed_share=0.0)
    events: list[Event] = []
    loop.train(run, engine_of(run), session=Session(events.append), deadline=deadline)
    assert TemperatureChosen(0.7, NO_TIME) in events
    assert read_model(run.folder / "best.safetensors").sampling_temperature == 0.7


# The models of a run


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run on letters in random order, whose temperature is chosen."""
    return train(tmp_path_factory.mktemp("chosen") / "run", LENGTH, text=LETTERS)


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_model_keeps_the_temperature_that_was_chosen(name: str, chosen: Trained) -> None:
    (event,) = chosen.of_type(TemperatureChosen)
    assert chosen.model(name).facts["temperature"] == event.temperature


def test_the_same_run_chooses_the_same_temperature(chosen: Trained, tmp_path: Path) -> None:
    again = train(tmp_path / "again", LENGTH, text=LETTERS)
    assert contents(again.folder)["best.safetensors"] == contents(chosen.folder)["best.safetensors"]


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_temperature_of_the_user_is_kept(name: str, run: Trained) -> None:
    assert run.model(name).sampling_temperature == 0.3


def test_a_temperature_of_the_user_is_not_reported_as_chosen(run: Trained) -> None:
    assert run.of_type(TemperatureChosen) == []
