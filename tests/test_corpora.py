"""Unusual and malicious texts, through the real commands: trained on, sampled and scored, or refused in one line."""

import json
import unicodedata
from pathlib import Path

import pytest
from commands import charlm
from corpora import write_texts

from charlm.api.model import load
from charlm.network.model_file import read_model

pytestmark = pytest.mark.slow

CHINESE = "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏"
EMOJI = "👩‍👩‍👧‍👦 e\u0301 🏳️‍🌈 n\u0303o\u0308 👍🏽\n"
FIVE_STEPS = (
    *("-c", "tiny", "-s", "training.steps=5"),
    *("-s", "training.sequence_length=4", "-s", "sampling.length=5"),
)


def sample(run: Path, *arguments: str | int) -> str:
    """Return 20 characters from the last model of a run."""
    command = charlm("sample", run / "last.safetensors", "-n", 20, "--seed", 1, *arguments)
    assert command.exit_code == 0, command.stderr
    return command.stdout


def train(folder: Path, *texts: str, settings: tuple[str, ...] = ()) -> Path:
    overrides = [argument for setting in settings for argument in ("-s", setting)]
    command = charlm("train", write_texts(folder, *texts), *FIVE_STEPS, *overrides, "-r", folder / "run")
    assert command.exit_code == 0, command.stderr
    return folder / "run"


@pytest.mark.parametrize(
    ("text", "distinct"),
    [
        pytest.param(CHINESE * 20, len(CHINESE), id="Chinese"),
        pytest.param(EMOJI * 20, len(set(EMOJI)) - 3, id="emoji of several code points, and combining marks"),
        pytest.param("a" * 200, 1, id="one distinct character"),
        pytest.param("\x00\x1b\x7f\u2028\ufeff" * 50, 5, id="control characters"),
    ],
)
def test_any_text_can_be_trained_on_sampled_and_scored(text: str, distinct: int, tmp_path: Path) -> None:
    run = train(tmp_path, text)
    assert len(read_model(run / "last.safetensors").vocabulary) == distinct
    written = sample(run)
    assert len(written) == 20
    assert set(written) <= set(unicodedata.normalize("NFC", text))
    assert "characters" in json.loads(charlm("evaluate", run, "--json").stdout)


def test_sampling_stops_at_the_end_of_a_text_or_goes_on_after_it(tmp_path: Path) -> None:
    learnt = ("training.steps=300", "training.optimizer.learning_rate=0.03", "corpus.validation_fraction=0")
    run = train(tmp_path, *["abc"] * 40, settings=learnt)
    assert sample(run, "-t", 0) == "abc"
    assert str(load(run).generate(length=20, temperature=0, ignore_end=True)) == "abc\n\n" * 5
