"""Writing together with a model: what each key does, compared with a network that is read anew."""

from dataclasses import replace

import numpy as np
import pytest

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.sampling.drafts import BACKSPACE, ESCAPE, LEFT, Draft, begin, choices, press, text_of
from charlm.sampling.generation import TextRequest
from charlm.sampling.sampler import Sampler

FIVE = TextRequest(5, Sampler(), seed=1, prompt="ab")


@pytest.fixture
def start(bundle: Bundle) -> Draft:
    """Return a text of a model of a line break, a, b, an unknown id and an end-of-text id, which goes on by 5 ids."""
    return begin(bundle, FIVE)


def press_all(draft: Draft, keys: str) -> Draft:
    for key in keys:
        draft = press(draft, key)
    return draft


def expected_probabilities(written: str, bundle: Bundle) -> list[float]:
    """Return p of each id after a text, without the unknown id, from a network that reads the text at once."""
    ids = bundle.vocabulary.encode(written)[:, None]
    logits = bundle.parameters.unroll(ids, bundle.parameters.zero_state(1))[0][-1, 0].astype(np.float64)
    logits[3] = -np.inf
    return [float(p) for p in np.exp(logits) / np.exp(logits).sum()]


@pytest.mark.parametrize("keys", ["", "tbba\r", "t\r\rabu"])
def test_the_choices_are_the_likeliest_characters_in_order_without_the_unknown_id(start: Draft, keys: str) -> None:
    draft = press_all(start, keys)
    expected = expected_probabilities(text_of(draft), start.bundle)
    assert [index for index, _ in choices(draft)] == sorted((0, 1, 2, 4), key=lambda index: -expected[index])
    assert [share for _, share in choices(draft)] == pytest.approx(sorted(expected, reverse=True)[:4], abs=1e-6)


@pytest.mark.parametrize(
    ("key", "notice"),
    [
        *((number, "there are the choices 1 to 4") for number in "059"),
        *((key, "there is nothing to undo") for key in ("u", LEFT, *BACKSPACE)),
        ("x", "this key does nothing"),
    ],
)
def test_a_key_that_does_nothing_is_told_until_the_next_one(start: Draft, key: str, notice: str) -> None:
    pressed = press(start, key)
    assert (pressed.ids, pressed.notice) == ((), notice)
    assert press(pressed, "1").notice == ""


def test_space_goes_on_and_after_an_undo_otherwise(start: Draft) -> None:
    start.bundle.parameters.logits_bias[4] = -1000  # the model never ends the text
    first = press(start, " ")
    other = press_all(first, "u ")
    assert len(first.ids) == len(other.ids) == 5
    assert first.ids != other.ids


def test_a_continuation_ends_with_the_end_of_the_text(start: Draft) -> None:
    start.bundle.parameters.logits_bias[4] = 1000
    draft = press(start, " ")
    assert (draft.ids, text_of(draft)) == ((4,), "ab\n\n")


def test_undo_takes_back_whole_changes_of_any_kind(start: Draft) -> None:
    changed = press_all(start, "1tba\r ")
    lengths = []
    for _ in range(3):
        changed = press(changed, "u")
        lengths.append(len(changed.ids))
    assert lengths == [3, 1, 0]
    assert choices(changed) == choices(start)


def test_keys_are_text_while_typing_and_backspace_removes_one(start: Draft) -> None:
    draft = press_all(start, f"tabq1{BACKSPACE[0]}")
    assert (draft.typed, draft.is_done) == ("abq", False)


def test_escape_leaves_out_what_was_typed_and_other_escape_sequences_do_nothing(start: Draft) -> None:
    typing = press_all(start, "tb")
    assert press(typing, LEFT).typed == "b"
    left = press(typing, ESCAPE)
    assert (left.typed, text_of(left)) == (None, "ab")


def test_a_character_that_the_model_does_not_know_is_named_and_can_be_mended(bundle: Bundle) -> None:
    vocabulary = replace(bundle.vocabulary, characters=("\n", "a", "b", "c", None), unknown_id=None)
    draft = press_all(begin(replace(bundle, vocabulary=vocabulary), FIVE), "tbé\r")
    assert draft.typed == "bé"
    assert draft.notice.startswith("character 2 of what was typed, 'é' (U+00E9), was not in the training text")
    assert text_of(press_all(draft, f"{BACKSPACE[0]}\r")) == "abb"


def test_keys_after_the_end_change_nothing(start: Draft) -> None:
    draft = press_all(start, "1q")
    assert draft.is_done
    assert press_all(draft, " 1ttyped") is draft


def test_weights_that_are_not_finite_are_refused(start: Draft) -> None:
    with pytest.raises(CharlmError, match="not finite"), np.errstate(invalid="ignore"):
        choices(replace(start, logits=np.full(5, np.nan, np.float32)))
