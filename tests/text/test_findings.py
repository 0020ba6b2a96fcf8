"""Possible problems in the text of a corpus."""

import random
import re
from pathlib import Path

import pytest
from corpora import make_corpus, write_texts

import charlm
from charlm.config.schema import CorpusConfig
from charlm.runs.folder import DEFAULT_CORPUS
from charlm.text.corpus import Corpus
from charlm.text.findings import find_omissions, find_problems
from charlm.text.tokenization import tokenize

# Omissions


@pytest.fixture
def with_rare_characters(tmp_path: Path) -> Corpus:
    """Return a corpus with an unknown id."""
    return make_corpus(tmp_path, "ab" * 98, "éé\x85e", min_count=3)


def test_rare_characters_are_reported(with_rare_characters: Corpus) -> None:
    assert list(find_omissions(with_rare_characters)) == [
        "rare characters: 3 of 5 share the unknown id, 2.00% of the text; "
        "-s corpus.min_count=1 keeps all"
    ]


def test_an_omission_is_a_problem(with_rare_characters: Corpus) -> None:
    (omission,) = find_omissions(with_rare_characters)
    assert omission in find_problems(with_rare_characters)


def test_files_that_are_left_out_are_reported_except_hidden_ones(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "abba", b"\xff", "")
    (sources / ".git").mkdir()
    corpus = tokenize([str(sources)], tmp_path / "out", CorpusConfig())
    invalid = f"{sources}/01.txt (not valid utf-8 at byte 0 (0xFF))"
    empty = f"{sources}/02.txt (empty)"
    assert list(find_omissions(corpus)) == [f"files: 2 left out: {invalid}, {empty}"]


# Problems


def letters(length: int) -> str:
    """Return a text of eight letters, which differs for each length."""
    return "".join(random.Random(length).choices("abcdefgh", k=length))


PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")
PACKAGE = Path(charlm.__file__).parent
LICENSE = (PACKAGE / "exports/files/LICENSE").read_text(encoding="utf-8") * 10
SOURCE_CODE = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))]


def lines(length: int) -> str:
    """Return such a text in lines of 50 characters with their breaks."""
    return re.sub(r"(.{49}).", r"\1\n", letters(length))


LOG = "".join(f"12 Nov 10:{n // 60:02}:{n % 60:02} unpack lib{n % 7}:amd64\n" for n in range(600))
"""A log, most of which is repeated in spans of 20 characters, and no line."""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(letters(23_000 - 65) + 65 * "z", id="few new characters at the end"),
        pytest.param(letters(19_998) + 2222 * "z", id="too short to count characters"),
        pytest.param(
            lines(2000) + lines(16_000) + lines(2000)[:960] + lines(1040), id="48% repeated"
        ),
        pytest.param(LOG, id="log"),
        pytest.param(PLAYS, id="the plays"),
        pytest.param(
            PLAYS[:70_000] + "\ufffd" + LICENSE[:3000] + PLAYS[70_000:], id="a license inside"
        ),
        pytest.param("".join(SOURCE_CODE), id="source code"),
    ],
)
def test_a_good_text_has_no_problems(text: str, tmp_path: Path) -> None:
    assert find_problems(make_corpus(tmp_path, text)) == []


def test_a_validation_text_of_a_few_characters_has_no_problems(tmp_path: Path) -> None:
    assert find_problems(make_corpus(tmp_path, PLAYS, validation_fraction=0.0002)) == []


@pytest.mark.parametrize("count", [2500, 10_000])
def test_a_license_at_the_end_is_reported(count: int, tmp_path: Path) -> None:
    text = f"{PLAYS}\n*** END ***\nTHE LICENSE\n{LICENSE[:count]}"
    (problem,) = find_problems(make_corpus(tmp_path, text))
    place = re.search(r"in the last ([\d,]+) of .*, from about the line '(.*)';", problem)
    assert place is not None
    assert abs(int(place[1].replace(",", "")) - count) < 700
    assert place[2] in text[len(PLAYS) :]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            letters(20_700) + 2300 * "a",
            "validation text: the end of the text differs from the rest, in the last 2,299 ",
            id="known characters at the end",
        ),
        pytest.param(
            lines(2000) + lines(16_000) + lines(2000)[:1150] + lines(850),
            "validation text: 5[4-7]% of it are lines that the training text has too",
            id="repeated at the end",
        ),
        pytest.param(
            lines(304_000) + lines(38_000) + lines(38_000)[:10_000] + lines(28_000),
            "validation text: (99|100)% of it are lines",
            id="repeated from the end of a long text",
        ),
    ],
)
def test_a_problem_is_reported(
    text: str,
    problem: str,
    tmp_path: Path,
) -> None:
    (message,) = find_problems(make_corpus(tmp_path, text))
    assert re.match(problem, message)
