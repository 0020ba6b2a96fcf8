"""How much of a text repeats itself, against a comparison of all its windows."""

import random

import numpy as np
import pytest

from charlm.text.repeats import repeated_share


def ids_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(
    "text",
    [
        "abcabc",
        "aaaa",
        "abcdef",
        "abcdabcd-abcd",
        "\0\0\0\1\0\0\0\1",
        "".join(random.Random(1).choices("ab", k=200)),
        "ab",
        "",
    ],
)
@pytest.mark.parametrize("window", [1, 3])
def test_the_share_is_that_of_the_windows_that_occur_earlier(text: str, window: int) -> None:
    windows = [text[start : start + window] for start in range(len(text) - window + 1)]
    repeated = sum(found in windows[:index] for index, found in enumerate(windows))
    assert repeated_share(ids_of(text), window=window) == pytest.approx(repeated / max(1, len(windows)))


def test_a_passage_that_occurs_again_elsewhere_is_found_at_any_distance() -> None:
    text = "".join(random.Random(2).choices("abcdefgh ", k=2000))
    again = text + "-" * 7 + text[1000:1500]
    assert repeated_share(ids_of(text)) == 0
    assert repeated_share(ids_of(again)) == pytest.approx((500 - 99) / (len(again) - 99))
