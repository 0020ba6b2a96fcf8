"""What a look at a text finds, and what it leaves unsaid."""

import random
from pathlib import Path
from typing import Any

import pytest
from corpora import make_corpus

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.text.facts import describe_text
from charlm.text.findings import Finding

PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")
FRENCH = "Où est le théâtre ? L'été dernier, nous y étions à l'aise ; « déjà », dit-il. Ça ira. "


def look(folder: Path, *texts: str | bytes, **settings: Any) -> list[Finding]:
    folder.mkdir(exist_ok=True)
    return describe_text(make_corpus(folder, *texts, **settings)).findings


def subjects(findings: list[Finding]) -> list[str]:
    return [finding.subject for finding in findings]


@pytest.mark.parametrize("level", ["char", "byte"])
def test_nothing_is_found_in_the_plays(level: str, tmp_path: Path) -> None:
    assert look(tmp_path, PLAYS, level=level) == []


def test_nothing_is_found_in_a_text_with_many_accents(tmp_path: Path) -> None:
    assert "encoding" not in subjects(look(tmp_path, 20 * FRENCH))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_utf_8_that_is_read_as_another_encoding_is_found_with_the_right_setting(encoding: str, tmp_path: Path) -> None:
    text = 20 * FRENCH
    (found,) = [f for f in look(tmp_path, text.encode(), encoding=encoding) if f.subject == "encoding"]
    accents = sum(not character.isascii() for character in text)
    assert found.found == f"{accents} characters are UTF-8 that was read as another encoding"
    assert found.advice == "-s corpus.encoding=utf-8"


def test_a_file_that_was_saved_with_the_wrong_encoding_is_found_with_the_command_that_mends_it(tmp_path: Path) -> None:
    (found,) = [f for f in look(tmp_path, 20 * FRENCH.encode().decode("latin-1")) if f.subject == "encoding"]
    assert "iconv -f UTF-8 -t CP1252" in found.advice


def test_quotes_of_cp1252_that_are_read_as_latin_1_are_found_with_the_right_setting(tmp_path: Path) -> None:
    (found,) = look(tmp_path, PLAYS.replace('"', "\u201d").replace("'", "\u2019").encode("cp1252"), encoding="latin-1")
    assert (found.subject, found.advice) == ("encoding", "-s corpus.encoding=cp1252")


def test_characters_that_another_program_has_lost_are_counted(tmp_path: Path) -> None:
    (found,) = look(tmp_path, PLAYS.replace("z", "\ufffd"))
    assert found.found.startswith(f"{PLAYS.count('z')} characters are U+FFFD")


def test_many_rare_characters_are_found_with_the_setting_that_merges_them(tmp_path: Path) -> None:
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 30)))
    (found,) = look(tmp_path, PLAYS[:70_000] + rare + PLAYS[70_000:])
    assert found.subject == "rare characters"
    assert "-s corpus.min_count=10" in found.advice
    assert look(tmp_path / "merged", PLAYS[:70_000] + rare + PLAYS[70_000:], min_count=10) == []


def test_mixed_line_ends_are_counted_by_kind(tmp_path: Path) -> None:
    lines = PLAYS.splitlines()
    text = "\r\n".join(lines[:1000]) + "\n" + "\n".join(lines[1000:]) + "\n" + 6 * "\r"
    (found,) = look(tmp_path, text)
    assert found.found == rf"mixed: 999 \r\n, {len(lines) - 999:,} \n, 6 \r"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_one_kind_are_no_problem(end: str, tmp_path: Path) -> None:
    assert look(tmp_path, PLAYS.replace("\n", end)) == []


def test_repeated_passages_are_found_with_their_share(tmp_path: Path) -> None:
    (found,) = look(tmp_path, PLAYS + PLAYS[:30_000])
    assert found.found.startswith("17% of the text repeats passages")  # 30,000 of 175,896


def test_a_validation_text_in_another_language_is_found(tmp_path: Path) -> None:
    words = FRENCH.split()
    french = " ".join(random.Random(0).choices(words, k=3000))
    (found,) = look(tmp_path, PLAYS + french)
    assert found.subject == "validation text"
    assert "corpus.validation_fraction" in found.advice


def test_a_long_text_is_looked_at_in_parts(tmp_path: Path) -> None:
    text = "".join(random.Random(0).choices("abcdefgh\n", k=2_500_000))
    assert look(tmp_path, text) == []
