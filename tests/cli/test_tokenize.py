"""`charlm tokenize`: what it prints, and what it refuses."""

from pathlib import Path

import pytest
from commands import charlm, check_failure, check_usage_error, run_line, table


def test_the_corpus_is_summarized_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba\n" * 50, encoding="utf-8")
    command = charlm("tokenize", tmp_path / "text.txt", "--out", tmp_path / "corpus", "-s", "corpus.test_fraction=0.1")
    assert command.stdout == (
        f"{tmp_path}/corpus: 250 characters, a vocabulary of 3, 1 document: train 200, validation 25, test 25\n"
    )


def test_a_dash_reads_standard_input(tmp_path: Path) -> None:
    command = charlm("tokenize", "-", "--out", tmp_path / "corpus", stdin=b"abba")
    assert "corpus: 4 characters, a vocabulary of 2" in command.stdout


@pytest.mark.usefixtures("place")
def test_a_failure_leaves_nothing_behind() -> None:
    before = sorted(Path().rglob("*"))
    assert run_line("tokenize latin.txt --out out").exit_code == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("place")
@table("""
tokenize missing.txt --out out                                 | missing.txt: no such file or folder
tokenize latin.txt --out out                                   | latin.txt: not valid utf-8 at byte 3 (0xE9)
tokenize empty.txt --out out                                   | empty.txt: no text
tokenize broken.gz --out out                                   | broken.gz: not a complete gzip file
tokenize corpus --out out                                      | corpus: is a corpus
tokenize text.txt --out corpus                                 | corpus: exists already
tokenize text.txt --out text.txt/inside                        | text.txt/inside: cannot be written
tokenize text.txt --out out -s corpus.level=byte -s corpus.normalize=NFC | corpus.normalize: found NFC
tokenize text.txt --out out -c nosuch                          | nosuch: no such recipe
tokenize text.txt --out out -c missing.yaml                    | missing.yaml: cannot be read: No such file
tokenize pipe --out out                                        | pipe: is not a regular file
tokenize /proc/self/mem --out out                              | /proc/self/mem: cannot be read
tokenize red\x1b[31m.txt --out out                             | red\\x1b[31m.txt: not valid utf-8
tokenize LONG --out out                                        | xxx: cannot be read: File name too long
tokenize text.txt --out LONG                                   | xxx: cannot be written: File name too long
tokenize text.txt --out out -c pipe.yaml                       | pipe.yaml: is not a regular file
tokenize text.txt --out out -c escape.yaml                     | escape.yaml: \\x1b[31m\\n: unknown key
""")
def test_a_failure_is_one_line_that_names_what_is_wrong(line: str, expected: str) -> None:
    check_failure(line, expected)


@pytest.mark.usefixtures("place")
@table("""
tokenize --out out | Missing argument 'PATH...'
tokenize text.txt  | Missing option '--out'
""")
def test_wrong_usage_names_the_argument(line: str, expected: str) -> None:
    check_usage_error(line, expected)
