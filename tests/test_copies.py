"""What of a sample stands in the training text, beside a search by brute force."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import charlm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm import copies
from charlm.copies import find_copies
from charlm.corpus import open_corpus
from charlm.vocabulary import Vocabulary

LETTERS = Vocabulary("char", ("a", "b", "c", "\n", None, None), unknown_id=4, end_of_text_id=5)
BYTES = Vocabulary("byte", (*map(chr, range(256)), None), end_of_text_id=256)
TEXTS = st.text("abc", max_size=80)


def by_brute_force(text: str, training: str, least: int) -> tuple[str, int | None, float]:
    """Return the longest span, where it first stands in the training text, and the share of spans of `least`."""
    spans = [
        text[i : i + n]
        for n in range(len(text), 0, -1)
        for i in range(len(text) - n + 1)
        if text[i : i + n] in training
    ]
    longest = spans[0] if spans else ""
    covered = {
        i + k for i in range(len(text) - least + 1) for k in range(least) if text[i : i + least] in training
    }
    return longest, training.index(longest) if spans else None, len(covered) / max(1, len(text))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.tuples(TEXTS, st.integers(0, 200), st.integers(0, 60)), min_size=1, max_size=3),
    training=st.text("ab", min_size=1, max_size=300),
    least=st.integers(1, 6),
    block_and_table=st.tuples(st.integers(1, 100), st.sampled_from([0, 1 << 20])),
)
def test_spans_are_those_found_by_brute_force(
    parts: list[tuple[str, int, int]],
    training: str,
    least: int,
    block_and_table: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in zip(("MIN_SPAN", "BLOCK", "TABLE"), (least, *block_and_table), strict=True):
        monkeypatch.setattr(copies, name, value)
    texts = [text + training[start : start + length] for text, start, length in parts]
    found = find_copies(texts, LETTERS.encode(training).astype(np.uint8), LETTERS)
    for text, one in zip(texts, found, strict=True):
        longest, position, share = by_brute_force(text, training, least)
        assert (one.text, one.characters, one.position) == (longest, len(longest), position)
        assert one.share == pytest.approx(share)


def ids(text: str, vocabulary: Vocabulary = LETTERS) -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
    return vocabulary.encode(text).astype(np.uint16)


def test_a_span_does_not_reach_from_one_sample_into_the_next() -> None:
    first, second = find_copies(["aab", "bcc"], ids("aabbcc"), LETTERS)
    assert (first.text, second.text) == ("aab", "bcc")


def test_a_span_does_not_reach_over_the_end_of_a_text() -> None:
    training = np.concatenate([ids("aab"), [LETTERS.end_of_text_id], ids("bcc")])
    assert find_copies(["aabbcc"], training, LETTERS)[0].text == "aab"


def test_what_the_vocabulary_does_not_hold_is_no_copy() -> None:
    (found,) = find_copies(["Xab"], np.array([4, 0, 1, 4], np.uint8), Vocabulary("char", ("a", "b")))
    assert found.text == "ab"


def test_spans_of_twenty_are_counted_and_of_nineteen_are_not() -> None:
    span = "abcacbbacabccbaabcba"
    whole, cut = find_copies([f"\n\n{span}\n\n", f"\n\n{span[:-1]}\n\n"], ids(span), LETTERS)
    assert (whole.characters, cut.characters) == (20, 19)
    assert (whole.share, cut.share) == pytest.approx((20 / 24, 0))


def test_an_empty_sample_and_one_with_nothing_in_common_have_no_copies() -> None:
    for found in find_copies(["", "ccc"], ids("abab"), LETTERS):
        assert (found.characters, found.text, found.position, found.share) == (0, "", None, 0)


def test_a_span_of_bytes_is_cut_to_whole_characters() -> None:
    training = np.concatenate([ids("x", BYTES), ids("é", BYTES)[1:], ids("ab", BYTES), ids("é", BYTES)[:1]])
    (found,) = find_copies(["éabé"], training, BYTES)
    assert (found.text, found.characters, found.position) == ("ab", 2, 2)


def test_half_a_character_is_no_copy() -> None:
    (found,) = find_copies(["é"], ids("è", BYTES), BYTES)
    assert (found.text, found.characters, found.position) == ("", 0, None)


def test_a_text_that_repeats_itself_takes_no_longer() -> None:
    (found,) = find_copies(["ab" * 20_000], ids("ab" * 50_000), LETTERS)
    assert (found.characters, found.position, found.share) == (40_000, 0, 1)


# The command


def test_json_tells_the_copies_of_each_sample_without_the_prompt(trained_run: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    prompt = corpus.vocabulary.decode(corpus.split("train")[:100])
    arguments = ("-p", prompt, "-n", 30, "--samples", 2, "--seed", 1, "--copies", "--json")
    found = json.loads(charlm("sample", trained_run, *arguments).stdout)["samples"]
    training = corpus.vocabulary.decode(corpus.split("train"))
    for sample in found:
        longest, position, share = by_brute_force(sample["text"], training, 20)
        assert sample["copies"] == {
            "characters": len(longest),
            "text": longest,
            "position": position,
            "share": share,
        }


@pytest.mark.parametrize(("samples", "starts"), [(1, [""]), (2, ["sample 1 of 2: ", "sample 2 of 2: "])])
def test_a_person_reads_a_line_for_each_sample_after_the_text(
    samples: int, starts: list[str], trained_run: Path
) -> None:
    options = ("-n", 30, "--samples", samples, "--seed", 1)
    command = charlm("sample", trained_run, *options, "--copies")
    assert command.stdout == charlm("sample", trained_run, *options).stdout
    lines = [line for line in command.stderr.splitlines() if not line.startswith("---")]
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"{start}0.0% stands in the training text in spans of 20 or more; the longest has ")


def test_an_endless_text_has_no_copies_to_tell(trained_run: Path) -> None:
    command = charlm("sample", trained_run, "-n", 0, "--copies")
    assert command.exit_code == 2
    assert command.stderr.endswith(
        "Error: -n 0 has no end: it goes with one sample and without --json and --copies\n"
    )


def test_a_bundle_by_itself_is_refused_before_it_writes(trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    command = charlm("sample", copy, "--copies")
    assert (command.exit_code, command.stdout) == (1, "")
    assert command.stderr == (
        f"charlm: {copy}: a bundle without its run: --copies needs the training text; name the run\n"
    )
