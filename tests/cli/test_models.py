"""What `charlm sample` writes to a pipe, to a terminal and as JSON."""

import math
import os
import pty
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import charlm, json_of
from models import with_tensors
from processes import command_line, run_process

from charlm.api.evaluation import evaluate
from charlm.evaluation.baselines import Comparison
from charlm.network.model_file import TrainedModel, write_model
from charlm.text.corpus import open_corpus
from charlm.text.vocabulary import Vocabulary


def sample(*arguments: str | Path | float) -> str:
    command = charlm("sample", *arguments)
    assert command.exit_code == 0, command.stderr
    return command.stdout


def always(trained: TrainedModel, character: str, path: Path) -> Path:
    """Write a model whose most likely character is always the same; return its file."""
    bias = np.zeros(len(trained.vocabulary), np.float32)
    bias[trained.vocabulary.characters.index(character)] = 1000
    write_model(
        path, replace(trained, parameters=with_tensors(trained.parameters, {"logits.bias": bias}))
    )
    return path


# The text


def test_without_a_temperature_that_of_the_recipe_is_used(
    trained: TrainedModel, tmp_path: Path
) -> None:
    endless, cool = (
        replace(trained, vocabulary=Vocabulary(tuple("\nabcd"))),
        tmp_path / "cool.safetensors",
    )
    write_model(
        cool, replace(endless, config={**endless.config, "sampling": {"temperature": 0.25}})
    )
    texts = [
        sample(cool, "-n", 50, "--seed", 1, *options) for options in ((), ("-t", 0.25), ("-t", 0.8))
    ]
    assert texts[0] == texts[1] != texts[2]


def test_characters_left_out_of_the_prompt_are_named_and_in_the_json(trained_run: Path) -> None:
    command = charlm("sample", trained_run, "-p", "€The€ ferry", "-n", 1)
    assert command.stderr.startswith("charlm: left out of the prompt")
    assert "'€' (U+20AC) 2 times" in command.stderr
    assert command.stdout.startswith("€The€ ferry")
    assert json_of("sample", trained_run, "-p", "€The€ ferry", "-n", 1)["left_out"] == {"€": 2}


def test_several_samples_are_those_of_the_json_with_their_prompt_and_length(
    trained_run: Path,
) -> None:
    arguments = ("sample", trained_run, "-p", "The", "-n", 10, "--samples", 3, "--seed", 5)
    command, found = charlm(*arguments), json_of(*arguments)
    assert (found["model"], found["prompt"], found["seed"]) == (
        str(trained_run / "best.safetensors"),
        "The",
        5,
    )
    assert [
        (len(one["text"]), one["characters"], one["stopped_by"]) for one in found["samples"]
    ] == 3 * [(10, 10, "length")]
    assert command.stderr.splitlines() == [f"--- sample {number} of 3 ---" for number in (1, 2, 3)]
    assert command.stdout == "".join(f"The{one['text']}\n" for one in found["samples"])
    assert len({one["text"] for one in found["samples"]}) == 3


# Terminals and pipes


def on_a_terminal(*arguments: str | Path, interrupt: bool = False) -> bytes:
    """Return what a command writes to a terminal; `interrupt` sends it SIGINT when it has begun to write."""
    ours, terminal = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as reader:
        command = command_line("sample", *arguments)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal) as process:
            os.close(terminal)
            written = b""
            try:
                while block := reader.read(1000):
                    if interrupt and not written:
                        process.send_signal(signal.SIGINT)
                    written += block
            except OSError:  # how Linux reports the end of a terminal
                pass
    assert process.returncode == (130 if interrupt else 0)
    return written


def test_control_characters_are_escaped_on_a_terminal_and_not_in_a_pipe(
    trained: TrainedModel, tmp_path: Path
) -> None:
    vocabulary = Vocabulary(("\n", "\x1b", "é", None, None), unknown_id=3, end_of_text_id=4)
    escaping = always(
        replace(trained, vocabulary=vocabulary), "\x1b", tmp_path / "escaping.safetensors"
    )
    assert (
        on_a_terminal(escaping, "-p", "é\n\x1b", "-n", "2") == "é\r\n\\x1b\\x1b\\x1b\r\n".encode()
    )
    assert sample(escaping, "-n", 2) == "\x1b\x1b"


def test_ctrl_c_ends_the_line_on_a_terminal(trained: TrainedModel, tmp_path: Path) -> None:
    written = on_a_terminal(
        always(trained, "a", tmp_path / "endless.safetensors"), "-n", "0", interrupt=True
    )
    assert written.rstrip(b"\r\n").strip(b"a") == b""
    assert written.endswith(b"a\r\n")


