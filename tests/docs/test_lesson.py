"""The lesson and docs/understanding.md: their numbers and claims agree with the outputs.

The stored notebook is read; nothing is trained.
"""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pages import text_of

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe

CELLS = json.loads(text_of("docs/lesson.ipynb"))["cells"]
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")
NOT_A_RESULT = re.compile(
    r"""
    \$\$?[^$]+\$\$? | `[^`]+` | \]\([^)]*\)            # equations, code, addresses
    | \b(?:19|20)\d\d\b | Python\ [\d.]+\ to\ [\d.]+   # years, versions
    | [Ss]ections?\ \d+(?:\ and\ \d+)? | [Ee]xercise\ \d+
    | ^\#+\ \d+ | ^\d+\. | \*\*\d+\.\*\*               # headings, exercises, solutions
    """,
    re.MULTILINE | re.VERBOSE,
)


def printed_by(cell: dict[str, list[dict[str, list[str]]]]) -> str:
    """Return what a code cell printed."""
    return "".join("".join(output.get("text", ())) for output in cell["outputs"])


def lesson_sections() -> dict[str, tuple[str, str]]:
    """Return the prose of each section by its heading, and its code with what it printed."""
    sections: dict[str, tuple[str, str]] = {}
    heading = ""
    for cell in CELLS:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            prose, evidence = sections[heading]
            sections[heading] = prose, f"{evidence}{source}\n{printed_by(cell)}\n"
            continue
        for part in re.split(r"^(?=##? )", source, flags=re.MULTILINE):
            heading = (
                part.splitlines()[0]
                if part.startswith("#") and not part.startswith("###")
                else heading
            )
            prose, evidence = sections.get(heading, ("", ""))
            sections[heading] = f"{prose}{part}\n\n", evidence
    return sections


SECTIONS = lesson_sections()
OUTPUT = "".join(printed_by(cell) for cell in CELLS if cell["cell_type"] == "code")
ALL_EVIDENCE = "".join(evidence for _, evidence in SECTIONS.values())
USES_ALL = {"## Exercises", "## Solutions"}
"""Sections about the cells of all sections."""


def numbers_in(text: str) -> set[float]:
    """Return the numbers of a text."""
    return {float(number.replace(",", "")) for number in NUMBER.findall(text)}


@pytest.mark.parametrize("heading", SECTIONS)
def test_numbers_in_the_prose_of_the_lesson_are_in_its_cells(heading: str) -> None:
    prose, evidence = SECTIONS[heading]
    known = numbers_in(ALL_EVIDENCE if heading in USES_ALL else evidence)
    assert numbers_in(NOT_A_RESULT.sub(" ", prose)) <= known | {0, 1}


def rows(pattern: str) -> NDArray[np.float64]:
    """Return the numbers after a pattern in printed lines, a row for each line."""
    rests = re.findall(rf"{pattern}(.*)", OUTPUT)
    assert rests, pattern
    return np.array([[float(number) for number in NUMBER.findall(rest)] for rest in rests])


def windows_reach_further_back() -> bool:
    used = rows("characters of context used: ").mean(axis=1)  # windows of 4, 16 and 64
    return bool(used[0] < used[1] < used[2])


def windows_score_alike() -> bool:
    return bool(np.ptp(rows(r"windows of +\d+: ")[:, :3].mean(axis=1)) < 0.02)


def text_error_is_larger_than_the_spread() -> bool:
    spread = rows("standard deviation between them ")[0, 0]
    return bool(rows(r"seed \d: [\d.]+ ± ").min() > spread)


def contexts_are_alike() -> bool:
    return bool(np.ptp(rows(r"seed \d: (?=\d+ characters of context used)")) <= 1)


def one_gradient_reaches_further() -> bool:
    *others, furthest = sorted(rows("have a thousandth of the gradient left")[:, 0])
    return bool(furthest > 1.5 * max(others))


def slopes_shorten_the_gradient() -> bool:
    radius = rows("radius of V ")[:, :4]  # [seed, layer]
    saturated = rows(r"radius of V .*saturated ")[:, :4]
    factor = rows(r"factor of V D (?=\[)")
    higher = slice(1, None)
    is_longer = (radius[:, higher] > 1).all() and (radius[:, 0] < 1).all() and (factor < 1).all()
    is_ordered = (np.diff(saturated[:, higher]) > 0).all() and (
        np.diff(factor[:, higher]) < 0
    ).all()
    return bool(is_longer and is_ordered)


def every_network_follows_headings() -> bool:
    (line,) = re.findall("heading before a colon.*", OUTPUT)
    return bool(line.count("*") == 3)


def largest_exponent_differs_between_seeds() -> bool:
    table = rows("largest exponents ")
    largest, second, error = table[:, 0], table[:, 1], table[:, 3]
    is_alone = largest - second > 0.05
    return bool(is_alone.tolist() == [True, False, True] and np.ptp(largest) > 10 * error.max())


def largest_exponent_is_that_of_a_layer() -> bool:
    largest, factor = rows("largest exponents ")[:, 0], rows(r"factor of V D (?=\[)")
    return bool(
        np.allclose(np.exp(largest), factor.max(axis=1), atol=0.01)
        and factor[largest.argmax()].argmax() == 0
    )


def scores_hardly_differ() -> bool:
    return bool(np.ptp(rows(r"seed \d: (?=[\d.]+ ±)")[:, 0]) < 0.01)


def best_rate_is_inside_the_grid() -> bool:
    by_rate = rows("nats by learning rate:")[:, 1::2]
    return bool(by_rate.shape == (2, 5) and (np.abs(by_rate.argmin(axis=1) - 2) < 2).all())


