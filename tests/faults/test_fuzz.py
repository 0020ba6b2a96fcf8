"""Configs with random values for every key of the schema: a sample of `fuzz.py`."""

import pytest
from fake_engine import FakeEngines
from faults.fuzz import anything, check, fuzz, settings_of
from hypothesis import given, settings

from charlm.config.file import flatten
from charlm.config.schema import Config
from charlm.errors import CharlmError

pytestmark = pytest.mark.slow


def test_a_config_is_refused_in_a_line_or_trained_and_read_back() -> None:
    outcomes = fuzz(150, FakeEngines())
    assert outcomes["refused"] > 20
    assert outcomes["trained"] > 20


def test_a_config_is_refused_in_a_line_or_trained_by_keras() -> None:
    from charlm.engine import runtime

    runtime.start()
    from charlm.engine.keras_engine import KerasEngine

    assert fuzz(12, KerasEngine).total() >= 12


def test_every_key_of_the_schema_is_tried() -> None:
    assert {*flatten(Config())} <= {*settings_of(Config.model_json_schema())}


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(anything)
def test_an_unknown_key_is_refused_whatever_its_value_is(value: object) -> None:
    assert check({"extra": value}, FakeEngines()) == "refused"


def test_a_message_of_several_lines_is_noticed() -> None:
    class TwoLinesError(CharlmError):
        def __str__(self) -> str:
            return "one: \n two"

    def engine(*_: object, **__: object) -> None:
        raise TwoLinesError("")

    with pytest.raises(AssertionError, match="not a harmless line"):
        check({}, engine)  # type: ignore[arg-type]
