"""The one way in which a run is trained: its teachers first, each a run of its own, then itself."""

import math
import shutil
from pathlib import Path

import fake_runs
import numpy as np
import pytest
import reference as definition
from fake_engine import FakeEngines, Faults, interrupt_after
from fake_runs import TEXT, Trained, check_same_end, engine_of, repeatable_files, resume, ticking
from models import random_parameters

from charlm.errors import Advice, CharlmError
from charlm.evaluation.ngrams import count_ngrams, predict_ngrams
from charlm.events import Event, NgramProgress, TeachersReading, TeacherStarted
from charlm.network.model_file import read_model
from charlm.runs.run import Run, open_run
from charlm.runs.summary import summarize
from charlm.storage import only_writer
from charlm.training.evaluating import DivergenceError
from charlm.training.outcome import Outcome
from charlm.training.session import Session
from charlm.training.signals import Stopped, stop_on_signal
from charlm.training.soft_targets import (
    check_teachers,
    compute_soft_targets,
    cross_predict,
    open_soft_targets,
)
from charlm.training.trainer import own_run, train_run

RECIPE = """
model: {units: 4}
training: {batch_size: 4, sequence_length: 4, steps: 12, log_every: 5, evaluations: 2, parts: 2}
sampling: {length: 0}
"""
IDS = np.random.default_rng(5).integers(0, 5, 61)


OWN = "{recipe: teacher.yaml, seeds: [2, 3]}"


def begin(
    folder: Path, *overrides: str, teachers: str = OWN, text: str = TEXT, recipe: str = RECIPE
) -> Run:
    """Begin a run of 50 steps with two teachers of its own, of 4 units and 12 steps, or with others."""
    Path("teacher.yaml").write_text(recipe, encoding="utf-8")
    folder.mkdir()
    (folder / "text.txt").write_text(text, encoding="utf-8")
    return fake_runs.begin(
        folder / "run", f"training.teachers={teachers}", *overrides, text=folder / "text.txt"
    )


def train(run: Run, faults: Faults | None = None) -> tuple[Outcome, list[TeacherStarted]]:
    """Train a run; return how it ended, and the events of the teachers that were trained."""
    events: list[Event] = []
    engines = FakeEngines(faults or Faults())
    session = Session(events.append)
    with (
        stop_on_signal(session.interruption),
        own_run(run.folder, session=session, may_continue=True),
    ):
        outcome = train_run(run, engine_of(run, engines), engines, session=session)
    return outcome, [event for event in events if isinstance(event, TeacherStarted)]


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    """Begin a run that is interrupted in its first teacher."""
    run = begin(tmp_path / "stopped")
    with pytest.raises(Stopped) as caught:
        train(run, interrupt_after(10))
    assert caught.value.run == run.folder
    return run


@pytest.fixture
def models(reference: Trained, tmp_path: Path) -> str:
    """Return teachers of which there is one, a copy of a trained model."""
    copy = shutil.copy(reference.folder / "best.safetensors", tmp_path / "teacher.safetensors")
    return f"{{models: [{copy}]}}"


def weights(run: Run) -> dict[str, bytes]:
    """Return the best weights of each teacher."""
    return {
        path.parent.name: path.read_bytes()
        for path in run.folder.glob("teachers/*/best.safetensors")
    }


def started(run: Run) -> list[TeacherStarted]:
    """Return the events of the two teachers when they are trained."""
    return [
        TeacherStarted(number, 2, run.folder / "teachers" / seed)
        for number, seed in ((1, "2"), (2, "3"))
    ]


def test_each_teacher_is_a_run_of_its_own_with_its_recipe_and_its_seed(tmp_path: Path) -> None:
    run, states = begin(tmp_path / "a", "training.clip_norm=0.5"), list[str]()
    outcome, said = train(
        run, Faults(after_call=lambda _step: states.append(summarize(run.folder).state))
    )
    assert ({*states}, summarize(run.folder).state) == ({"training"}, "done")
    assert (said, outcome.folder, outcome.progress.step) == (started(run), run.folder, 50)
    for seed in (2, 3):
        teacher = open_run(run.folder / "teachers" / str(seed))
        assert (teacher.config.recipe, teacher.config.seed, teacher.config.training.steps) == (
            "teacher",
            seed,
            12,
        )
        assert (teacher.config.training.teachers, teacher.config.training.clip_norm) == (None, 1.0)
        assert teacher.config.corpus == run.config.corpus
        assert read_model(teacher.folder / "last.safetensors").architecture.units == 4
    assert len(set(weights(run).values())) == 2


