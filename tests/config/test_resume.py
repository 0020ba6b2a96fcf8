"""What a resume may change: each key of the schema has a place, and what may not change is refused by name."""

from typing import Any

import pytest

from charlm.config.file import check_resume, flatten, nest, parse_config
from charlm.config.schema import Config
from charlm.errors import CharlmError


def config(**settings: Any) -> Config:
    """Return a config with some settings, by keys with __ for the dot."""
    written = {"training__epochs": 10, **settings}
    return parse_config(nest((key.replace("__", "."), value) for key, value in written.items()), origin="test")


@pytest.mark.parametrize(
    "settings",
    [
        *({}, {"training__steps": 70}, {"training__early_stopping": 7}),
        *({"training__optimizer__learning_rate": 0.07}, {"sampling__prompt": "x"}),
    ],
    ids=str,
)
def test_setting_that_may_change_is_returned_with_both_values(settings: dict[str, Any]) -> None:
    changes = check_resume(config(), config(**settings))
    assert changes == {key: (flatten(config())[key], flatten(config(**settings))[key]) for key in changes}
    assert [*changes] == [key.replace("__", ".") for key in settings]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 2}, "seed: found 2; must be 1, as at the start of the run"),
        ({"model__units": 9}, "model.units: found 9; must be 512"),
        ({"training__shuffle": True}, "training.shuffle: found true; must be false"),
        ({"training__optimizer__weight_decay": 0.1}, "training.optimizer.weight_decay: found 0.1; must be null"),
        (
            {"model__rnn__kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}},
            "model.rnn.kernel_regularizer: found {'class_name': 'L2'",
        ),
    ],
    ids=str,
)
def test_setting_that_may_not_change_is_refused_with_both_values(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CharlmError) as caught:
        check_resume(config(), config(**settings), origin="config.yaml: ")
    assert str(caught.value).startswith(f"config.yaml: {message}")
    assert "start a new run" in str(caught.value)
