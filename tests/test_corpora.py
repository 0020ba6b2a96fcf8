"""Hostile and odd texts, through the real commands: trained on, sampled and scored, or refused in one line."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import charlm

from charlm.bundle import Bundle, read_bundle
from charlm.corpus import open_corpus

CHINESE = "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏"
EMOJI = "👩‍👩‍👧‍👦 e\u0301 🏳️‍🌈 n\u0303o\u0308 👍🏽\n"
FIVE_STEPS = (
    "-c",
    "tiny",
    "-s",
    "training.steps=5",
    "-s",
    "training.sequence_length=4",
    "-s",
    "sampling.length=5",
)


@dataclass(frozen=True)
class Trained:
    """A run, and what was said on standard error while it was trained."""

    folder: Path
    said: str

    @property
    def bundle(self) -> Bundle:
        """The last model."""
        return read_bundle(self.folder / "last")

    def sample(self, *arguments: str | int) -> str:
        """Return 20 characters from the last model."""
        command = charlm("sample", self.folder, "-n", 20, "--seed", 1, "--checkpoint", "last", *arguments)
        assert command.exit_code == 0, command.stderr
        return command.stdout


def write(folder: Path, *texts: str | bytes) -> Path:
    """Write texts as the files 0.txt, 1.txt, ... of a folder."""
    sources = folder / "sources"
    sources.mkdir()
    for index, text in enumerate(texts):
        (sources / f"{index}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return sources


def train(folder: Path, *texts: str | bytes, settings: tuple[str, ...] = ()) -> Trained:
    overrides = [argument for setting in settings for argument in ("-s", setting)]
    command = charlm("train", write(folder, *texts), *FIVE_STEPS, *overrides, "-r", folder / "run")
    assert command.exit_code == 0, command.stderr
    return Trained(folder / "run", command.stderr)


@pytest.mark.parametrize(
    ("text", "distinct"),
    [
        pytest.param(CHINESE * 20, len(CHINESE), id="Chinese"),
        pytest.param(EMOJI * 20, len(set(EMOJI)), id="emoji of several code points, and combining marks"),
        pytest.param("no line ends here " * 20, len(set("no line ends here ")), id="one line"),
        pytest.param("a" * 200, 1, id="one distinct character"),
        pytest.param("\x00\x1b\x7f\u2028\ufeff" * 50, 5, id="control characters"),
    ],
)
def test_any_text_is_learnt_and_written(text: str, distinct: int, tmp_path: Path) -> None:
    run = train(tmp_path, text)
    assert len(run.bundle.vocabulary) == distinct
    written = run.sample()
    assert len(written) == 20
    assert set(written) <= set(text)
    assert "characters" in json.loads(charlm("evaluate", run.folder, "--json").stdout)


def test_any_bytes_are_learnt_at_level_byte(tmp_path: Path) -> None:
    run = train(tmp_path, random.Random(0).randbytes(1000), settings=("corpus.level=byte",))
    assert len(run.bundle.vocabulary) == 256
    assert charlm("sample", run.folder, "-p", "é", "-n", 20).stdout.startswith("é")


def test_chinese_at_level_byte_is_written_in_whole_characters(tmp_path: Path) -> None:
    learnt = ("corpus.level=byte", "training.steps=300", "training.optimizer.learning_rate=0.03", "model.units=32")
    run = train(tmp_path, "天地玄黃" * 100, settings=learnt)
    assert set(run.sample("-t", 0, "-p", "天", "-n", 21)) <= set("天地玄黃")


def test_normalization_puts_letters_and_marks_together(tmp_path: Path) -> None:
    run = train(tmp_path, "e\u0301e " * 50, settings=("corpus.normalize=NFC",))
    assert run.bundle.vocabulary.characters == (" ", "e", "é")


def test_line_ends_of_two_characters_stay_two_characters(tmp_path: Path) -> None:
    run = train(tmp_path, "one\r\ntwo\r\n" * 20)
    assert {"\r", "\n"} <= set(run.bundle.vocabulary.characters)
    assert charlm("sample", run.folder, "-p", "one\r\n", "-n", 1).stdout_bytes.startswith(b"one\r\n")


def test_a_text_shorter_than_a_window_is_trained_on_and_that_is_said(tmp_path: Path) -> None:
    run = train(tmp_path, "to be or not to be", settings=("training.sequence_length=64",))
    assert "the training text has only 16 characters" in run.said


def test_two_characters_are_enough(tmp_path: Path) -> None:
    run = train(tmp_path, "ab", settings=("corpus.validation_fraction=0",))
    assert set(run.sample()) <= set("ab")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "no text", id="empty"),
        pytest.param("\ufeff", "no text", id="only a byte order mark"),
        pytest.param("a", "at least 2", id="one character"),
    ],
)
def test_a_text_with_nothing_to_learn_is_refused(text: str, message: str, tmp_path: Path) -> None:
    command = charlm("train", write(tmp_path, text), *FIVE_STEPS, "-r", tmp_path / "run")
    assert command.exit_code == 1
    assert message in command.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["tokenize", "train"])
def test_the_file_of_a_folder_that_is_not_text_is_named(name: str, tmp_path: Path) -> None:
    sources = write(tmp_path, "text", b"\x89PNG\r\n\x1a\n", "more text")
    command = charlm(name, sources, "--out" if name == "tokenize" else "--run", tmp_path / "out")
    assert command.exit_code == 1
    assert f"charlm: {sources}/1.txt: not valid utf-8 at byte 0 (0x89)" in command.stderr
    assert not (tmp_path / "out").exists()


# Several texts


@pytest.fixture(scope="module")
def two_texts(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Learn by heart that "abc" ends after a few letters; tests only read the run."""
    learnt = ("training.steps=300", "training.optimizer.learning_rate=0.03", "corpus.validation_fraction=0")
    return train(tmp_path_factory.mktemp("two"), *["abc"] * 40, settings=learnt)


def test_the_end_of_a_text_has_an_id_of_its_own(two_texts: Trained) -> None:
    vocabulary = two_texts.bundle.vocabulary
    assert vocabulary.characters == ("a", "b", "c", None)
    assert vocabulary.end_of_text_id == 3
    assert (open_corpus(two_texts.folder / "corpus").ids == 3).sum() == 39


def test_sampling_stops_at_the_end_of_a_text(two_texts: Trained) -> None:
    assert two_texts.sample("-t", 0) == "abc"


def test_sampling_can_go_on_past_the_end_of_a_text(two_texts: Trained) -> None:
    assert two_texts.sample("-t", 0, "--ignore-end") == "abc\n\n" * 5


def test_a_prompt_is_gone_on_with_to_the_end_of_its_text(two_texts: Trained) -> None:
    assert two_texts.sample("-t", 0, "-p", "ab") == "abc"


def test_rare_characters_become_the_unknown_id_and_are_never_written(tmp_path: Path) -> None:
    run = train(tmp_path, "ab" * 100 + "z", settings=("corpus.min_count=2",))
    assert run.bundle.vocabulary.unknown_id == 2
    assert set(run.sample("-t", 5)) == set("ab")
