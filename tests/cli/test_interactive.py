"""`charlm sample --interactive`: what each line of the user does, compared with a network that is read anew."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import charlm

from charlm.cli.interactive import HELP, write_together
from charlm.network.bundle import Bundle
from charlm.sampling.generation import TextRequest
from charlm.sampling.sampler import Sampler

FIVE = TextRequest(5, Sampler(), seed=1, prompt="ab")


def write(bundle: Bundle, *lines: str, wanted: TextRequest = FIVE) -> tuple[str, list[str]]:
    """Return the text after some lines of the user and the end of the input, and what was shown."""
    answers, shown = iter([*(f"{line}\n" for line in lines), ""]), list[str]()
    return write_together(bundle, wanted, read=lambda: next(answers), show=shown.append), shown


def test_the_choices_are_the_likeliest_characters_without_the_unknown_id(bundle: Bundle) -> None:
    _, shown = write(bundle, "+ba")
    ids = bundle.vocabulary.encode("abba")[:, None]
    logits = bundle.parameters.unroll(ids, bundle.parameters.zero_state(1))[0][-1, 0]
    logits[3] = -np.inf
    shares = np.exp(logits) / np.exp(logits).sum()
    names = ["new line", "a", "b", "", "end of text"]
    order = sorted((0, 1, 2, 4), key=lambda index: -shares[index])
    expected = [f"{number} {names[index]} {shares[index]:.1%}" for number, index in enumerate(order, start=1)]
    assert shown[-2:] == ["abba▏", ", ".join(expected)]


def test_a_number_adds_the_character_and_u_takes_whole_turns_back(bundle: Bundle) -> None:
    written, _ = write(bundle, "+ba", "1", "u")
    assert written == "abba"
    assert write(bundle, "+ba", "", "u", "u", "u")[0] == "ab"


def test_an_empty_line_lets_the_model_go_on_and_after_an_undo_otherwise(bundle: Bundle) -> None:
    bundle.parameters.logits_bias[4] = -1000  # the model never ends the text
    first, other = write(bundle, "")[0], write(bundle, "", "u", "")[0]
    assert len(first) == len(other) == 7
    assert first != other
    bundle.parameters.logits_bias[4] = 1000
    assert write(bundle, "")[0] == "ab\n\n"


def test_a_character_that_the_model_does_not_know_is_named(bundle: Bundle) -> None:
    vocabulary = replace(bundle.vocabulary, characters=("\n", "a", "b", "c", None), unknown_id=None)
    written, shown = write(replace(bundle, vocabulary=vocabulary), "+bé")
    assert written == "ab"
    assert any(line.startswith("character 2 of what was typed, 'é' (U+00E9)") for line in shown)


@pytest.mark.parametrize("line", ["0", "5", "12", "x", "q+"])
def test_another_line_is_answered_with_what_would_do(line: str, bundle: Bundle) -> None:
    written, shown = write(bundle, line)
    assert (written, [told for told in shown if HELP in told]) == ("ab", [HELP, f"found {line!r}; {HELP}"])


def test_a_page_fits_the_terminal_and_shows_the_end_of_the_text(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, shown = write(bundle, wanted=replace(FIVE, prompt="ab\n" * 100 + "abba" * 99))
    assert len(shown) < 20
    assert sum(map(len, shown)) <= 14 * 60
    assert "".join(shown).partition("▏")[0].endswith("abba")


# The command


def test_the_text_is_the_result_and_all_else_is_shown_aside(bundle_folder: Path) -> None:
    command = charlm("sample", bundle_folder, "-p", "ab", "--interactive", stdin="+ba\nq\n")
    assert (command.exit_code, command.stdout) == (0, "abba\n")
    assert "abba▏" in command.stderr
