"""`charlm tokenize`: what it prints."""

from pathlib import Path

from commands import charlm


def test_the_corpus_is_summarized_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba\n" * 50, encoding="utf-8")
    command = charlm("tokenize", tmp_path / "text.txt", "--out", tmp_path / "corpus", "-s", "corpus.test_fraction=0.1")
    assert command.stdout == (
        f"{tmp_path}/corpus: 250 characters, a vocabulary of 3, 1 document: train 200, validation 25, test 25\n"
    )


def test_files_that_are_left_out_are_named_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("abba\n", encoding="utf-8")
    (tmp_path / "texts" / "b.txt").write_bytes(b"\xff")
    command = charlm("tokenize", tmp_path / "texts", "--out", tmp_path / "corpus")
    assert command.stdout.startswith(f"{tmp_path}/corpus: 5 characters, a vocabulary of 3, 1 document: ")
    assert f"files: 1 left out: {tmp_path}/texts/b.txt (not valid utf-8 at byte 0 (0xFF));" in command.stderr
