"""Writing together with a model: what each key does, compared with a network that is read anew."""

from dataclasses import replace

import numpy as np
import pytest

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.rnn import unroll, zero_state
from charlm.sampling.drafts import BACKSPACE, ESCAPE, LEFT, Draft, Settings, begin, choices, press, text_of
from charlm.sampling.sampler import Sampler


@pytest.fixture
def settings(bundle: Bundle) -> Settings:
    """Return a model of a line break, a, b, an unknown id and an end-of-text id, which goes on by 5 ids."""
    return Settings(bundle, Sampler(), seed=1, length=5)


def without_end(settings: Settings) -> Settings:
    """Let the model never end the text."""
    settings.bundle.parameters.logits_bias[4] = -1000
    return settings


def press_all(draft: Draft, keys: str, settings: Settings) -> Draft:
    for key in keys:
        draft = press(draft, key, settings)
    return draft


def text(draft: Draft, settings: Settings) -> str:
    return text_of(draft, settings.bundle.vocabulary)


def expected_probabilities(written: str, settings: Settings) -> list[float]:
    """Return p of each id after a text, without the unknown id, from a network that reads the text at once."""
    parameters = settings.bundle.parameters
    ids = settings.bundle.vocabulary.encode(written)[:, None]
    logits = unroll(parameters, ids, zero_state(parameters, 1))[0][-1, 0].astype(np.float64)
    logits[3] = -np.inf
    return [float(p) for p in np.exp(logits) / np.exp(logits).sum()]


# Choices


def test_the_choices_are_the_likeliest_characters_in_order_without_the_unknown_id(settings: Settings) -> None:
    found = choices(begin("ab", settings), settings)
    expected = expected_probabilities("ab", settings)
    assert [choice.ids[0] for choice in found] == sorted((0, 1, 2, 4), key=lambda index: -expected[index])
    assert [choice.probability for choice in found] == pytest.approx(sorted(expected, reverse=True)[:4], abs=1e-6)


@pytest.mark.parametrize("key", ["0", "5", "9"])
def test_a_number_without_a_choice_changes_nothing_but_the_notice(settings: Settings, key: str) -> None:
    draft = begin("ab", settings)
    pressed = press(draft, key, settings)
    assert (pressed.place, pressed.notice) == (draft.place, "there are the choices 1 to 4")


def test_a_continuation_that_is_chosen_is_the_one_that_was_shown(settings: Settings) -> None:
    draft = press(begin("ab", settings), "s", settings)
    shown = choices(draft, settings)
    assert all(choice.probability is None and 1 <= len(choice.ids) <= 5 for choice in shown)
    for number, choice in enumerate(shown, start=1):
        assert press(draft, str(number), settings).place.ids() == [*choice.ids]


def test_the_same_key_again_offers_other_continuations_and_c_the_characters(settings: Settings) -> None:
    first = press(begin("ab", settings), "s", settings)
    again = press(first, "s", settings)
    assert choices(again, settings) != choices(first, settings)
    assert choices(press(again, "c", settings), settings) == choices(begin("ab", settings), settings)


# Going on and back


def test_space_goes_on_and_each_time_otherwise(settings: Settings) -> None:
    first = press(begin("ab", without_end(settings)), " ", settings)
    other = press_all(first, "u ", settings)
    assert len(first.place.ids()) == len(other.place.ids()) == 5
    assert first.place.ids() != other.place.ids()


def test_a_continuation_ends_with_the_end_of_the_text(settings: Settings) -> None:
    settings.bundle.parameters.logits_bias[4] = 1000
    draft = press(begin("ab", settings), " ", settings)
    assert (draft.place.ids(), text(draft, settings)) == ([4], "ab\n\n")


@pytest.mark.parametrize("key", [*BACKSPACE, LEFT])
def test_back_removes_a_character_and_the_network_is_as_before_it(settings: Settings, key: str) -> None:
    one = press(begin("ab", settings), "1", settings)
    back = press(press(one, "2", settings), key, settings)
    assert back.place is one.place
    assert choices(back, settings) == choices(one, settings)


def test_undo_takes_back_whole_changes_of_any_kind(settings: Settings) -> None:
    draft = begin("ab", settings)
    changed = press_all(draft, f"1 t{'ba'}\r{BACKSPACE[0]}", settings)
    lengths = [len(changed.place.ids())]
    for _ in range(4):
        changed = press(changed, "u", settings)
        lengths.append(len(changed.place.ids()))
    assert lengths[1] == lengths[0] + 1  # the character that backspace removed
    assert lengths[2] == lengths[1] - 2  # what was typed
    assert lengths[3:] == [1, 0]
    assert press(changed, "u", settings).notice == "there is nothing to undo"


# Typing


def test_what_is_typed_is_read_like_a_prompt(settings: Settings) -> None:
    draft = press_all(begin("a", settings), "tbba\r", settings)
    assert text(draft, settings) == "abba"
    (expected,) = choices(begin("abba", settings), settings)[:1]
    (found,) = choices(draft, settings)[:1]
    assert found.ids == expected.ids
    assert found.probability == pytest.approx(expected.probability, abs=1e-6)


def test_keys_are_text_while_typing_and_backspace_removes_one(settings: Settings) -> None:
    draft = press_all(begin("a", settings), f"tabq1{BACKSPACE[0]}", settings)
    assert (draft.typed, draft.is_done) == ("abq", False)


def test_escape_leaves_out_what_was_typed_and_other_escape_sequences_do_nothing(settings: Settings) -> None:
    typing = press_all(begin("a", settings), "tb", settings)
    assert press(typing, LEFT, settings).typed == "b"
    left = press(typing, ESCAPE, settings)
    assert (left.typed, text(left, settings)) == (None, "a")


def test_a_character_that_the_model_does_not_know_is_named_and_can_be_mended(bundle: Bundle) -> None:
    vocabulary = replace(bundle.vocabulary, characters=("\n", "a", "b", "c", None), unknown_id=None)
    settings = Settings(replace(bundle, vocabulary=vocabulary), Sampler(), seed=1, length=5)
    draft = press_all(begin("a", settings), "tbé\r", settings)
    assert draft.typed == "bé"
    assert draft.notice.startswith("character 2 of what was typed, 'é' (U+00E9), was not in the training text")
    assert text(press_all(draft, f"{BACKSPACE[0]}\r", settings), settings) == "ab"


# The rest


def test_keys_after_the_end_change_nothing(settings: Settings) -> None:
    draft = press_all(begin("ab", settings), "1q", settings)
    assert draft.is_done
    assert press_all(draft, " 1ttyped", settings) == draft


def test_a_key_without_a_meaning_is_told_until_the_next_one(settings: Settings) -> None:
    draft = press(begin("a", settings), "x", settings)
    assert draft.notice == "this key does nothing"
    assert press(draft, "1", settings).notice == ""


def test_weights_that_are_not_finite_are_refused(settings: Settings) -> None:
    settings.bundle.parameters.logits_bias[:] = np.nan
    with pytest.raises(CharlmError, match="not finite"), np.errstate(invalid="ignore"):
        choices(begin("a", settings), settings)
