"""The files of TensorBoard's projector."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from charlm.errors import CharlmError
from charlm.text.vocabulary import Vocabulary
from charlm.training.projector import CONFIG, LABELS, MAX_POINTS, POINTS, label_characters, write_config, write_points


def test_every_label_can_be_seen() -> None:
    characters = ("a", " ", "\n", "\t", "\r", "\x1b", "\u202e", "\u3000", None, None)
    labels = label_characters(Vocabulary("char", characters, unknown_id=8, end_of_text_id=9))
    assert labels == ["a", "␣", "↵", "⇥", "←", "U+001B", "U+202E", "U+3000", "unknown", "end of text"]
    assert len({*labels}) == len(labels)


def test_the_files_belong_together(tmp_path: Path, vocabulary: Vocabulary) -> None:
    write_config(tmp_path, vocabulary, name="embedding", width=3)
    rows = np.random.default_rng(0).standard_normal((len(vocabulary), 3)).astype(np.float32)
    write_points(tmp_path, rows)
    config = text_format.Parse((tmp_path / CONFIG).read_text(encoding="utf-8"), ProjectorConfig())
    (embedding,) = config.embeddings
    assert (embedding.tensor_name, embedding.tensor_path, embedding.metadata_path) == ("embedding", POINTS, LABELS)
    assert list(embedding.tensor_shape) == [5, 3]
    np.testing.assert_allclose(np.loadtxt(tmp_path / POINTS, delimiter="\t"), rows, rtol=1e-4)
    assert len((tmp_path / LABELS).read_text(encoding="utf-8").splitlines()) == len(rows)


def test_a_large_vocabulary_is_cut(tmp_path: Path) -> None:
    characters = tuple(chr(0x4E00 + index) for index in range(MAX_POINTS + 5))
    write_config(tmp_path, Vocabulary("char", characters), name="rows", width=1)
    write_points(tmp_path, np.zeros((MAX_POINTS + 5, 1), np.float32))
    for name in (LABELS, POINTS):
        assert len((tmp_path / name).read_text(encoding="utf-8").splitlines()) == MAX_POINTS


@pytest.mark.parametrize("name", [CONFIG, LABELS, POINTS])
def test_a_link_is_not_followed(name: str, tmp_path: Path, vocabulary: Vocabulary) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / name).symlink_to("elsewhere")
    write = write_points if name == POINTS else lambda folder, _: write_config(folder, vocabulary, name="rows", width=1)
    with pytest.raises(CharlmError, match=f"{name}: is a link"):
        write(tmp_path, np.zeros((1, 1), np.float32))
    assert (tmp_path / "elsewhere").read_text() == "kept"
