"""The temperature is the lowest at which no text of the network repeats itself more than its own text."""

import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_runs import Trained, train
from run_folders import contents

from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.folder import BEST, LAST
from charlm.runs.run import open_run
from charlm.sampling.generation import TextRequest
from charlm.training import temperature
from charlm.training.temperature import choose_temperature

LENGTH = "sampling.length=8"
TEXT = "".join(random.Random(1).choices(string.ascii_letters, k=12_000))


@pytest.fixture
def run(tmp_path: Path) -> Trained:
    """Train a run on letters without order, whose user gives the temperature."""
    return train(tmp_path / "run", LENGTH, "sampling.temperature=0.3", text=TEXT)


def writes(good: Callable[[float, int], bool], others: str) -> Callable[[TrainedModel, TextRequest], Iterator[str]]:
    """Return what writes all letters at a temperature and with a seed that are good, else some others."""

    def generate(_: TrainedModel, wanted: TextRequest) -> Iterator[str]:
        is_good = good(wanted.sampler.temperature, wanted.seed)
        yield from random.Random(wanted.seed).choices(string.ascii_letters if is_good else others, k=wanted.length)

    return generate


@pytest.mark.parametrize(
    ("good", "others", "chosen"),
    [
        pytest.param(lambda *_: True, "a", 0.5, id="at any"),
        pytest.param(lambda heat, _: heat > 0.75, "a", 0.8, id="above 0.75"),
        pytest.param(lambda heat, seed: heat > 0.65 or seed != 3, "a", 0.7, id="one text of four is bad below"),
        pytest.param(lambda *_: False, "a", 1.0, id="at none"),
        pytest.param(lambda *_: False, string.ascii_letters[:30], 1.0, id="at none, 86% of the bits of the text"),
        pytest.param(lambda *_: False, string.ascii_letters[:44], 0.5, id="at any, 96% of the bits of the text"),
    ],
)
def test_the_lowest_good_temperature_is_chosen(
    good: Callable[[float, int], bool], others: str, chosen: float, run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temperature, "generate_text", writes(good, others))
    found = choose_temperature(open_run(run.folder), read_model(run.folder / BEST))
    assert found.temperature == chosen
    assert 0.7 < found.ratio_of_text < 0.8  # six bits of eight
    assert (found.ratio < 0.9 * found.ratio_of_text) == (chosen == 1)
    assert (found.lower is None) == (chosen == 0.5)
    if found.lower is not None:
        assert found.lower[0] == pytest.approx(chosen - 0.1)
        assert found.lower[1] < 0.9 * found.ratio_of_text
        assert f"at {chosen - 0.1:g} it repeats itself, {found.lower[1]:.0%}" in str(found)


def test_the_models_of_a_run_keep_what_was_chosen_unless_the_user_has_said(run: Trained, tmp_path: Path) -> None:
    assert {read_model(run.folder / name).sampling_temperature for name in (BEST, LAST)} == {0.3}
    assert not [line for line in run.said if line.startswith("temperature")]
    chosen = train(tmp_path / "chosen", LENGTH, text=TEXT)
    (line,) = [line for line in chosen.said if line.startswith("temperature")]
    best, last = (read_model(chosen.folder / name) for name in (BEST, LAST))
    assert best.facts["temperature"] == last.facts["temperature"] == best.sampling_temperature
    assert f"temperature {best.sampling_temperature:g}:" in line
    again = train(tmp_path / "again", LENGTH, text=TEXT)
    assert contents(again.folder)[BEST] == contents(chosen.folder)[BEST]
