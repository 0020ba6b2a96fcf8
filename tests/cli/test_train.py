"""`charlm train`: what it reports."""

import json
import math
import re
from pathlib import Path

import pytest
from commands import charlm

from charlm.cli.train import compare_scores
from charlm.network.model_file import read_model
from charlm.text.corpus import open_corpus


def test_the_best_loss_and_how_to_sample_are_reported(trained_run: Path, tmp_path: Path) -> None:
    command = charlm("train", trained_run.parent / "text.txt", "-c", "tiny", "-r", tmp_path / "run")
    assert command.exit_code == 0, command.stderr
    best = read_model(tmp_path / "run" / "best.safetensors").facts["score"]["nats_per_char"]
    first, second, third = command.stdout.splitlines()
    assert first == f"{tmp_path}/run: {best:.4f} nats per character on the validation text"
    assert second.startswith(f"  step 60, {best / math.log(2):.4f} bits per character, perplexity {math.exp(best):.2f}")
    assert re.fullmatch(r"  5-gram \d\.\d{4}, lzma \d\.\d{4} on the same text: \d\.\d{4} nats worse than 5-gram", third)
    assert command.stderr.endswith(f"charlm: write text: charlm sample {tmp_path}/run\n")
    for expected in ("charlm tensorboard ", "charlm inspect ", "it writes: "):
        assert expected in command.stderr


@pytest.mark.parametrize(("nats", "comparison"), [(0.5, "0.5000 nats better"), (1.5, "0.5000 nats worse")])
def test_a_score_is_compared_with_the_best_simple_model_in_80_columns(nats: float, comparison: str) -> None:
    (line,) = compare_scores(nats, {"5-gram": 2.0, "lzma": 1.0})
    assert line == f"  5-gram 2.0000, lzma 1.0000 on the same text: {comparison} than lzma"
    assert len(line) <= 80
    assert not [*compare_scores(nats, {})]


@pytest.mark.slow
def test_a_run_whose_loss_still_falls_says_how_to_train_longer(trained_run: Path, tmp_path: Path) -> None:
    given = ("-s", "training.steps=20", "-s", "training.epochs=5")
    command = charlm("train", trained_run.parent / "text.txt", "-c", "tiny", *given, "-r", tmp_path / "run")
    assert command.exit_code == 0, command.stderr
    (advice,) = re.findall("train longer: charlm (.*)", command.stderr)
    longer = charlm(*advice.split(), "-s", "training.epochs=1")
    assert longer.exit_code == 0, longer.stderr
    steps = 18_000 // (8 * 16)
    assert re.search(rf"all steps done: {steps} steps in \d+s, beside them \d+s for evaluations", longer.stderr)


@pytest.mark.slow
def test_without_a_corpus_the_plays_are_learnt_in_a_new_folder_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert charlm("train", "-c", "tiny", "-s", "training.steps=5").exit_code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-river_plays")
    assert open_corpus(run / "corpus").manifest.sources[0].name.endswith("river_plays.txt")

    assert len(charlm("sample", "-n", 10).stdout) == 10
    assert "nats_per_char" in json.loads(charlm("evaluate", "--json").stdout)
    resumed = charlm("train", "--resume", "-s", "training.steps=10")
    assert "resumed at step 5 of 10\n" in resumed.stderr