def test_characters_that_the_output_cannot_encode_are_escaped(
    trained: TrainedModel, tmp_path: Path
) -> None:
    vocabulary = Vocabulary(("\n", "中", "b", None, None), unknown_id=3, end_of_text_id=4)
    model = always(replace(trained, vocabulary=vocabulary), "中", tmp_path / "chinese.safetensors")
    for extra in ([], ["--json"]):
        done = run_process(
            "sample", model, "-n", "2", *extra, variables={"PYTHONIOENCODING": "ascii"}, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\u4e2d\\u4e2d" in done.stdout


# Scores


def test_the_score_is_printed_and_in_the_json_with_the_protocol(trained_run: Path) -> None:
    given = (
        "evaluate",
        trained_run,
        "--split",
        "train",
        "--protocol",
        "windows",
        "--window",
        "100",
    )
    found, printed = json_of(*given), charlm(*given).stdout
    score = evaluate(trained_run, split="train", protocol="windows", window=100)
    nats = score.nats_per_char
    assert printed.startswith(
        f"{trained_run}/best.safetensors: train text of the run: 15,999 characters, "
        f"{found['total_bits']:,.0f} bits in total (protocol windows of 100)\n"
    )
    assert (found["protocol"], found["characters"]) == ("windows of 100", 15_999)
    for key, value in (
        ("nats_per_char", nats),
        ("bits_per_char", nats / math.log(2)),
        ("perplexity", math.exp(nats)),
    ):
        assert found[key] == pytest.approx(value)
        assert f"{value:.4f}" in printed
    assert found["standard_error"] == pytest.approx(score.standard_error)
    assert (
        f"standard error of this model's mean: {score.standard_error:.4f} nats (blocks of 300 characters)\n"
        in printed
    )


@pytest.mark.usefixtures("place")
def test_characters_left_out_of_the_text_are_named_and_in_the_json() -> None:
    given = ("evaluate", "m.safetensors", "other.txt")
    command, found = charlm(*given), json_of(*given)
    assert command.stderr.startswith("charlm: left out of other.txt")
    assert "'X' (U+0058) 1 time" in command.stderr
    assert (found["left_out"], found["characters"], found["text"]) == ({"X": 1}, 3, "other.txt")
    assert set(found) == {
        *(
            "model",
            "text",
            "protocol",
            "nats_per_char",
            "bits_per_char",
            "perplexity",
            "characters",
            "standard_error",
        ),
        *(
            "left_out",
            "baselines",
            "training_characters",
            "given_characters",
            "copies",
            "longest_copy",
        ),
        *("total_bits", "comparison"),
    }


def test_baselines_are_a_table_with_the_model_and_the_best_first(trained_run: Path) -> None:
    _, head, *rows, note, comparison = charlm(
        "evaluate", trained_run, "--baselines"
    ).stdout.splitlines()
    assert head.split() == ["nats", "bits", "perplexity"]
    assert {row[:12].strip() for row in rows} == {
        "uniform",
        "lzma",
        "unigram",
        "5-gram",
        "this model",
    }
    scores = [tuple(map(float, row[12:].split())) for row in rows]
    assert scores == sorted(scores)
    for nats, bits, perplexity in scores:
        assert bits == pytest.approx(nats / math.log(2), abs=1e-3)
        assert perplexity == pytest.approx(math.exp(nats), rel=1e-3)
    assert "baselines use all 16,000 characters of the training text" in note
    assert comparison.startswith("  this model: not compared with a 5-gram model")
    assert comparison.endswith(": 1,999 characters are too few to know the error")


def test_the_comparison_is_one_sentence_and_in_the_json(trained_run: Path) -> None:
    given = ("evaluate", trained_run, "--split", "train", "--baselines")
    found, printed = json_of(*given), charlm(*given).stdout
    comparison = found["comparison"]
    assert set(comparison) == {"ngram_nats_per_char", "margin_nats", "standard_error", "characters"}
    assert comparison["ngram_nats_per_char"] == found["baselines"]["5-gram"]
    assert comparison["margin_nats"] == pytest.approx(
        found["baselines"]["5-gram"] - found["nats_per_char"]
    )
    assert f"  this model: {Comparison(**comparison)}\n" in printed


def test_copies_are_told_with_their_place_in_the_training_text(
    trained_run: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(trained_run / "corpus")
    copied = corpus.vocabulary.decode(corpus.split("train")[100:150])
    (tmp_path / "text.txt").write_text(f"QQ{copied}", encoding="utf-8")
    given = ("evaluate", trained_run, tmp_path / "text.txt", "--copies")
    found, last = json_of(*given), charlm(*given).stdout.splitlines()[-1]
    assert found["copies"] == {"share": 50 / 52, "length": 50, "start": 2, "position": 100}
    assert found["longest_copy"] == copied
    assert last.startswith(
        "  96.2% is copied from the training text in spans of 20 characters or more; longest: 50 characters at position 100,"
    )


def test_the_files_and_their_sizes_and_the_check_are_printed(
    model_file: Path, tmp_path: Path
) -> None:
    command = charlm("export", model_file, "--format", "c", "--out", tmp_path / "out", "--check")
    files, check = command.stdout.splitlines()
    names = ("charlm.h", "charlm.c", "main.c", "model.bin")
    sizes = [f"{name} {(tmp_path / 'out' / name).stat().st_size:,} bytes" for name in names]
    assert files == f"{tmp_path}/out: {', '.join(sizes)}"
    assert check.startswith("C: logits differ by at most ")
    assert command.stderr == ""
