"""The names of the library; `tokenize`, `train`, `resume` and `plan`, as a program calls them."""

import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

import charlm
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.hardware import peak_memory_bytes
from charlm.runs.run import Outcome

Result = TypeVar("Result")

TEXT = "abba\n" * 200
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_a_thread(call: Callable[[], Result]) -> Result:
    """Return what a call returns, or raise what it raises, in a thread that is not the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


@pytest.mark.parametrize("name", charlm.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert hasattr(charlm, name)
    assert name in dir(charlm)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'charlm' has no attribute 'lode'"):
        _ = charlm.lode  # type: ignore[attr-defined]


def test_without_tensorflow_training_is_refused_before_the_text_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    message = "^TensorFlow is needed for this, but is not installed: pip install tensorflow"
    for train in (charlm.train, charlm.plan, charlm.resume):
        with pytest.raises(CharlmError, match=message):
            train("missing.txt")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Train a text file in another thread by a recipe's path and a mapping; 5 steps."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    overrides = {"training.steps": 5, "corpus.test_fraction": 0.1}
    recipe, run = find_recipe("tiny"), folder / "run"
    return in_a_thread(
        lambda: charlm.train(folder / "text.txt", recipe=recipe, overrides=overrides, run=run)
    )


def test_one_source_or_several_are_tokenized(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    one = charlm.tokenize(str(tmp_path / "a.txt"), tmp_path / "one")
    overrides = {"corpus.min_count": 2}
    both = charlm.tokenize(
        [tmp_path / "a.txt", str(tmp_path / "b.txt")], str(tmp_path / "both"), overrides=overrides
    )
    assert one.vocabulary.characters == ("\n", "a", "b")
    assert both.manifest.min_count == 2
    assert [len(corpus.manifest.sources) for corpus in (one, both)] == [1, 2]


def test_training_prints_nothing(
    training: Outcome, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    corpus = charlm.tokenize(training.folder.parent / "text.txt", tmp_path / "corpus")
    outcome = charlm.train(
        corpus, recipe="tiny", overrides="training.steps=2", run=str(tmp_path / "run")
    )
    assert outcome.step == 2
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in SIGNALS] == before


# Runs that continue


def test_a_run_trained_in_a_thread_reaches_its_end(training: Outcome) -> None:
    assert (training.step, training.reason, training.signal) == (5, "all steps done", None)
    assert len(str(charlm.load(training.folder).generate(length=20))) == 20


# Plans


STEPS_PER_EPOCH = len(TEXT) * 9 // 10 // (8 * 16)
"""The recipe tiny reads 8 windows of 16 characters a step."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a text of 1,000 characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def planned(text: Path) -> dict[str, Any]:
    """Plan two epochs of the recipe tiny."""
    return charlm.plan(text, recipe="tiny", overrides={"model.units": 8}, epochs=2)


def test_a_plan_has_the_network_the_steps_and_the_text(planned: dict[str, Any]) -> None:
    expected = {
        "layers": 1,
        "units": 8,
        "parameters": (3 * 8 + 8 * 8 + 8) + (8 * 3 + 3),
        "steps_per_epoch": STEPS_PER_EPOCH,
        "steps": 2 * STEPS_PER_EPOCH,
        "epochs": 2,
        "batch_size": 8,
        "sequence_length": 16,
    }
    assert planned.items() >= expected.items()
    text = planned["text"]
    assert (text["characters"], text["documents"], text["vocabulary"]) == (1000, 1, 3)
    assert text["splits"] == {"train": 900, "validation": 100, "test": 0}


def test_the_time_of_a_plan_includes_every_part(planned: dict[str, Any]) -> None:
    steps = planned["steps"] * planned["step_seconds"]
    evaluations = planned["evaluations"] * planned["evaluation_seconds"]
    parts = planned["start_seconds"] + steps + evaluations
    assert planned["seconds"] == pytest.approx(parts)


def test_a_plan_leaves_nothing_behind(text: Path) -> None:
    before = peak_memory_bytes()
    found = charlm.plan(text, recipe="tiny", overrides="training.steps=1")
    assert (found["steps"], found["evaluations"]) == (1, 1)
    assert before <= found["memory_bytes"] <= peak_memory_bytes()
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_a_plan_with_a_time_limit_fills_most_of_it(text: Path) -> None:
    found = charlm.plan(text, recipe="tiny", minutes=2)
    assert found["minutes"] == 2
    assert 60 < found["seconds"] <= 120
