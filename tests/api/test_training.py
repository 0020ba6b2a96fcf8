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
from models import weights_of

import charlm
from charlm.api.training import Plan, plan
from charlm.config.recipes import find_recipe
from charlm.engine import runtime
from charlm.errors import CharlmError
from charlm.events import Event, Resumed
from charlm.network.model_file import read_model
from charlm.training.outcome import Outcome

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


def test_the_public_names_are_sorted() -> None:
    assert [*charlm.__all__] == sorted(charlm.__all__)


def test_the_library_has_types() -> None:
    assert files("charlm").joinpath("py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'charlm' has no attribute 'lode'"):
        _ = charlm.lode  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("has_wheel", "advice"),
    [
        pytest.param(True, r"pip install .*tensorflow", id="wheel"),
        pytest.param(False, r"it needs Python 3\.11 to 3\.13 .*; found Python 3", id="no wheel"),
    ],
)
def test_without_tensorflow_training_is_refused_before_the_text_is_read(
    has_wheel: bool, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(runtime, "HAS_TENSORFLOW", has_wheel)
    with pytest.raises(
        CharlmError, match=rf"^TensorFlow is needed for this, but is not installed: {advice}"
    ):
        charlm.train("missing.txt", run="run")


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
    with pytest.raises(CharlmError, match=r"^sources: found an empty list; must"):
        charlm.tokenize([], tmp_path / "out")


def test_training_prints_nothing(
    training: Outcome, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    corpus = charlm.tokenize(training.folder.parent / "text.txt", tmp_path / "corpus")
    outcome = charlm.train(
        corpus, recipe="tiny", overrides="training.steps=2", run=str(tmp_path / "run")
    )
    assert outcome.progress.step == 2
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_run_that_was_trained_in_a_thread_is_continued_to_more_steps(
    training: Outcome, tmp_path: Path
) -> None:
    assert (training.progress.step, training.reason, training.signal) == (5, "all steps done", None)
    run = shutil.copytree(training.folder, tmp_path / "run")
    events: list[Event] = []
    outcome = charlm.resume(run, overrides=["training.steps=8"], on_event=events.append)
    assert outcome.progress.step == 8
    assert Resumed(5, 8) in events
    assert len(str(charlm.load(run).generate(length=20))) == 20


# Epochs


STEPS_PER_EPOCH = len(TEXT) * 9 // 10 // (8 * 16)
"""The recipe tiny reads 8 windows of 16 characters a step."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a text of 1,000 characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def results(outcome: Outcome) -> tuple[str, str]:
    """Return the config and the last weights of a run."""
    config = (outcome.folder / "config.yaml").read_text(encoding="utf-8")
    return config, weights_of(outcome.folder / "last.safetensors")


@pytest.mark.slow
def test_epochs_of_a_training_are_the_setting(text: Path, tmp_path: Path) -> None:
    by_argument = charlm.train(text, recipe="tiny", epochs=2, run=tmp_path / "a")
    by_setting = charlm.train(
        text, recipe="tiny", overrides="training.epochs=2", run=tmp_path / "b"
    )
    assert by_argument.progress.step == 2 * STEPS_PER_EPOCH
    assert results(by_argument) == results(by_setting)


@pytest.mark.slow
def test_epochs_of_a_resumed_training_are_the_setting(training: Outcome, tmp_path: Path) -> None:
    runs = [Path(shutil.copytree(training.folder, tmp_path / name)) for name in ("a", "b")]
    by_argument = charlm.resume(runs[0], epochs=2)
    by_setting = charlm.resume(runs[1], overrides="training.epochs=2")
    assert by_argument.progress.step > training.progress.step
    assert results(by_argument) == results(by_setting)


@pytest.mark.slow
def test_epochs_of_a_plan_are_the_setting(text: Path) -> None:
    by_argument = plan(text, recipe="tiny", epochs=2)
    by_setting = plan(text, recipe="tiny", overrides="training.epochs=2")
    assert by_argument.schedule.total == 2 * STEPS_PER_EPOCH
    assert by_argument.decision == by_setting.decision


# Plans


@pytest.fixture(scope="module")
def planned(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Plan a run that was trained."""
    recipe = shutil.copy(
        trained_run / "config.yaml", tmp_path_factory.mktemp("planned") / "recipe.yaml"
    )
    return plan(trained_run.parent / "text.txt", recipe=recipe)


def test_a_plan_has_the_network_that_is_trained(planned: Plan, trained_run: Path) -> None:
    trained = read_model(trained_run / "last.safetensors")
    assert planned.architecture == trained.architecture
    assert planned.to_json()["parameters"] == trained.architecture.size


def test_a_plan_has_the_steps_that_are_trained(planned: Plan, trained_run: Path) -> None:
    batches = planned.schedule.batches
    assert (planned.schedule.total, batches.batch_size, batches.sequence_length) == (60, 8, 16)
    assert (
        planned.to_json()["epochs"] == read_model(trained_run / "last.safetensors").facts["epoch"]
    )


def test_a_plan_has_the_evaluations_of_the_recipe(planned: Plan) -> None:
    assert planned.to_json()["evaluations"] == 2


def test_the_time_of_a_plan_is_the_sum_of_its_parts(planned: Plan) -> None:
    found = planned.to_json()
    steps = 60 * found["step_seconds"]
    evaluations = 2 * found["evaluation_seconds"]
    assert found["seconds"] == pytest.approx(
        found["start_seconds"] + steps + evaluations + found["end_seconds"]
    )


def test_the_time_of_a_plan_includes_choosing_the_temperature(planned: Plan) -> None:
    assert planned.to_json()["end_seconds"] > 0


def test_the_memory_of_a_plan_includes_tensorflow(planned: Plan) -> None:
    assert planned.memory_bytes > 100_000_000


def test_a_plan_is_valid_json(planned: Plan) -> None:
    found = planned.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.slow
def test_a_plan_has_the_network_of_its_initial_weights(trained_run: Path) -> None:
    found = plan(trained_run.parent / "text.txt", recipe="small", epochs=1, init=trained_run)
    assert found.architecture == read_model(trained_run / "best.safetensors").architecture
    assert found.architecture.units == 16


@pytest.mark.slow
def test_a_plan_with_a_time_limit_fills_most_of_it(text: Path) -> None:
    found = plan(text, recipe="tiny", minutes=2)
    assert found.decision.minutes == found.to_json()["minutes"] == 2
    assert 60 < found.seconds <= 120


@pytest.mark.slow
def test_a_plan_leaves_nothing_behind(text: Path) -> None:
    plan(text, recipe="tiny", epochs=1)
    assert list(Path.cwd().iterdir()) == []


# A text that can only be memorised


POEM = "the quick brown fox jumps over the lazy dog\n"


@pytest.fixture(scope="module")
def recited(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Train on a text of one line, until it is recited."""
    folder = tmp_path_factory.mktemp("poem")
    (folder / "poem.txt").write_text(POEM, encoding="utf-8")
    fast = {
        "model.units": 32,
        "training.optimizer.learning_rate": 1e-2,
        "training.evaluations": 100,
    }
    return charlm.train(folder / "poem.txt", overrides=fast, epochs=200, run=folder / "run")


@pytest.mark.slow
def test_a_run_that_has_recited_its_text_takes_no_more_steps(
    recited: Outcome, tmp_path: Path
) -> None:
    run = shutil.copytree(recited.folder, tmp_path / "run")
    assert charlm.resume(run).progress.step == recited.progress.step
