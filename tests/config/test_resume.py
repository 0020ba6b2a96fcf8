"""What a resume may change, and what may not change is refused by name."""

from typing import Any

import pytest

from charlm.config.file import check_resume, flatten
from charlm.config.schema import Config
from charlm.errors import CharlmError

RESUMABLE = {
    *("training.epochs", "training.steps", "training.optimizer.learning_rate", "training.early_stopping"),
    *("training.schedule.name", "training.schedule.warmup_steps", "training.schedule.final_fraction"),
    *("training.evaluations", "training.keep_checkpoints", "training.log_every", "sampling.length", "sampling.prompt"),
    *("sampling.temperature", "sampling.top_k", "sampling.top_p", "sampling.min_p"),
}


def change(section: Any, key: str, value: Any) -> Any:
    """Return a config with another value, which is not checked."""
    name, _, rest = key.partition(".")
    return section.model_copy(update={name: change(getattr(section, name), rest, value) if rest else value})


@pytest.mark.parametrize("key", flatten(Config()))
def test_what_decided_the_steps_so_far_is_refused_and_the_rest_returned_with_both_values(key: str) -> None:
    before = flatten(Config())[key]
    if key in RESUMABLE:
        assert check_resume(Config(), change(Config(), key, "new")) == {key: (before, "new")}
    else:
        with pytest.raises(CharlmError) as caught:
            check_resume(Config(), change(Config(), key, {"class_name": "L2"}), origin="a file: ")
        assert str(caught.value).startswith(f"a file: {key}: found {{'class_name': 'L2'}}; must be ")
        assert str(caught.value).endswith("start a new run")


def test_a_resume_without_changes_has_none_and_one_that_is_refused_says_both_values_as_yaml_has_them() -> None:
    assert check_resume(Config(), Config()) == {}
    changed = change(change(Config(), "training.shuffle", True), "training.steps", 3)
    with pytest.raises(CharlmError, match=r"^training\.shuffle: found true; must be false, as at the start of the run"):
        check_resume(Config(), changed)
