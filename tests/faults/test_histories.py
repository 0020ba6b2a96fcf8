"""Whatever happens to a run, it ends with the same bytes: histories that Hypothesis makes up, with the fake engine."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import Faults, crash_after, interrupt_after
from fake_runs import Trained, resume, train
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import cut

from charlm.network.model_file import read_fields, read_tensors, tensors_sha256
from charlm.runs.folder import saved_steps

pytestmark = pytest.mark.slow

FREE = ("training.early_stopping=9", "training.parts=2")
"""Settings that a resume may change, or repeat, without a change of the results."""


def damage(run: Path, kind: str) -> None:
    """Damage a run as a disk that loses what was written last, or a killed process; an older checkpoint stays."""
    steps = saved_steps(run / "checkpoints")
    newest = run / f"checkpoints/step-{steps[0]}.safetensors" if len(steps) > 1 else None
    match kind:
        case "cut checkpoint" if newest:
            cut(newest)
        case "lost checkpoint" if newest:
            newest.unlink()
        case "half a line":
            with (run / "metrics.jsonl").open("ab") as file:
                file.write(b'{"step": 99, "spl')
        case "unfinished files":
            (run / "checkpoints").mkdir(exist_ok=True)
            for name in (".1.last.safetensors.tmp", "checkpoints/.1.step-10.safetensors.tmp"):
                (run / name).touch()
        case "no last.safetensors":
            (run / "last.safetensors").unlink(missing_ok=True)


DAMAGES = ("cut checkpoint", "lost checkpoint", "half a line", "unfinished files", "no last.safetensors")
ENDS = st.tuples(st.sampled_from([interrupt_after, crash_after]), st.integers(1, 50))
EVENTS = st.tuples(ENDS, st.lists(st.sampled_from(DAMAGES), max_size=2), st.sampled_from(FREE))


def weights(run: Trained) -> dict[str, bytes]:
    """Return the weights and the last state; what else is in a model names the settings that were changed."""
    models = {path.name: read_tensors(path)[2] for path in run.folder.glob("*.safetensors")}
    found = {name: tensors_sha256(tensors).encode() for name, tensors in models.items()}
    return found | {"step-50.safetensors": run.files()["step-50.safetensors"]}


def check_one_path(run: Path) -> None:
    """Check that no model, checkpoint or line of the log is of a step after that of the newest checkpoint."""
    (newest_step, *_) = saved_steps(run / "checkpoints") or [0]
    models = (*run.glob("*.safetensors"), *run.glob("checkpoints/step-*"))
    assert max([read_fields(path)["step"] for path in models], default=0) <= newest_step
    assert not newest_step or read_fields(run / "last.safetensors")["step"] <= newest_step


@settings(max_examples=25, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_a_run_that_is_interrupted_crashed_damaged_and_changed_ends_like_one_that_was_left_alone(
    whole: Trained, history: list[tuple[tuple[Callable[[int], Faults], int], list[str], str]]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run/run"
        for (end, step), damages, override in history:
            with contextlib.suppress(ZeroDivisionError):
                if run.exists():
                    resume(run, override, faults=end(step))
                else:
                    train(run.parent, faults=end(step))
            check_one_path(run)
            for kind in damages:
                damage(run, kind)
        ended = resume(run)
        assert ended.outcome.progress.step == 50
        assert weights(ended) == weights(whole)
        assert ended.repeatable_metrics == whole.repeatable_metrics


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return the run that was left alone."""
    return train(tmp_path_factory.mktemp("whole") / "run")
