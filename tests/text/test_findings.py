"""Possible problems in a text."""

import random
import re
from pathlib import Path

import pytest
from corpora import make_corpus, write_texts

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import CorpusConfig
from charlm.text.findings import find_omissions, find_problems
from charlm.text.tokenization import tokenize


def test_rare_characters_are_counted_and_named_with_the_key_that_decides(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab" * 98 + "éé" + "\x85e", min_count=3)
    (found,) = find_omissions(corpus)
    assert found == (
        "rare characters: 3 of 5 share the unknown id, 2.00% of the text; the commonest are 'é', 'e', '\\x85'; "
        "corpus.min_count=3 decides it, and -s corpus.min_count=1 keeps all"
    )
    assert found in find_problems(corpus)


def test_files_that_are_left_out_are_named_but_hidden_ones(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "abba", b"\xff", "")
    (sources / ".git").mkdir()
    (found,) = find_omissions(tokenize([str(sources)], tmp_path / "out", CorpusConfig()))
    names = f"{sources}/01.txt (not valid utf-8 at byte 0 (0xFF)), {sources}/02.txt (empty)"
    assert found == f"files: 2 left out: {names}; if a file is text, convert it to utf-8"


def letters(length: int) -> str:
    """Return a text of eight letters."""
    return "".join(random.Random(0).choices("abcdefgh", k=length))


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (letters(23_000 - 11) + 11 * "z", None),
        (letters(23_000 - 12) + 12 * "z", r"validation text: .* 0\.5% .* do not occur before it, 'z';"),
        (letters(22_223 - 60) + "xyxyz" * 12, r"validation text: .* 2\.7% .* do not occur before it, 'x', 'y', 'z';"),
        (letters(22_222), "length: 19,999 characters"),
        (letters(22_223), None),
        (DEFAULT_CORPUS.read_text(encoding="utf-8"), None),
        *(("a   b" * 5000, None), (("    " + "c" * 36) * 600, None)),
        *(
            ("    ab" * 4000, "blanks: 67% .* in rows of 4"),
            (("c" * 35 + "    ") * 600, "blanks: 10%"),
        ),
    ],
    ids=lambda text: str(text)[-40:],
)
def test_new_characters_a_short_text_and_many_blanks_are_found(text: str, finding: str | None, tmp_path: Path) -> None:
    found = find_problems(make_corpus(tmp_path, text))
    assert len(found) == (finding is not None)
    assert re.match(finding or "", "".join(found)), found
