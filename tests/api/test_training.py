"""The names of the library; `tokenize`, `train`, `resume` and `plan`, as a program calls them."""

import json
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import pytest

import charlm
from charlm.api.training import plan
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.network.model_file import read_model
from charlm.training.loop import Outcome

Result = TypeVar("Result")

TEXT = "abba\n" * 200
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_a_thread(call: Callable[[], Result]) -> Result:
    """Return what a call returns, or raise what it raises, in a thread that is not the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error() -> None:
    assert {name: hasattr(charlm, name) for name in charlm.__all__} == dict.fromkeys(charlm.__all__, True)
    assert set(charlm.__all__) <= set(dir(charlm))
    assert [*charlm.__all__] == sorted(charlm.__all__)
    assert files("charlm").joinpath("py.typed").is_file()
    with pytest.raises(AttributeError, match="module 'charlm' has no attribute 'lode'"):
        _ = charlm.lode  # type: ignore[attr-defined]


def test_without_tensorflow_training_is_refused_before_the_text_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(CharlmError, match=r"^TensorFlow is needed for this, but is not installed: .* found Python 3"):
        charlm.train("missing.txt", run="run")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Train a text file in another thread by a recipe's path and a mapping; 5 steps."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    overrides = {"training.steps": 5, "corpus.test_fraction": 0.1}
    recipe, run = find_recipe("tiny"), folder / "run"
    return in_a_thread(lambda: charlm.train(folder / "text.txt", recipe=recipe, overrides=overrides, run=run))


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


def test_training_prints_nothing(training: Outcome, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    corpus = charlm.tokenize(training.folder.parent / "text.txt", tmp_path / "corpus")
    outcome = charlm.train(corpus, recipe="tiny", overrides="training.steps=2", run=str(tmp_path / "run"))
    assert outcome.progress.step == 2
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_run_that_was_trained_in_a_thread_is_continued_to_more_steps(training: Outcome, tmp_path: Path) -> None:
    assert (training.progress.step, training.reason, training.signal) == (5, "all steps done", None)
    run, said = shutil.copytree(training.folder, tmp_path / "run"), list[str]()
    outcome = charlm.resume(run, overrides=["training.steps=8"], say=said.append)
    assert outcome.progress.step == 8
    assert "resumed at step 5 of 8" in said
    assert len(str(charlm.load(run).generate(length=20))) == 20


def test_the_plan_has_the_sizes_of_the_run_that_was_trained_and_the_time_of_its_parts(trained_run: Path) -> None:
    shutil.copy(trained_run / "config.yaml", "recipe.yaml")
    planned = plan(trained_run.parent / "text.txt", recipe="recipe.yaml")
    trained = read_model(trained_run / "last.safetensors")
    assert (planned.architecture.size, planned.architecture) == (trained.parameters.size, trained.architecture)
    batches = planned.schedule.batches
    assert (planned.schedule.total, batches.batch_size, batches.sequence_length) == (60, 8, 16)
    assert planned.schedule.epochs(60) == trained.facts["epoch"]
    found = json.loads(json.dumps(planned.to_json(), allow_nan=False))
    assert (found["parameters"], found["evaluations"]) == (trained.parameters.size, 2)
    assert (found["steps"], found["epochs"]) == (60, 60 / found["steps_per_epoch"])
    training = 60 * found["step_seconds"] + found["evaluations"] * found["mark_seconds"]
    assert found["seconds"] == pytest.approx(found["start_seconds"] + training + found["end_seconds"])
    assert found["end_seconds"] > 0
    assert found["memory_bytes"] > 100_000_000  # TensorFlow alone takes more