def test_the_run_learns_from_its_teachers_and_needs_them_no_more(tmp_path: Path) -> None:
    taught, alone = begin(tmp_path / "a"), begin(tmp_path / "b", "training.teacher_weight=0")
    assert train(taught, interrupt_after(20))[0].signal is not None
    assert train(alone)[1] == []
    (taught.folder / "teachers").rename(tmp_path / "elsewhere")
    assert train(taught)[1] == []
    last = [(run.folder / "last.safetensors").read_bytes() for run in (taught, alone)]
    assert last[0] != last[1]


def test_a_run_that_was_interrupted_in_a_teacher_goes_on_to_the_same_bytes(
    stopped: Run, tmp_path: Path
) -> None:
    train(whole := begin(tmp_path / "whole"))
    stopped.folder.parent.rename(tmp_path / "moved")
    stopped = open_run(tmp_path / "moved/run")
    assert train(stopped)[1] == started(stopped)
    assert weights(stopped) == weights(whole)
    assert repeatable_files(stopped.folder) == repeatable_files(whole.folder)


def test_the_settings_that_a_resume_changes_do_not_reach_the_teachers(stopped: Run) -> None:
    rates = [open_run(stopped.folder / "teachers/2").config.training.optimizer.learning_rate]
    train(open_run(stopped.folder, overrides="training.optimizer.learning_rate=1e-4"))
    rates += [
        open_run(stopped.folder / "teachers" / seed).config.training.optimizer.learning_rate
        for seed in "23"
    ]
    assert len(set(rates)) == 1
    assert rates[0] != 1e-4


def test_the_settings_of_teachers_are_decided_when_the_run_begins(tmp_path: Path) -> None:
    recipe = RECIPE.replace(", parts: 2", "")  # the number of cores decides
    run = begin(tmp_path / "a", recipe=recipe)
    for seed in (2, 3):
        assert open_run(run.folder / "teachers" / str(seed)).config.training.parts is not None


def test_a_run_that_another_process_trains_is_refused(tmp_path: Path) -> None:
    run = begin(tmp_path / "a", teachers="null")
    session = Session(clock=ticking(1.0))
    with (
        only_writer(run.folder),
        pytest.raises(CharlmError, match="is training here"),
        own_run(run.folder, session=session, may_continue=True),
    ):
        pass


def diverging(step: int) -> Faults:
    """Report no loss at a step."""
    return Faults(loss=lambda taken, _: math.nan if taken == step else None)


