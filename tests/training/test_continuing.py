"""Whether a command continues the run that its folder holds."""

from pathlib import Path

import fake_runs
import pytest
from fake_runs import SMALL

from charlm.config.file import parse_overrides
from charlm.errors import CharlmError
from charlm.runs.initial_weights import InitialModel, read_initial_model
from charlm.runs.run import Run, open_run
from charlm.training.continuing import check_same_run, new_settings
from charlm.training.decision import UserSettings

TEXT = "abcde " * 60
TEACHERS = "training.teachers={recipe: tiny, seeds: [1]}"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def run(text: Path, tmp_path: Path) -> Run:
    """Begin a run on the text with the recipe tiny and the settings SMALL."""
    return fake_runs.begin(tmp_path / "run", text=text)


def check(
    run: Run,
    *overrides: str,
    recipe: str | None = "tiny",
    text: str = "text.txt",
    init: InitialModel | None = None,
) -> None:
    """Check that a command with some settings, without SMALL if there is no recipe, means a run."""
    settings = [*SMALL, *overrides] if recipe else overrides
    user = UserSettings(recipe=recipe, overrides=parse_overrides(settings))
    check_same_run(run, [str(run.folder.with_name(text))], user, init)


def test_the_command_that_began_the_run_continues_it(run: Run) -> None:
    check(run)


def test_a_text_that_was_moved_is_the_same(run: Run, text: Path) -> None:
    text.rename(text.with_name("moved.txt"))
    check(run, text="moved.txt")


def test_without_a_recipe_only_settings_of_the_user_are_compared(run: Run) -> None:
    check(run, "model.units=8", recipe=None)


def test_another_text_is_refused(run: Run, text: Path) -> None:
    text.write_text(TEXT.replace("a", "e"), encoding="utf-8")
    message = rf"^{run.folder}: the text differs: .*text\.txt has changed since"
    with pytest.raises(CharlmError, match=message):
        check(run)


@pytest.mark.parametrize("recipe", ["tiny", None], ids=["with a recipe", "without a recipe"])
def test_another_setting_is_refused_with_both_values(recipe: str | None, run: Run) -> None:
    message = rf"^model\.units: found 9, but the run in {run.folder} has 8; use the same settings"
    with pytest.raises(CharlmError, match=message):
        check(run, "model.units=9", recipe=recipe)


def test_another_recipe_is_refused(run: Run) -> None:
    with pytest.raises(CharlmError, match=r"^model\..*: found .*, but the run in "):
        check(run, recipe="default")


def test_the_same_teachers_are_accepted(text: Path, tmp_path: Path) -> None:
    check(fake_runs.begin(tmp_path / "taught", TEACHERS, text=text), TEACHERS)


def test_missing_teachers_are_refused(text: Path, tmp_path: Path) -> None:
    run = fake_runs.begin(tmp_path / "taught", TEACHERS, text=text)
    with pytest.raises(CharlmError, match=r"^training\.teachers.*: found .*, but the run in "):
        check(run)


def test_another_setting_of_the_corpus_is_refused(run: Run) -> None:
    with pytest.raises(CharlmError, match=r"^corpus\.validation_fraction: found 0\.3, but "):
        check(run, "corpus.validation_fraction=0.3")


@pytest.mark.parametrize(
    ("key", "command", "run_value"),
    [
        pytest.param("parts", "null", "2", id="parts"),
        pytest.param("precision", "auto", "bfloat16", id="precision"),
        pytest.param("precision", "bfloat16", "float32", id="missing precision"),
        pytest.param("kernel", "auto", "keras", id="kernel"),
        pytest.param("ngram_weight", "0.4", "0.0", id="n-grams that were left out"),
    ],
)
def test_a_value_that_was_decided_when_the_run_began_is_not_compared(
    key: str,
    command: str,
    run_value: str,
    text: Path,
    tmp_path: Path,
) -> None:
    run = fake_runs.begin(tmp_path / "decided", f"training.{key}={run_value}", text=text)
    check(run, f"training.{key}={command}")


@pytest.mark.parametrize(
    ("key", "command", "run_value"),
    [("parts", "1", "2"), ("precision", "float32", "bfloat16"), ("ngram_weight", "0.4", "0.5")],
)
def test_a_value_of_the_user_is_compared(
    key: str,
    command: str,
    run_value: str,
    text: Path,
    tmp_path: Path,
) -> None:
    run = fake_runs.begin(tmp_path / "decided", f"training.{key}={run_value}", text=text)
    with pytest.raises(CharlmError, match=rf"training\.{key}"):
        check(run, f"training.{key}={command}")


@pytest.mark.parametrize(
    "setting",
    ["training.epochs=3", "training.evaluations=9", "training.schedule.name=constant"],
)
def test_a_setting_that_a_resume_may_change_is_not_compared(setting: str, run: Run) -> None:
    check(run, setting)


def test_other_initial_weights_are_refused(run: Run, model_file: Path) -> None:
    message = "the run started with random weights; leave out the initial weights"
    with pytest.raises(CharlmError, match=message):
        check(run, init=read_initial_model(model_file))


@pytest.fixture
def child(text: Path, model_file: Path, tmp_path: Path) -> Run:
    """Begin a run with the weights of a model."""
    return fake_runs.begin_run(tmp_path / "child", (), text=text, init=model_file)


def test_the_same_initial_weights_are_accepted(child: Run, model_file: Path) -> None:
    check(child, recipe=None, init=read_initial_model(model_file))


def test_missing_initial_weights_are_refused(child: Run) -> None:
    message = "the run started with the weights of a model; use the same"
    with pytest.raises(CharlmError, match=message):
        check(child, recipe=None)


def test_only_settings_of_the_user_change_the_run(run: Run) -> None:
    settings = ["training.steps=70", "training.log_every=5", "model.units=8"]
    user = UserSettings(recipe="tiny", overrides=parse_overrides(settings))
    assert new_settings(open_run(run.folder).config, user) == {"training.steps": 70}
