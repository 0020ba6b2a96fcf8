"""What `charlm sample --copies` prints about text that occurs in the training text."""

import json
import shutil
from pathlib import Path

import pytest
from commands import charlm

from charlm.sampling.copies import find_copies
from charlm.text.corpus import open_corpus


def test_json_has_the_copies_in_each_text_without_the_prompt(trained_run: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    training = corpus.vocabulary.decode(corpus.split("train"))
    arguments = ("-p", training[:100], "-n", 30, "--samples", 2, "--seed", 1, "--copies", "--json")
    samples = json.loads(charlm("sample", trained_run, *arguments).stdout)["samples"]
    for sample in samples:
        (expected,) = find_copies([sample["text"]], corpus.split("train"), corpus.vocabulary)
        assert sample["copies"] == vars(expected)
        assert sample["copies"]["text"] in sample["text"]
        assert training.index(sample["copies"]["text"]) == sample["copies"]["position"]


@pytest.mark.parametrize(("samples", "starts"), [(1, [""]), (2, ["sample 1 of 2: ", "sample 2 of 2: "])])
def test_a_line_about_each_text_is_written_to_standard_error(
    samples: int, starts: list[str], trained_run: Path
) -> None:
    options = ("-n", 30, "--samples", samples, "--seed", 1)
    command = charlm("sample", trained_run, *options, "--copies")
    assert command.stdout == charlm("sample", trained_run, *options).stdout
    lines = [line for line in command.stderr.splitlines() if not line.startswith("---")]
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"{start}0.0% occurs in the training text in spans of 20 or more; the longest has ")


def test_a_text_that_is_not_that_of_the_run_is_refused_before_any_text_is_written(
    trained_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    ids = run / "corpus/ids.bin"
    ids.write_bytes(ids.read_bytes()[::-1])
    command = charlm("sample", run, "-n", 30, "--copies")
    assert (command.exit_code, command.stdout) == (1, "")
    assert "ids.bin: damaged: its SHA-256 is not the one in manifest.json" in command.stderr
