"""The sampling temperature is the lowest at which the output repeats itself no more than the text."""

import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngines
from fake_runs import Trained, begin, engine_of, train
from run_folders import contents

from charlm.events import Event, TemperatureChosen
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.folder import BEST, LAST
from charlm.runs.run import open_run
from charlm.sampling.generation import TextRequest
from charlm.training import loop, temperature
from charlm.training.costs import Costs
from charlm.training.session import Session
from charlm.training.temperature import Choice, choose_temperature
from charlm.training.timing import Deadline

LENGTH = "sampling.length=8"
LETTERS = "".join(random.Random(1).choices(string.ascii_letters, k=12_000))
NO_TIME = "there was no time to compare others"

IsGood = Callable[[float, int], bool]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run on letters in random order, with a temperature that the user gives."""
    folder = tmp_path_factory.mktemp("letters") / "run"
    return train(folder, LENGTH, "sampling.temperature=0.3", text=LETTERS)


class Generator:
    """Generates all letters where a temperature and a seed are good, else a few characters."""

    def __init__(self, is_good: IsGood, others: str = "a") -> None:
        self.is_good = is_good
        self.others = others
        self.texts = 0

    def __call__(self, _: TrainedModel, wanted: TextRequest) -> Iterator[str]:
        self.texts += 1
        characters = (
            string.ascii_letters
            if self.is_good(wanted.sampler.temperature, wanted.seed)
            else self.others
        )
        yield from random.Random(wanted.seed).choices(characters, k=wanted.length)


def choose(run: Trained, generator: Generator, *, texts_in_time: int = 1_000) -> Choice:
    """Choose the temperature of a run whose time is over after some texts."""
    model = read_model(run.folder / BEST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temperature, "generate_text", generator)
        return choose_temperature(
            open_run(run.folder), model, is_over=lambda: generator.texts >= texts_in_time
        )


@pytest.mark.parametrize(
    ("is_good", "others", "chosen"),
    [
        pytest.param(lambda *_: True, "a", 0.5, id="the lowest"),
        pytest.param(lambda heat, _: heat > 0.75, "a", 0.8, id="from 0.8 on"),
        pytest.param(
            lambda heat, seed: heat > 0.65 or seed != 3,
            "a",
            0.7,
            id="one text of four is bad below 0.7",
        ),
        pytest.param(lambda *_: False, "a", 1.0, id="none"),
        pytest.param(
            lambda *_: False, string.ascii_letters[:30], 1.0, id="86% of the bits of the text"
        ),
        pytest.param(
            lambda *_: False, string.ascii_letters[:44], 0.5, id="96% of the bits of the text"
        ),
    ],
)
def test_the_lowest_temperature_with_varied_texts_is_chosen(
    is_good: IsGood, others: str, chosen: float, run: Trained
) -> None:
    assert choose(run, Generator(is_good, others)).temperature == chosen


@pytest.mark.parametrize(
    ("lowest_good", "reason"),
    [
        pytest.param(0.5, "", id="the lowest"),
        pytest.param(0.8, "at 0.7 the output repeats itself more than the text does", id="0.8"),
        pytest.param(9.9, "at 0.9 the output repeats itself more than the text does", id="none"),
    ],
)
def test_a_temperature_is_chosen_because_the_one_below_repeats_itself(
    lowest_good: float, reason: str, run: Trained
) -> None:
    assert choose(run, Generator(lambda heat, _: heat >= lowest_good)).reason == reason


@pytest.mark.parametrize(
    ("lowest_good", "texts", "expected"),
    [
        pytest.param(0.5, 0, 0.7, id="before the first text"),
        pytest.param(0.5, 1, 0.7, id="after a good text at 0.5"),
        pytest.param(9.9, 1, 0.7, id="after a bad text at 0.5"),
        pytest.param(9.9, 3, 0.8, id="after a bad text at 0.7"),
        pytest.param(0.8, 5, 0.8, id="after two good texts at 0.8"),
    ],
)
def test_a_search_whose_time_is_over_generates_no_further_text(
    lowest_good: float, texts: int, expected: float, run: Trained
) -> None:
    generator = Generator(lambda heat, _: heat >= lowest_good)
    assert choose(run, generator, texts_in_time=texts) == Choice(expected, NO_TIME)
    assert generator.texts == texts


def test_a_run_whose_time_is_over_says_that_no_temperatures_were_compared(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(LETTERS, encoding="utf-8")
    run = begin(tmp_path / "run", LENGTH, text=text)
    engine = engine_of(run, FakeEngines())
    deadline = Deadline(
        seconds=1.0, started=-9.0, clock=lambda: 0.0, costs=Costs(0.1, 0.1), fixed_share=0.0
    )
    events: list[Event] = []
    loop.train(run, engine, session=Session(events.append), deadline=deadline)
    assert TemperatureChosen(0.7, NO_TIME) in events
    assert read_model(run.folder / BEST).sampling_temperature == 0.7


# The models of a run keep it


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run on letters in random order, whose temperature is chosen."""
    return train(tmp_path_factory.mktemp("chosen") / "run", LENGTH, text=LETTERS)


@pytest.mark.parametrize("name", [BEST, LAST])
def test_a_model_keeps_the_temperature_that_was_chosen(name: str, chosen: Trained) -> None:
    (line,) = [line for line in chosen.said if line.startswith("sampling temperature ")]
    model = read_model(chosen.folder / name)
    assert model.facts["temperature"] == model.sampling_temperature
    assert line.split()[2] == f"{model.sampling_temperature:g}"


def test_the_same_run_chooses_the_same_temperature(chosen: Trained, tmp_path: Path) -> None:
    again = train(tmp_path / "again", LENGTH, text=LETTERS)
    assert contents(again.folder)[BEST] == contents(chosen.folder)[BEST]


@pytest.mark.parametrize("name", [BEST, LAST])
def test_a_temperature_that_the_user_gives_is_kept(name: str, run: Trained) -> None:
    assert read_model(run.folder / name).sampling_temperature == 0.3


def test_a_temperature_that_the_user_gives_is_not_reported_as_chosen(run: Trained) -> None:
    assert not [line for line in run.said if line.startswith("sampling temperature ")]
