"""Names that a caller may choose from."""

from typing import Literal

import pytest

from charlm.errors import CharlmError, check_choice, check_name


def test_a_name_of_the_list_passes() -> None:
    check_name("part", "b", ["a", "b"])
    check_choice("part", "b", Literal["a", "b"])


@pytest.mark.parametrize(("names", "expected"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_another_name_is_refused_with_those_that_would_do(names: list[str], expected: str) -> None:
    with pytest.raises(CharlmError, match=f"^part: found 'x'; must be {expected}$"):
        check_name("part", "x", names)


def test_a_value_that_is_not_one_of_a_literal_type_is_refused() -> None:
    with pytest.raises(CharlmError, match=r"^split: found 'dev'; must be train or test$"):
        check_choice("split", "dev", Literal["train", "test"])
