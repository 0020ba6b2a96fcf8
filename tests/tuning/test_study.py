"""The folder of a search: what it holds, and which folders are refused."""

from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from tuning.searches import SPACE, TEXT

from charlm.text.tokenization import tokenize
from charlm.tuning.space import Space, load_space
from charlm.tuning.study import open_folder, prepare_folder


@pytest.fixture
def space(tmp_path: Path) -> Space:
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    open_folder(tmp_path / "out")
    return load_space(tmp_path / "space.yaml")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_text_is_tokenized_once_and_found_to_be_the_same(space: Space, tmp_path: Path) -> None:
    corpus, _, identity = prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    written = (tmp_path / "out" / "corpus" / "ids.npy").stat().st_mtime_ns
    again, _, same = prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    assert (again.folder, same) == (corpus.folder, identity)
    assert (tmp_path / "out" / "corpus" / "ids.npy").stat().st_mtime_ns == written
    assert names(tmp_path / "out") == ["corpus", "search.json"]


def test_a_corpus_on_disk_is_used_where_it_is(space: Space, tmp_path: Path) -> None:
    tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", space.config().corpus)
    corpus, *_ = prepare_folder(tmp_path / "out", space, [tmp_path / "corpus"])
    assert corpus.folder == tmp_path / "corpus"
    assert names(tmp_path / "out") == ["search.json"]
