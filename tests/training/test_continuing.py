"""Whether a command means the run that is there."""

from pathlib import Path

import fake_runs
import pytest
from fake_runs import SMALL

from charlm.config.file import parse_overrides
from charlm.errors import CharlmError
from charlm.runs.initial_weights import read_initial_model
from charlm.runs.run import Run, open_run
from charlm.training.continuing import check_same_run, new_settings
from charlm.training.decision import UserSettings

TEXT = "abcde " * 60


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def run(text: Path, tmp_path: Path) -> Run:
    """Begin a run on the text with the recipe tiny and some overrides."""
    return fake_runs.begin(tmp_path / "run", text=text)


def settings_of(*overrides: str, recipe: str | None = "tiny") -> UserSettings:
    """Return what a command gives."""
    return UserSettings(recipe=recipe, overrides=parse_overrides(overrides))


def test_the_command_that_has_begun_the_run_means_it(run: Run, text: Path) -> None:
    check_same_run(run, [str(text)], settings_of(*SMALL), None)


def test_a_text_that_was_moved_is_the_same(run: Run, text: Path) -> None:
    moved = text.rename(text.with_name("moved.txt"))
    check_same_run(run, [str(moved)], settings_of(*SMALL), None)


def test_without_a_recipe_only_what_is_given_is_compared(run: Run, text: Path) -> None:
    check_same_run(run, [str(text)], settings_of("model.units=8", recipe=None), None)


def test_another_text_is_refused(run: Run, text: Path) -> None:
    text.write_text(TEXT.replace("a", "e"), encoding="utf-8")
    with pytest.raises(
        CharlmError, match=rf"^{run.folder}: the text differs: .*text\.txt has changed since"
    ):
        check_same_run(run, [str(text)], settings_of(*SMALL), None)


@pytest.mark.parametrize("recipe", ["tiny", None], ids=["with a recipe", "without a recipe"])
def test_another_setting_is_refused_with_both_values(
    recipe: str | None, run: Run, text: Path
) -> None:
    message = rf"^model\.units: found 9, but the run in {run.folder} has 8; give the same settings"
    with pytest.raises(CharlmError, match=message):
        check_same_run(run, [str(text)], settings_of(*SMALL, "model.units=9", recipe=recipe), None)


def test_another_recipe_is_refused(run: Run, text: Path) -> None:
    with pytest.raises(CharlmError, match=r"^model\..*: found .*, but the run in "):
        check_same_run(run, [str(text)], settings_of(*SMALL, recipe="default"), None)


def test_missing_teachers_are_refused(text: Path, tmp_path: Path) -> None:
    teachers = "training.teachers={recipe: tiny, seeds: [1]}"
    run = fake_runs.begin(tmp_path / "taught", teachers, text=text)
    check_same_run(run, [str(text)], settings_of(*SMALL, teachers), None)
    with pytest.raises(CharlmError, match=r"^training\.teachers.*: found .*, but the run in "):
        check_same_run(run, [str(text)], settings_of(*SMALL), None)


def test_another_setting_of_the_corpus_is_refused(run: Run, text: Path) -> None:
    overrides = (*SMALL, "corpus.validation_fraction=0.3")
    with pytest.raises(CharlmError, match=r"^corpus\.validation_fraction: found 0\.3, but "):
        check_same_run(run, [str(text)], settings_of(*overrides), None)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param("training.parts=null", "training.parts=2", id="parts"),
        pytest.param(
            "training.precision=auto", "training.precision=bfloat16", id="chosen precision"
        ),
        pytest.param(
            "training.precision=bfloat16",
            "training.precision=float32",
            id="precision that is missing",
        ),
        pytest.param("training.kernel=auto", "training.kernel=keras", id="kernel"),
        pytest.param(
            "training.ngram_weight=0.4",
            "training.ngram_weight=0.0",
            id="n-grams that were left out",
        ),
    ],
)
def test_what_was_decided_when_the_run_began_is_not_compared(
    wanted: str, found: str, text: Path, tmp_path: Path
) -> None:
    run = fake_runs.begin(tmp_path / "decided", found, text=text)
    check_same_run(run, [str(text)], settings_of(*SMALL, wanted), None)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param("training.parts=1", "training.parts=2", id="parts"),
        pytest.param("training.precision=float32", "training.precision=bfloat16", id="precision"),
        pytest.param("training.ngram_weight=0.4", "training.ngram_weight=0.5", id="n-grams"),
    ],
)
def test_a_value_that_is_given_is_compared(
    wanted: str, found: str, text: Path, tmp_path: Path
) -> None:
    run = fake_runs.begin(tmp_path / "decided", found, text=text)
    with pytest.raises(CharlmError, match=wanted.partition("=")[0]):
        check_same_run(run, [str(text)], settings_of(*SMALL, wanted), None)


@pytest.mark.parametrize(
    "setting", ["training.epochs=3", "training.evaluations=9", "training.schedule.name=constant"]
)
def test_what_a_resume_may_change_is_not_compared(setting: str, run: Run, text: Path) -> None:
    check_same_run(run, [str(text)], settings_of(*SMALL, setting), None)


def test_other_initial_weights_are_refused(run: Run, text: Path, model_file: Path) -> None:
    with pytest.raises(
        CharlmError, match=r"the run began with random weights; name the same initial weights"
    ):
        check_same_run(run, [str(text)], settings_of(*SMALL), read_initial_model(model_file))


def test_missing_initial_weights_are_refused(text: Path, model_file: Path, tmp_path: Path) -> None:
    run = fake_runs.begin_run(tmp_path / "run", (), text=text, init=model_file)
    check_same_run(run, [str(text)], settings_of(), read_initial_model(model_file))
    with pytest.raises(
        CharlmError, match=r"the run began with the weights of another model; name the same"
    ):
        check_same_run(run, [str(text)], settings_of(), None)


def test_the_settings_that_change_the_run_are_those_that_are_given(run: Run) -> None:
    wanted = settings_of("training.steps=70", "training.log_every=5", "model.units=8")
    assert new_settings(open_run(run.folder).config, wanted) == {"training.steps": 70}
