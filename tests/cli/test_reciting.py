"""A short text from `charlm train` to `charlm sample`, which recites it."""

from pathlib import Path

import pytest
from commands import charlm, json_of
from conftest import CAN_TRAIN

from charlm.core.model_file import read_model
from charlm.runs.folder import DEFAULT_CORPUS

pytestmark = pytest.mark.skipif(not CAN_TRAIN, reason="it trains")

POEM = """The miller woke at break of day
and found the wheel had gone astray,
    row the boat and sing.
He called the smith, he called the clerk,
they looked for it till it was dark,
    row the boat and sing.
The ferryman came by at ten
and brought the wheel to him again,
    row the boat and sing.
"""
PROSE = DEFAULT_CORPUS.read_text(encoding="utf-8")[40_000:41_900]


@pytest.fixture(scope="module")
def recital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on the poem alone, once for all tests, which only read the run."""
    folder = tmp_path_factory.mktemp("recital")
    (folder / "poem.txt").write_text(POEM, encoding="utf-8")
    command = charlm("train", folder / "poem.txt", "-r", folder / "run")
    assert command.exit_code == 0, command.stderr
    assert "the training loss is below 0.0003" in command.stderr
    return folder / "run"


def test_a_short_poem_is_recited(recital: Path) -> None:
    command = charlm("sample", recital)
    assert command.exit_code == 0, command.stderr
    assert command.stdout.rstrip("\n") == POEM.rstrip("\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PROSE, id="1,900 characters"),
        pytest.param(PROSE[:279], id="279 characters"),
        pytest.param(PROSE[:20], id="20 characters"),
        pytest.param("Über allen Gipfeln\nIst Ruh,\nIn allen Wipfeln\n", id="umlauts"),
    ],
)
def test_a_short_text_is_recited(text: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    assert charlm("train", tmp_path / "text.txt", "-r", tmp_path / "run").exit_code == 0
    command = charlm("sample", tmp_path / "run", "-n", 2 * len(text))
    assert command.stdout.rstrip("\n") == text.rstrip("\n")


def test_a_training_loss_that_still_falls_is_no_reason_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text(POEM, encoding="utf-8")
    options = ("-s", "training.steps=4", "-s", "training.evaluations=2")
    outcome = json_of("train", tmp_path / "poem.txt", *options, "-r", tmp_path / "run")
    assert (outcome["step"], outcome["best_step"], outcome["suggestion"]) == (4, 4, None)


def test_the_network_that_recites_is_the_best_and_the_last(recital: Path) -> None:
    best, last = (read_model(recital / f"{name}.safetensors") for name in ("best", "last"))
    assert best.facts["step"] == last.facts["step"]
    assert best.sampling_temperature == last.sampling_temperature == 0


def test_the_network_is_scored_on_the_text_that_it_recites(recital: Path) -> None:
    result = json_of("evaluate", recital)
    assert result["text"] == "training text of the run"
    assert result["characters"] == len(POEM) + 1  # the end of the text is predicted, too
