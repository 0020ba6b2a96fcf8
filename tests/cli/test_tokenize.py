"""`charlm tokenize`: what it prints."""

from pathlib import Path

import pytest
from commands import charlm, run_line


def test_the_corpus_is_summarized_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba\n" * 50, encoding="utf-8")
    command = charlm("tokenize", tmp_path / "text.txt", "--out", tmp_path / "corpus", "-s", "corpus.test_fraction=0.1")
    assert command.stdout == (
        f"{tmp_path}/corpus: 250 characters, a vocabulary of 3, 1 document: train 200, validation 25, test 25\n"
    )


@pytest.mark.usefixtures("place")
def test_a_failure_leaves_nothing_behind() -> None:
    before = sorted(Path().rglob("*"))
    assert run_line("tokenize latin.txt --out out").exit_code == 1
    assert sorted(Path().rglob("*")) == before
