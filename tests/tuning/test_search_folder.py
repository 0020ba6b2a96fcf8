"""The folder of a search: what it holds, which folders are refused, and its picture, by the colours of its pixels."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from tuning.spaces import SPACE, TEXT

from charlm.config.file import load_config
from charlm.errors import CharlmError
from charlm.text.tokenization import tokenize
from charlm.training.views import Picture
from charlm.tuning.search_folder import BEST, MARKS, draw_search, prepare_folder, write_recipe
from charlm.tuning.space import Range, Space, load_space


@pytest.fixture
def space(tmp_path: Path) -> Space:
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return load_space(tmp_path / "space.yaml")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_text_is_tokenized_once_and_found_to_be_the_same(space: Space, tmp_path: Path) -> None:
    corpus, identity = prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    assert names(tmp_path / "out") == ["corpus", "search.json"]
    written = (tmp_path / "out" / "corpus" / "ids.bin").stat().st_mtime_ns
    again, same = prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    assert (again.folder, same) == (corpus.folder, identity)
    assert (tmp_path / "out" / "corpus" / "ids.bin").stat().st_mtime_ns == written
    assert names(tmp_path / "out") == ["corpus", "search.json"]


def test_a_corpus_on_disk_is_used_where_it_is(space: Space, tmp_path: Path) -> None:
    tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", space.config().corpus)
    corpus, _ = prepare_folder(tmp_path / "out", space, [tmp_path / "corpus"])
    assert corpus.folder == tmp_path / "corpus"
    assert names(tmp_path / "out") == ["search.json"]


def test_a_folder_with_something_else_is_refused(space: Space, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").touch()
    with pytest.raises(CharlmError, match="out: is not empty, and not the folder of a search"):
        prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    assert names(tmp_path / "out") == ["letter.txt"]


@pytest.mark.parametrize("contents", ["", "[]", "{", "null", '"x"', "[" * 5000])
def test_a_damaged_description_is_refused(space: Space, tmp_path: Path, contents: str) -> None:
    prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    (tmp_path / "out" / "search.json").write_text(contents, encoding="utf-8")
    with pytest.raises(CharlmError, match=r"search\.json: damaged"):
        prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])


def test_an_empty_description_is_that_of_another_search(space: Space, tmp_path: Path) -> None:
    prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    (tmp_path / "out" / "search.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CharlmError, match="out: holds a search with another format"):
        prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])


def test_a_recipe_is_written_without_its_defaults_and_reads_back_the_same(space: Space, tmp_path: Path) -> None:
    settings = {"training.optimizer.learning_rate": 0.5, "training.epochs": None, "training.steps": 7}
    write_recipe(tmp_path / "best.yaml", space, settings, head=["charlm train", "second"])
    text = (tmp_path / "best.yaml").read_text(encoding="utf-8")
    assert text.startswith("# charlm train\n# second\n")
    assert "beta" not in text
    assert "corpus" not in text
    config = load_config(tmp_path / "best.yaml")
    assert config == space.config(settings)
    assert (config.training.steps, config.training.optimizer.learning_rate) == (7, 0.5)


RATE, RNN = "training.optimizer.learning_rate", "model.rnn.activation"
SEARCH: dict[str, Range] = {
    RATE: FloatDistribution(0.001, 0.01, log=True),
    RNN: CategoricalDistribution(("tanh", "relu")),
}
COMPLETE, PRUNED = MARKS[TrialState.COMPLETE][2], MARKS[TrialState.PRUNED][2]


def make_trial(number: int, nats: float | None, *, rate: float = 0.003, state: TrialState) -> FrozenTrial:
    """Make a trial that has ended."""
    trial = create_trial(
        state=state,
        value=nats,
        params={RATE: rate, RNN: "relu"},
        distributions={**SEARCH},
    )
    trial.number = number
    return trial


def complete(number: int, nats: float, *, rate: float = 0.003) -> FrozenTrial:
    return make_trial(number, nats, rate=rate, state=TrialState.COMPLETE)


def pixels(picture: Picture, colour: str) -> NDArray[np.int64]:
    """Return the rows and columns of the pixels of a colour, [pixels, 2]."""
    return np.argwhere((np.abs(picture - 255 * np.array(to_rgb(colour))) < 1).all(axis=2))


def test_the_line_of_the_best_so_far_falls_from_left_to_right_and_never_rises() -> None:
    picture = draw_search([complete(0, 2.2), complete(1, 2.4), complete(2, 2.0), complete(3, 2.3)], SEARCH)
    history = pixels(picture[40:260], BEST)  # without the legend above it
    rows = [history[history[:, 1] == column, 0].mean() for column in np.unique(history[:, 1])]
    assert rows[-1] > rows[0] + 50  # rows count from the top
    assert (np.diff(rows) >= -1).all()


def test_the_ring_is_around_the_best_trial_on_the_axis_of_the_setting() -> None:
    places = []
    for best, other in ((0.001, 0.01), (0.01, 0.001)):
        trials = [complete(0, 2.0, rate=best), complete(1, 2.5, rate=other)]
        ring = pixels(draw_search(trials, SEARCH)[280:, :270], BEST)
        assert len(ring) > 0
        places.append(ring[:, 1].mean())
    assert places[1] > places[0] + 100


def test_pruned_trials_have_another_mark_and_failed_ones_none() -> None:
    without = draw_search([complete(0, 2.0)], SEARCH)
    pruned = draw_search([complete(0, 2.0), make_trial(1, 2.1, state=TrialState.PRUNED)], SEARCH)
    failed = draw_search([complete(0, 2.0), make_trial(1, None, state=TrialState.FAIL)], SEARCH)
    assert len(pixels(pruned, PRUNED)) > len(pixels(without, PRUNED)) > 0  # the legend has one
    assert len(pixels(pruned, COMPLETE)) > 0
    assert np.array_equal(failed, without)
