"""What a refused value must be, in the words of charlm."""

import re
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charlm.config.file import parse_config
from charlm.errors import CharlmError, requirement


class Thing(BaseModel):
    """A field of each kind."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    needed: int = 0
    count: int = Field(default=1, ge=1, le=70_000)
    share: float = Field(default=0.5, gt=0, lt=1)
    flag: bool = True
    name: str = Field(default="a", min_length=1, max_length=3)
    kind: Literal["a", "b"] = "a"
    names: list[str] = Field(default=["a"], min_length=1, max_length=2)
    facts: dict[str, int] = {}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(("count", "x", "must be a whole number"), ("count", 0, "must be 1 or more")),
        *(("count", 70_001, "must be 70,000 or less"), ("share", "x", "must be a number")),
        *(("share", float("nan"), "must be a finite number"), ("share", 0.0, "must be more than 0")),
        *(("share", 1.0, "must be less than 1"), ("flag", 1, "must be true or false"), ("name", 1, "must be text")),
        *(("name", "", "must have 1 characters or more"), ("name", "abcd", "must have 3 characters or fewer")),
        *(("kind", "c", "must be 'a' or 'b'"), ("names", "a", "must be a list")),
        *(("names", [], "must have 1 items or more"), ("names", ["a", "b", "c"], "must have 2 items or fewer")),
        *(("facts", 1, "must be a mapping of keys to values"), ("other", 1, "there is no such key here")),
    ],
)
def test_every_kind_of_demand_is_in_plain_words(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ValidationError) as error:
        Thing.model_validate({key: value})
    assert requirement(error.value.errors()[0]) == expected


@pytest.mark.parametrize("key", ["str", "function-after", "dict[str,any]", "[key]"])
def test_an_unknown_key_is_named_even_if_it_is_spelt_like_a_kind_of_pydantic(key: str) -> None:
    for sections in ([], ["training"], ["model", "rnn"]):
        values: dict[str, Any] = {key: 1}
        for section in reversed(sections):
            values = {section: values}
        with pytest.raises(CharlmError, match=rf"^x: {re.escape('.'.join([*sections, key]))}: unknown key; there are"):
            parse_config(values, origin="x")


def test_a_value_of_no_kind_that_would_do_is_named_by_its_key_alone() -> None:
    with pytest.raises(CharlmError, match=r"^x: model\.rnn\.bias_regularizer: found 1 "):
        parse_config({"model": {"rnn": {"bias_regularizer": 1}}}, origin="x")
