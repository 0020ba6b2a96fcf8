"""`tokenize`, `train` and `resume`, as a program calls them."""

import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from models import weights_of

import charlm
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.training.loop import Outcome

Result = TypeVar("Result")

TEXT = "abba\n" * 200
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_a_thread(call: Callable[[], Result]) -> Result:
    """Return what a call returns, or raise what it raises, in a thread that is not the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_without_tensorflow_training_is_refused_before_the_text_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(CharlmError, match=r"^TensorFlow is needed for this, but is not installed: .* found Python 3"):
        charlm.train(tmp_path / "missing.txt", run=tmp_path / "run")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Train a text file in another thread by a recipe's path and a mapping; 5 steps."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    overrides = {"training.steps": 5, "corpus.test_fraction": 0.1}
    recipe, run = find_recipe("tiny"), folder / "run"
    return in_a_thread(lambda: charlm.train(folder / "text.txt", recipe=recipe, overrides=overrides, run=run))


# tokenize


def test_one_source_or_several_are_tokenized(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    one = charlm.tokenize(str(tmp_path / "a.txt"), tmp_path / "one")
    overrides = {"corpus.min_count": 2}
    both = charlm.tokenize([tmp_path / "a.txt", str(tmp_path / "b.txt")], str(tmp_path / "both"), overrides=overrides)
    assert one.vocabulary.characters == ("\n", "a", "b")
    assert both.manifest.min_count == 2
    assert [len(corpus.manifest.sources) for corpus in (one, both)] == [1, 2]
    with pytest.raises(CharlmError, match=r"^text: found an empty list; must"):
        charlm.tokenize([], tmp_path / "out")


# train


@pytest.mark.slow
def test_a_run_with_teachers_of_its_own_trains_them_first_and_learns_from_them(
    training: Outcome, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"training.steps": 5}
    settings["training.teachers"] = {"recipe": str(tmp_path / "teacher.yaml"), "seeds": [5]}
    (tmp_path / "teacher.yaml").write_text("model: {units: 8}\ntraining: {steps: 5}\n", encoding="utf-8")
    text = training.folder.parent / "text.txt"
    taught = in_a_thread(lambda: charlm.train(text, recipe="tiny", overrides=settings, run=tmp_path / "run"))
    teacher = tmp_path / "run" / "teachers" / "5" / "best.safetensors"
    assert charlm.load(teacher).config.model.units == 8
    settings["training.teachers"] = {"models": [str(teacher)]}
    other = in_a_thread(lambda: charlm.train(text, recipe="tiny", overrides=settings, run=tmp_path / "other"))
    assert weights_of(taught.folder / "best.safetensors") == weights_of(other.folder / "best.safetensors")


def test_nothing_is_printed_and_signals_are_as_before(
    training: Outcome, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    corpus = charlm.tokenize(training.folder.parent / "text.txt", tmp_path / "corpus")
    outcome = charlm.train(corpus, recipe="tiny", overrides="training.steps=2", run=str(tmp_path / "run"))
    assert outcome.progress.step == 2
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in SIGNALS] == before


# resume


def test_a_run_that_was_trained_in_a_thread_is_continued_to_more_steps(training: Outcome, tmp_path: Path) -> None:
    assert (training.progress.step, training.reason, training.signal) == (5, "all steps done", None)
    run, said = shutil.copytree(training.folder, tmp_path / "run"), list[str]()
    outcome = charlm.resume(run, overrides=["training.steps=8"], say=said.append)
    assert outcome.progress.step == 8
    assert "resumed at step 5 of 8" in said
    assert len(str(charlm.load(run).generate(length=20))) == 20
