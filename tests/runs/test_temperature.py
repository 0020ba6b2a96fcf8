"""The sampling temperature: the lowest at which the output repeats itself no more than the text."""

import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_runs import Clock, Trained, begin, train, train_begun
from threadpoolctl import threadpool_info, threadpool_limits

from charlm.core.generation import TextRequest
from charlm.core.model_file import TrainedModel
from charlm.runs.run import open_run
from charlm.runs.temperature import choose_temperature
from charlm.runs.timing import TimeLimit

LENGTH = "sampling.length=8"
DRAW = random.Random(1).choices
LETTERS = "".join(DRAW(string.ascii_letters[:30], k=10_800) + DRAW(string.ascii_letters, k=1200))
"""A text whose validation part is more varied than its training part."""
Choose = Callable[..., float]
IsGood = Callable[[float, int], bool]
"""Function that returns whether the text of a temperature and a seed is varied."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run on letters in random order, with a temperature of the user."""
    folder = tmp_path_factory.mktemp("letters") / "run"
    sampling = "sampling={length: 8, temperature: 0.3, prompt: ab, top_k: 50}"
    return train(folder, sampling, text=LETTERS)


class Generator:
    """Generates random letters where a temperature and a seed are good, else from a few letters."""

    def __init__(self, is_good: IsGood, few_letters: str = "a") -> None:
        self.is_good = is_good
        self.few_letters = few_letters
        self.texts = 0
        self.threads = set[int]()

    def __call__(self, _model: TrainedModel, request: TextRequest) -> Iterator[str]:
        self.texts += 1
        pools = threadpool_info()
        self.threads |= {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}
        assert request.ignore_end  # every text has its full length
        assert (request.prompt, request.sampler.top_k) == ("ab", 50)
        is_good = self.is_good(request.sampler.temperature, request.seed)
        letters = string.ascii_letters if is_good else self.few_letters
        yield from random.Random(request.seed).choices(letters, k=request.length)


@pytest.fixture
def choose(run: Trained, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return a function that chooses the temperature of a run whose time is over after texts."""

    def choose(generator: Generator, *, texts_in_time: int = 99) -> float:
        monkeypatch.setattr("charlm.runs.temperature.generate_text", generator)
        return choose_temperature(
            run.config,
            open_run(run.folder).corpus,
            run.model("best.safetensors"),
            is_over=lambda: generator.texts >= texts_in_time,
        )

    return choose


@pytest.mark.parametrize(
    ("is_good", "chosen"),
    [
        (lambda *_: True, 0.5),
        (lambda heat, _: heat > 0.75, 0.8),
        (lambda heat, seed: heat > 0.65 or seed != 4, 0.7),
        (lambda *_: False, 1.0),
    ],
    ids=["all are good", "from 0.8 on", "one of four is bad below 0.7", "none is good"],
)
def test_the_lowest_temperature_with_varied_texts_is_chosen(
    is_good: IsGood, chosen: float, choose: Choose
) -> None:
    assert choose(Generator(is_good)) == chosen


@pytest.mark.parametrize(
    ("letters", "chosen"),
    [
        (30, 1.0),
        (44, 0.5),
    ],
    ids=["86% of the bits of the text", "96% of the bits of the text"],
)
def test_a_text_is_varied_if_it_is_compressed_little_better_than_the_training_text(
    letters: int, chosen: float, choose: Choose
) -> None:
    generator = Generator(lambda *_: False, string.ascii_letters[:letters])
    assert choose(generator) == chosen


@pytest.mark.parametrize(("blanks", "chosen"), [(2, 0.5), (3, 1.0)])
def test_a_text_repeats_a_character_at_most_twice_as_often_in_a_row_as_the_training_text(
    blanks: int, chosen: float, choose: Choose
) -> None:
    """LETTERS has at most three equal letters in a row."""

    class Repeating(Generator):
        def __call__(self, model: TrainedModel, request: TextRequest) -> Iterator[str]:
            text = "".join(super().__call__(model, request))
            yield text[:-9] + blanks * 3 * "a" + text[-9 + 3 * blanks :]

    assert choose(Repeating(lambda *_: True)) == chosen


@pytest.mark.parametrize(
    ("lowest_good", "texts", "chosen"),
    [
        (0.5, 0, 0.7),
        (9.9, 3, 0.8),
        (0.8, 5, 0.8),
    ],
    ids=["before the first text", "after a bad text at 0.7", "after two good texts at 0.8"],
)
def test_a_search_whose_time_is_over_generates_no_further_text(
    lowest_good: float, texts: int, chosen: float, choose: Choose
) -> None:
    generator = Generator(lambda heat, _: heat >= lowest_good)
    assert choose(generator, texts_in_time=texts) == chosen
    assert generator.texts == texts


def test_a_run_whose_time_is_over_compares_no_temperatures(tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    source.write_text(LETTERS, encoding="utf-8")
    run = begin(tmp_path / "run", LENGTH, text=source)
    trained = train_begun(run, limit=TimeLimit(1.0, 9.0, Clock(9.0)))
    assert trained.model("best.safetensors").sampling_temperature == 0.7


def test_texts_are_generated_with_a_single_thread_for_products(choose: Choose) -> None:
    generator = Generator(lambda *_: True)
    with threadpool_limits(2, "blas"):
        choose(generator)
    assert generator.threads == {1}


# The models of a run


def test_the_models_keep_the_temperature_that_was_chosen(tmp_path: Path) -> None:
    chosen = train(tmp_path / "run", LENGTH, text=LETTERS)
    corpus = open_run(chosen.folder).corpus
    best = chosen.model("best.safetensors")
    temperature = choose_temperature(chosen.config, corpus, best, is_over=lambda: False)
    assert best.facts["temperature"] == temperature
    assert chosen.model("last.safetensors").facts["temperature"] == temperature
    assert chosen.outcome.temperature == temperature


def test_a_temperature_of_the_user_is_kept(run: Trained) -> None:
    assert run.model("best.safetensors").sampling_temperature == 0.3
    assert run.outcome.temperature is None