def lstm_is_better_by_more_than_the_spread() -> bool:
    (rnn, rnn_spread), (lstm, lstm_spread) = rows("their mean ")
    return bool(rnn - lstm > 3 * max(rnn_spread, lstm_spread))


def lstm_gradient_is_not_longer() -> bool:
    rnn, lstm = rows(r"steps back with a tenth of \|dL/dh\|:").reshape(
        2, 2, 3
    )  # before, after; seed
    return bool((lstm.max(axis=1) < rnn.min(axis=1)).all() and rnn[1].max() < rnn[0].min())


def lstm_is_better_from_the_first_character() -> bool:
    differences = rows(r"characters? read: +SimpleRNN [\d.]+, LSTM [\d.]+, difference ")[:, 0]
    return bool(
        differences.shape == (4,) and differences.min() > 0.05 and np.ptp(differences) < 0.05
    )


def three_inputs_make_five_digits_equal() -> bool:
    (differences,) = re.findall(r"(?:^0\.\d{6}\n){4}", OUTPUT, re.MULTILINE)
    return float(differences.splitlines()[2]) < 1e-5


def tanh_fails_where_others_succeed() -> bool:
    tanh, relu, lstm = (
        rows(rf"elements, {kind}.*mean squared error ") for kind in ("tanh", "ReLU", "LSTM")
    )
    constant = 1 / 6  # the error of the best constant answer
    is_partial = tanh[0].max() < constant / 2 and tanh[1].min() > 0.9 * constant
    is_learnt = np.median(relu, axis=1).max() < constant / 5 and relu.max() < constant / 2
    is_exact = (np.median(lstm, axis=1) < np.median(relu, axis=1)).all() and (
        lstm > constant / 2
    ).sum() == 1
    return bool(is_partial and is_learnt and is_exact)


def training_makes_only_the_gradient_of_gates_longer() -> bool:
    tanh, relu, lstm = rows("gradient at the first element: before training ").reshape(
        3, 2, 3
    )  # before, after; seed
    is_shorter = tanh[1].max() < tanh[0].min() and lstm[0].max() < tanh[0].min()
    return bool(is_shorter and relu.min() > 0.1 and lstm[1].min() > 100 * lstm[0].max())


def v_at_zero_is_close_to_bigrams() -> bool:
    networks, bigrams = (
        rows(r"network with V = 0, seed \d: "),
        rows("counted bigrams, on the same characters: "),
    )
    return bool((np.abs(networks - bigrams) < 0.06).all())


def largest_gain_keeps_relu_closest() -> bool:
    medians = rows(r"gain [\d.]+: estimate ")[:, 1]
    return bool(np.abs(np.log(medians)).argmin() == 2)


CLAIMS: dict[str, Callable[[], bool]] = {
    "The scores are nearly equal": windows_score_alike,
    "the longer the windows, the more the network gains from": windows_reach_further_back,
    "The ± is the larger one here": text_error_is_larger_than_the_spread,
    "The three networks use nearly the same context": contexts_are_alike,
    "In the third, the line of the lowest layer bends": one_gradient_reaches_further,
    "In all layers but the lowest, $V$ alone would lengthen": slopes_shorten_the_gradient,
    "All three networks have a unit that follows the heading": every_network_follows_headings,
    "a single direction fades more slowly": largest_exponent_differs_between_seeds,
    "It is the same thing that section 8 showed": largest_exponent_is_that_of_a_layer,
    "But the scores hardly differ": scores_hardly_differ,
    "the best rate lies inside the grid": best_rate_is_inside_the_grid,
    "the LSTM is better, by more than the spread": lstm_is_better_by_more_than_the_spread,
    "the LSTM does *not* have the longer gradient": lstm_gradient_is_not_longer,
    "The LSTM is better from the first character on": lstm_is_better_from_the_first_character,
    "After three inputs the two runs agree to five digits": three_inputs_make_five_digits_equal,
    "1.3 comes closest": largest_gain_keeps_relu_closest,
    "comes close to counted bigrams": v_at_zero_is_close_to_bigrams,
    "The tanh network learns a part of the shorter task": tanh_fails_where_others_succeed,
    "training has made it last to the beginning": training_makes_only_the_gradient_of_gates_longer,
}
"""What the prose of the lesson says of the outputs, and the test of it."""


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_of_the_lesson_hold_in_its_outputs(claim: str) -> None:
    assert claim in "".join(prose for prose, _ in SECTIONS.values())
    assert CLAIMS[claim]()


@pytest.mark.parametrize("page", ["docs/lesson.ipynb", "docs/understanding.md"])
def test_cited_works_are_in_the_sources(page: str) -> None:
    sources = " ".join(text_of("docs/understanding.md").partition("\n## Sources\n")[2].split())
    authors = r"([A-Z][\w-]+)(?:(?:, [A-Z][\w-]+)*,? and [A-Z][\w-]+|\s+et al\.)?"
    cited = set(
        re.findall(
            authors + r"\s+\(?((?:19|20)\d\d)\b", text_of(page).partition("\n## Sources\n")[0]
        )
    )
    assert len(cited) > 5
    for author, year in cited:
        assert re.search(rf"- {author}\b[^:]* {year}: ", sources), f"{author} {year}"


def test_numbers_of_the_understanding_page_are_those_of_the_code() -> None:
    page = " ".join(text_of("docs/understanding.md").split())
    assert load_config(find_recipe("default")).model.layers == 4
    assert "a *stack* of four" in page
    assert "at most 0.01 nats per character" in page
    assert "at 1e-10" in page
