"""A corpus on disk: its splits, its summary, what is refused; possible problems in it; its streams and windows."""

import json
import random
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus, write_texts
from hypothesis import given
from hypothesis import strategies as st

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.events import BatchesReduced
from charlm.text.batches import Batches, fit_batches
from charlm.text.corpus import (
    count_ids,
    is_corpus,
    open_corpus,
    resolve_corpus_settings,
    split_positions,
)
from charlm.text.findings import find_omissions, find_problems
from charlm.text.tokenization import tokenize

# Splits


def test_splits_have_the_sizes_of_the_decimal_fractions() -> None:
    for size, validation, test, expected in (
        (1_115_394, 0.1, 0.0, [1_003_854, 111_540, 0]),
        (10, 0.1, 0.2, [7, 1, 2]),
        (1, 0.1, 0.8, [1, 0, 0]),
        (19, 0.1, 0.1, [15, 2, 2]),
        (10**12, 0.1, 0.0, [9 * 10**11, 10**11, 0]),
    ):
        config = CorpusConfig(validation_fraction=validation, test_fraction=test)
        splits = split_positions(size, config)
        assert list(splits) == ["train", "validation", "test"]
        assert [end - start for start, end in splits.values()] == expected


def test_a_corpus_has_a_summary_parts_and_ids_that_are_mapped_and_read_only(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab", "c")
    assert (
        corpus.summary
        == "3 characters, a vocabulary of 3, 2 documents: train 3, validation 1, test 0"
    )
    assert [is_corpus(tmp_path / name) for name in ("out", "sources", "none")] == [
        True,
        False,
        False,
    ]
    parts = (
        corpus.split("train"),
        corpus.split("validation"),
        corpus.split("test"),
        corpus.split("train", at_most=2),
    )
    assert [part.tolist() for part in parts] == [[0, 1, 3], [2], [], [0, 1]]
    assert isinstance(corpus.ids, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.ids[0] = 1
    assert count_ids(np.array([3, 1, 3], np.uint8), 5).tolist() == [0, 1, 0, 2, 0]


# Opening


def test_a_manifest_with_a_wrong_value_is_refused_with_its_key(tmp_path: Path) -> None:
    path = make_corpus(tmp_path, "abc").folder / "corpus.json"
    whole, change = json.loads(path.read_text()), dict[str, Any]()
    for change, reason in (
        ({"format": 1}, "format: found 1; must be 2"),
        ({"size": "3"}, "size: found '3'; must be a valid integer"),
        (
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            r"validation_fraction \+ test_fraction must be less than",
        ),
        ({"splits": {"rest": [0, 3]}}, "splits.rest.*did you mean test"),
        (
            {"splits": {"train": [0, 2], "test": [2, 3]}},
            "splits: .* must have train, validation, test",
        ),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(CharlmError, match=rf"corpus\.json: not a valid corpus: .*{reason}"):
            open_corpus(tmp_path / "out")


def test_ids_that_are_not_those_of_the_corpus_are_refused(tmp_path: Path) -> None:
    path = make_corpus(tmp_path, "abc").folder / "ids.npy"
    assert open_corpus(tmp_path / "out").ids.tolist() == [0, 1, 2]
    message = r"damaged; expected the 3 ids of type uint8 that corpus\.json describes; tokenize the text again"
    for ids in (
        np.zeros(2, np.uint8),
        np.zeros(3, np.uint8),
        np.arange(3),
        np.array([None] * 3),
        b"no array",
        None,
    ):
        path.unlink()
        if isinstance(ids, bytes):
            path.write_bytes(ids)
        elif ids is not None:
            np.save(path, ids)
        with pytest.raises(
            CharlmError, match=rf"ids\.npy: {'cannot be read: No such' if ids is None else message}"
        ):
            open_corpus(tmp_path / "out")


def test_the_settings_of_a_corpus_are_taken_over_and_others_that_are_written_refused(
    tmp_path: Path,
) -> None:
    made: dict[str, Any] = {"encoding": "latin-1", "min_count": 2, "test_fraction": 0.25}
    written: dict[str, Any]
    corpus = make_corpus(tmp_path, "abba" * 10, **made)
    for written in ({}, {"min_count": None}, {"min_count": 2}):
        assert resolve_corpus_settings(corpus, CorpusConfig(**written)) == CorpusConfig(**made)
    written = {
        "encoding": "no such",
        "min_count": 1,
        "validation_fraction": 0.2,
        "test_fraction": 0.0,
    }
    for key, value in written.items():
        there = made.get(key, 0.1)
        message = rf"^corpus\.{key}: found {value!r}, but .*out was made with {there!r}; leave the setting out, or tok"
        with pytest.raises(CharlmError, match=message):
            resolve_corpus_settings(corpus, CorpusConfig(**{key: value}))


# Possible problems


def test_rare_characters_are_counted_and_named_with_the_key_that_decides(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab" * 98 + "éé" + "\x85e", min_count=3)
    (found,) = find_omissions(corpus)
    assert found == (
        "rare characters: 3 of 5 share the unknown id, 2.00% of the text; most common: 'é', 'e', '\\x85'; "
        "corpus.min_count=3 sets the limit, corpus.min_count=1 keeps all"
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


def test_new_characters_a_short_text_and_many_spaces_are_found(tmp_path: Path) -> None:
    for text, *findings in (
        (letters(23_000 - 72) + 72 * "z",),
        (
            letters(23_000 - 73) + 73 * "z",
            "validation text: .* differs from the rest: more of 'z'; name the files in an",
        ),
        (letters(20_700) + 2300 * "a", "validation text: .* differs from the rest: more of 'a'; "),
        (letters(18_000) + 2000 * "z", "length: 18,000 characters"),
        (letters(22_222), "length: 19,999 characters"),
        (letters(22_223),),
        (DEFAULT_CORPUS.read_text(encoding="utf-8"),),
        ("abcdefg\r\n" * 2600, r"line endings: \\r\\n.* tr -d '\\r' < FILE > NEW"),
        *((("a" * 198 + "\r\n") * 150,), (("a" * 197 + "\r\n") * 150, "line endings: ")),
        (letters(23_000) + "\r",),  # without "\r", such a text would have no line breaks
        *(("a   b" * 5000,), (("    " + "c" * 36) * 600,)),
        *(
            ("    ab" * 4000, "spaces: 67% .* in runs of 4"),
            (("c" * 35 + "    ") * 600, "spaces: 10%"),
        ),
        (
            "ab" * 700_000 + "    ab" * 200_000,
            "spaces: 27%",
            "validation text",
        ),  # 2.6 million, looked at in parts
    ):
        found = find_problems(make_corpus(Path(tempfile.mkdtemp(dir=tmp_path)), text))
        assert len(found) == len(findings), found
        assert all(map(re.match, findings, found)), found


def test_the_advice_to_indent_with_tabs_says_which_scores_compare_afterwards(
    tmp_path: Path,
) -> None:
    (found,) = find_problems(make_corpus(tmp_path, "    ab" * 4000))
    assert "indent with tabs" in found
    assert found.endswith("compare the total bits of an evaluation")


# Streams and windows


def test_streams_are_cut_into_windows_whose_targets_are_the_next_characters() -> None:
    batches = Batches(
        length=13, batch_size=2, sequence_length=3, seed=0
    )  # 12 pairs fill the windows: the offset is 0
    first, second = np.arange(13)[batches.positions(epoch=0, first=0, count=2)]
    assert first.T.tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert second.T.tolist() == [[3, 4, 5, 6], [9, 10, 11, 12]]


def offsets(seed: int, length: int = 10_000, time: int = 100) -> list[int]:
    """Return where each of 300 epochs starts."""
    return [Batches(length, 2, time, seed=seed).offset(epoch) for epoch in range(300)]


def test_epochs_start_at_other_characters_and_the_same_seed_repeats_them() -> None:
    assert offsets(1) == offsets(1) != offsets(2)
    assert {*offsets(1, length=13, time=3)} == {0}
    assert {*offsets(1, length=16, time=3)} == {0, 1, 2}  # a whole window is not left out


def test_shuffled_streams_have_the_same_windows_from_a_random_one_on() -> None:
    turns = []
    for epoch in (3, 4):
        plain, shuffled = (
            Batches(1000, 4, 5, seed=1, shuffle=shuffle).positions(epoch=epoch, first=0, count=49)
            for shuffle in (False, True)
        )
        for stream in range(4):
            turn = int(np.flatnonzero((plain[:, :, stream] == shuffled[0, :, stream]).all(1))[0])
            np.testing.assert_array_equal(
                np.roll(plain[:, :, stream], -turn, axis=0), shuffled[:, :, stream]
            )
            turns.append(turn)
    assert len(set(turns[:4])) == 4
    assert turns[:4] != turns[4:]


@given(
    st.integers(2, 300), st.integers(1, 20), st.integers(1, 40), st.integers(0, 3), st.booleans()
)
def test_an_epoch_predicts_nearly_every_character_and_none_twice(
    length: int, batch: int, time: int, epoch: int, shuffle: bool
) -> None:
    batches, _ = fit_batches(
        length, batch_size=batch, sequence_length=time, seed=0, shuffle=shuffle
    )
    steps = batches.steps_per_epoch
    windows = batches.positions(epoch=epoch, first=0, count=steps)
    assert windows.min() >= 0
    assert windows.max() < length
    parts = [
        batches.positions(epoch=epoch, first=first, count=1, rows=slice(1, None))
        for first in range(steps)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), windows[..., 1:])
    targets = windows[:, 1:].ravel()
    assert steps >= 1
    assert len(set(targets.tolist())) == len(targets)
    assert len(targets) > length - 1 - 2 * batches.characters_per_step
    np.testing.assert_array_equal(windows[:, :-1] + 1, windows[:, 1:])
    if not shuffle:
        np.testing.assert_array_equal(windows[1:, 0], windows[:-1, -1])


def test_a_short_text_gets_shorter_windows_then_fewer_streams_and_a_line_for_the_user() -> None:
    for length, batch, time in (
        (2, 1, 1),
        (17, 1, 16),
        (18, 1, 16),
        (33, 2, 16),
        (137, 8, 17),
        (800, 8, 99),
    ):
        batches, change = fit_batches(length, batch_size=8, sequence_length=100, seed=0)
        assert (batches.batch_size, batches.sequence_length) == (batch, time)
        assert change == BatchesReduced(
            batch, time, wanted_batch_size=8, wanted_sequence_length=100
        )
    assert fit_batches(801, batch_size=8, sequence_length=100, seed=0)[1] is None
    for length in (0, 1):
        with pytest.raises(
            CharlmError, match=f"the training text has {length} characters?; at least 2"
        ):
            fit_batches(length, batch_size=8, sequence_length=16, seed=0)
