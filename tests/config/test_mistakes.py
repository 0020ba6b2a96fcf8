"""What a refused value must be, in the words of charlm."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charlm.errors import requirement


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
        ("count", "x", "must be a whole number"),
        ("count", 0, "must be 1 or more"),
        ("count", 70_001, "must be 70,000 or less"),
        ("share", "x", "must be a number"),
        ("share", float("nan"), "must be a finite number"),
        ("share", 0.0, "must be more than 0"),
        ("share", 1.0, "must be less than 1"),
        ("flag", 1, "must be true or false"),
        ("name", 1, "must be text"),
        ("name", "", "must have 1 characters or more"),
        ("name", "abcd", "must have 3 characters or fewer"),
        ("kind", "c", "must be 'a' or 'b'"),
        ("names", "a", "must be a list"),
        ("names", [], "must have 1 items or more"),
        ("names", ["a", "b", "c"], "must have 2 items or fewer"),
        ("facts", 1, "must be a mapping of keys to values"),
        ("other", 1, "there is no such key here"),
    ],
)
def test_every_kind_of_demand_is_in_plain_words(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ValidationError) as error:
        Thing.model_validate({key: value})
    assert requirement(error.value.errors()[0]) == expected
