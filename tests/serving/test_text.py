"""Ids -> pieces of text: stop texts, bytes, echoes and tokens."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charlm.sampling.batch import Chunk, EndReason, Job
from charlm.sampling.sampler import Sampler
from charlm.serving.text import GrowingText, Piece, Token, token_text
from charlm.text.vocabulary import Vocabulary

ABC = Vocabulary("char", ("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)
BYTES = Vocabulary("byte", (*map(chr, range(256)), None), end_of_text_id=256)


def job(prompt: str = "ab", *, is_prompt_scored: bool = False) -> Job:
    return Job(ABC.encode(prompt), 9, Sampler(), (0, 0), is_prompt_scored=is_prompt_scored)


def chunk(text: str, reason: EndReason | None = None, vocabulary: Vocabulary = ABC) -> Chunk:
    ids = vocabulary.encode(text)
    end = [4] if reason == "end of text" else []
    return Chunk(np.array([*ids, *end], np.int64), reason=reason)


def scored(text: str, first: float, reason: EndReason | None = None) -> Chunk:
    """Return a chunk whose log-probabilities count down from the first, and whose likeliest id is always a."""
    ids = ABC.encode(text)
    logprobs = first - np.arange(len(ids), dtype=np.float64)
    likeliest = np.zeros((len(ids), 1), np.int64)
    return Chunk(ids, logprobs, likeliest, np.full((len(ids), 1), -0.5), reason)


def read(growing: GrowingText, *chunks: Chunk) -> list[Piece]:
    return [growing.read(one) for one in chunks]


def test_an_end_of_text_id_ends_the_text_and_is_no_part_of_it() -> None:
    growing = GrowingText(ABC, job())
    assert growing.read(chunk("ab", "end of text")) == Piece("ab", finish_reason="stop")
    assert growing.generated == 2


def test_nothing_is_said_after_the_end() -> None:
    growing = GrowingText(ABC, job(), stops=["b"])
    assert growing.read(chunk("ab")).finish_reason == "stop"
    assert growing.read(chunk("ab", "length")) == Piece("")


@given(
    text=st.text("abc", max_size=30), stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), data=st.data()
)
def test_a_text_ends_before_the_first_of_its_stop_texts_however_it_comes(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    borders = [0, *sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6))), len(text)]
    growing = GrowingText(ABC, job(), stops=stops)
    pieces = read(growing, *(chunk(text[a:b]) for a, b in pairwise(borders)), chunk("", "length"))
    found = [(text.find(stop) + len(stop), text.find(stop), stop) for stop in stops if stop in text]
    if not found:
        assert "".join(piece.text for piece in pieces) == text
        assert growing.generated == len(text)
    else:
        whole = "".join(piece.text for piece in pieces)
        assert text.startswith(whole)
        assert any(text[len(whole) :].startswith(stop) for stop in stops)
        assert not any(stop in whole for stop in stops)
        assert growing.finish_reason == "stop"


def test_an_echo_comes_first() -> None:
    growing = GrowingText(ABC, job("ab"), prompt="ab", echo=True)
    assert [piece.text for piece in read(growing, chunk("c"), chunk("a"))] == ["abc", "a"]


def test_a_prompt_is_not_searched_for_stop_texts() -> None:
    growing = GrowingText(ABC, job("ab", is_prompt_scored=True), prompt="ab", echo=True, stops=["b"])
    assert growing.read(scored("abc", -1.0)).text == "abc"
    assert growing.generated == 1


def test_tokens_have_their_offsets_in_prompt_and_text() -> None:
    growing = GrowingText(ABC, job("ab"), prompt="ab")
    piece = growing.read(scored("cb", -1.0))
    assert piece.tokens == (
        Token("c", -1.0, {"a": -0.5, "c": -1.0}, 2),
        Token("b", -2.0, {"a": -0.5, "b": -2.0}, 3),
    )


def test_the_first_token_of_an_echo_has_no_log_probability() -> None:
    growing = GrowingText(ABC, job("ab", is_prompt_scored=True), prompt="ab", echo=True)
    piece = growing.read(scored("abc", np.nan))
    assert piece.tokens[0] == Token("a", None, None, 0)
    growing = GrowingText(ABC, job("ab", is_prompt_scored=True), prompt="ab", echo=True)
    assert [token.offset for token in growing.read(scored("abc", -1.0)).tokens] == [0, 1, 2]


def test_ids_that_stand_for_an_empty_prompt_are_no_tokens() -> None:
    growing = GrowingText(ABC, job("a", is_prompt_scored=True), echo=True, is_prompt_empty=True)
    piece = growing.read(scored("ab", -1.0, "length"))
    assert (piece.text, [token.text for token in piece.tokens]) == ("b", ["b"])


def test_tokens_wait_for_their_text_and_those_of_a_stop_text_never_come() -> None:
    growing = GrowingText(ABC, job(), stops=["bc"])
    first, second = read(growing, scored("ab", -1.0), scored("ca", -3.0))
    assert [token.text for token in first.tokens] == ["a"]
    assert (second.text, second.tokens, second.finish_reason) == ("", (), "stop")


def test_tokens_are_named_as_the_api_does() -> None:
    assert [token_text(ABC, index) for index in (0, 3, 4)] == ["a", "\N{REPLACEMENT CHARACTER}", "<|endoftext|>"]
    assert [token_text(BYTES, index) for index in (65, 0xE9)] == ["A", "bytes:\\xe9"]