@pytest.mark.parametrize(
    "step", [pytest.param(3, id="without a checkpoint"), pytest.param(8, id="with a checkpoint")]
)
def test_a_teacher_that_diverges_is_named_by_its_folder(step: int, tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    with pytest.raises(CharlmError) as caught:
        train(run, diverging(step))
    problem, _, advice = str(caught.value).rpartition(": ")
    assert problem.startswith(
        f"{run.folder / 'teachers/2'}: the loss is nan and the gradient norm "
    )
    assert problem.endswith(f" at step {step}")
    assert advice == "the teacher has diverged; name another recipe or seed"


def test_a_student_that_diverges_is_told_how_it_is_resumed(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    with pytest.raises(DivergenceError) as caught:
        train(run, diverging(25))
    assert caught.value.advice == Advice("lower the learning rate", run.folder)


# The soft targets


def test_they_are_the_probabilities_of_the_mean_of_the_logits() -> None:
    networks = [random_parameters(layers=layers, scale=0.3, seed=layers) for layers in (2, 1)]
    found = compute_soft_targets(networks, IDS, streams=3, warm_up=16)
    logits = np.mean(
        [definition.read(network, IDS[:-1].tolist())[0] for network in networks], axis=0
    )
    assert found.dtype == np.float16
    np.testing.assert_allclose(
        found, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), atol=5e-4
    )


def test_each_part_of_a_text_is_predicted_by_the_ngrams_of_the_others() -> None:
    rows, predicted = zip(*cross_predict(IDS, vocabulary_size=5, parts=3), strict=True)
    assert [(each.start, each.stop) for each in rows] == [(0, 19), (19, 39), (39, 60)]
    for each, found in zip(rows, predicted, strict=True):
        start = each.start + 1 if each.start else 0
        others = count_ngrams(
            np.delete(IDS, slice(start, each.stop + 1)), vocabulary_size=5, order=12
        )
        expected = np.concatenate([*predict_ngrams(others, IDS, first=1)])[each]
        np.testing.assert_array_equal(found, expected)


def test_ngrams_and_teachers_have_their_weights_and_a_short_file_is_replaced(
    tmp_path: Path, models: str
) -> None:
    tables = []
    for taught, counted in ((0.3, 0), (0, 0.6), (0.3, 0.6)):
        settings = f"training.teacher_weight={taught}", f"training.ngram_weight={counted}"
        run = begin(tmp_path / f"{taught} {counted}", *settings, teachers=models)
        assert run.config.training.soft_weight == pytest.approx(taught + counted)
        tables.append(np.array(open_soft_targets(run), np.float32))
    np.testing.assert_allclose(tables[2], (tables[0] + 2 * tables[1]) / 3, atol=1e-3)
    predicted = [found for _, found in cross_predict(run.corpus.split("train"), vocabulary_size=6)]
    np.testing.assert_allclose(tables[1], np.concatenate(predicted), atol=1e-3)
    (run.folder / "soft_targets.bin").write_bytes(b"short")
    np.testing.assert_array_equal(np.array(open_soft_targets(run)), tables[2])


@pytest.mark.parametrize(
    "lost", ["teacher.safetensors", "run/run/soft_targets.bin", "all, of n-grams alone"]
)
def test_a_resumed_run_ends_with_the_same_bytes_without_what_taught_it(
    lost: str, tmp_path: Path, models: str
) -> None:
    of_ngrams = lost.startswith("all")
    setting = "training.ngram_weight=0.4" if of_ngrams else f"training.teachers={models}"
    event = NgramProgress(0, 10) if of_ngrams else TeachersReading(1)
    whole = fake_runs.train(tmp_path / "whole", setting)
    stopped = fake_runs.train(tmp_path / "run", setting, faults=interrupt_after(25))
    assert event in whole.events
    (tmp_path / ("run/run/soft_targets.bin" if of_ngrams else lost)).unlink()
    check_same_end(resume(stopped.folder), whole)


def test_teachers_and_soft_targets_that_cannot_be_used_are_refused(
    tmp_path: Path, models: str
) -> None:
    for name, teachers, text, message in (
        (
            "another",
            models,
            "abcdf ",
            r"teacher\.safetensors: has another vocabulary than the text; name a",
        ),
        (
            "taught",
            "{recipe: shakespeare-15m, seeds: [1]}",
            TEXT,
            "recipe: shakespeare-15m has teachers itself; name",
        ),
        (
            "none",
            "{recipe: shakespare, seeds: [1]}",
            TEXT,
            "^shakespare: no such recipe .*; did you mean shakespeare",
        ),
    ):
        with pytest.raises(CharlmError, match=message):
            begin(tmp_path / name, teachers=teachers, text=20 * text)
        assert not (tmp_path / name / "run").exists()
    run = begin(tmp_path / "run", teachers=models, text=20 * "abcde ")
    with pytest.raises(
        CharlmError, match=r"ngram_weight: the soft targets of 107 characters with 6 ids take"
    ):
        check_teachers(
            run.config, run.corpus, available_bytes=4 * 2 * 107 * 6 - 1
        )  # a quarter is for them
    check_teachers(run.config, run.corpus, available_bytes=4 * 2 * 107 * 6)
