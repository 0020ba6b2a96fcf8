"""Beginning a run, opening it again, and finding the text of a model."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import begin_run, engine_of
from run_folders import contents, names

from charlm.config.file import load_config
from charlm.config.schema import CorpusConfig
from charlm.core.model_file import TrainedModel, read_model
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError
from charlm.runs.folder import DEFAULT_CORPUS, shipped_models
from charlm.runs.run import Run, corpus_identity, run_corpus
from charlm.text.corpus import Corpus
from charlm.text.tokenization import tokenize


@pytest.fixture
def run(tmp_path: Path, corpus: Corpus) -> Run:
    return begin_run(tmp_path / "run", ["seed=5"], text=corpus.folder)


def test_a_new_run_has_its_files(run: Run, corpus: Corpus) -> None:
    assert names(run.folder) == [".lock", "config.yaml", "corpus", "metrics.jsonl"]
    assert load_config(run.folder / "config.yaml") == run.config
    assert run.config.seed == engine_of(run).batches.seed == 5
    assert (run.folder / "metrics.jsonl").read_bytes() == b""
    assert contents(run.folder / "corpus") == contents(corpus.folder)


# The text of a model


@pytest.fixture
def model(trained: TrainedModel, corpus: Corpus) -> TrainedModel:
    """Return a model that was trained on the corpus."""
    facts = {"corpus": corpus_identity(corpus)}
    return replace(trained, vocabulary=corpus.vocabulary, facts=facts)


@pytest.mark.parametrize("is_imported", [False, True], ids=["trained here", "imported"])
def test_a_model_has_the_corpus_of_its_run(
    is_imported: bool,
    run: Run,
    corpus: Corpus,
    model: TrainedModel,
) -> None:
    """An imported model does not know its text."""
    if is_imported:
        model = replace(model, facts={})
    read = run_corpus(run.folder / "best.safetensors", model)
    assert read is not None
    assert (read.folder, read.manifest) == (run.folder / "corpus", corpus.manifest)


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        pytest.param("dcba\n" * 4, 0.1, id="another text"),
        pytest.param("abcd\n" * 4, 0.5, id="another split"),
    ],
)
def test_another_corpus_is_refused(
    text: str,
    fraction: float,
    run: Run,
    corpus: Corpus,
    model: TrainedModel,
) -> None:
    source = corpus.folder.with_name("text.txt")
    source.write_text(text, encoding="utf-8")
    shutil.rmtree(run.folder / "corpus")
    tokenize([str(source)], run.folder / "corpus", CorpusConfig(validation_fraction=fraction))
    message = "run/corpus: not the text that the model was trained on"
    with pytest.raises(CharlmError, match=message):
        run_corpus(run.folder / "best.safetensors", model)


def test_a_corpus_of_other_characters_is_refused_for_an_imported_model(
    run: Run, model: TrainedModel
) -> None:
    other = replace(model, vocabulary=Vocabulary(("x",)), facts={})
    with pytest.raises(CharlmError, match="not the text that the model was trained on"):
        run_corpus(run.folder / "best.safetensors", other)


# The shipped model


def test_the_shipped_model_has_the_plays() -> None:
    path = shipped_models()["river-plays"]
    corpus = run_corpus(path, read_model(path))
    assert corpus is not None
    plays = DEFAULT_CORPUS.read_text(encoding="utf-8")
    assert corpus.vocabulary.decode(corpus.ids) == plays
    assert corpus.vocabulary.decode(corpus.split("validation")) == plays[len(plays) * 9 // 10 :]
