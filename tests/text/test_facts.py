"""The facts about a text, against counts of the text itself."""

from pathlib import Path

from corpora import make_corpus

from charlm.text.facts import describe_text

TEXT = "abba\n" * 30 + "c" * 9 + "d" * 10 + "e"


def test_the_facts_are_those_that_a_count_of_the_text_finds(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, TEXT, TEXT)
    facts = describe_text(corpus)
    assert (facts.characters, facts.documents, facts.vocabulary) == (2 * len(TEXT), 2, 7)  # with the end of text
    assert facts.splits == {"train": 306, "validation": 35, "test": 0}
    assert facts.rare == {"e": 2}


def test_the_rarest_characters_come_first(tmp_path: Path) -> None:
    rare = describe_text(make_corpus(tmp_path, TEXT)).rare
    assert rare is not None
    assert list(rare.items()) == [("e", 1), ("c", 9)]


def test_the_characters_of_a_text_that_is_too_long_are_not_counted(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, TEXT)
    assert describe_text(corpus, max_counted=len(TEXT)).rare is not None
    assert describe_text(corpus, max_counted=len(TEXT) - 1).rare is None
