"""What `charlm evaluate` prints and writes: the score, --baselines, --surprise and --dynamic."""

import json
import math
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm, check_failure, check_usage_error, run_line, table

from charlm.api import evaluation
from charlm.cli import evaluate as cli_evaluate
from charlm.config.schema import Config, CorpusConfig
from charlm.evaluation import dynamic_rule
from charlm.evaluation.baselines import measure_baselines
from charlm.evaluation.scoring import mean_score, score_stream, score_windows
from charlm.network.bundle import Bundle, read_bundle, write_bundle
from charlm.runs.run import begin_run
from charlm.text.corpus import open_corpus
from charlm.text.tokenization import tokenize

BASELINES = {"zlib", "bz2", "lzma", "unigram", "5-gram"}


def figures(*arguments: str | Path, stdin: str = "") -> dict[str, Any]:
    """Return the object that `evaluate --json` prints."""
    command = charlm("evaluate", *arguments, "--json", stdin=stdin)
    assert command.exit_code == 0, command.stderr
    found: dict[str, Any] = json.loads(command.stdout)
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def stream_nats(run: Path, split: str, *, checkpoint: str = "best") -> float:
    """Return the mean nats of a part of the text of a run, read as a stream."""
    parameters = read_bundle(run / checkpoint).parameters
    return mean_score(score_stream(parameters, open_corpus(run / "corpus").split(split))).nats_per_char


def with_bias(bundle: Bundle, *bias: float) -> Bundle:
    parameters = replace(bundle.parameters, logits_bias=np.array(bias, np.float32))
    return replace(bundle, parameters=parameters)


# The text


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_part_of_the_text_of_the_run_is_scored(split: str, trained_run: Path) -> None:
    assert figures(trained_run, "--split", split)["nats_per_char"] == pytest.approx(stream_nats(trained_run, split))


def test_validation_text_is_the_default(trained_run: Path) -> None:
    found = figures(trained_run)
    assert (found["text"], found["characters"]) == ("validation text of the run", 1_999)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_text_file_is_divided_like_the_corpus_of_the_run(split: str, trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    found = figures(copy, trained_run.parent / "text.txt", "--split", split)
    assert found["nats_per_char"] == pytest.approx(stream_nats(trained_run, split))


def test_text_file_is_scored_whole_by_default(trained_run: Path) -> None:
    found = figures(trained_run, trained_run.parent / "text.txt")
    assert (found["text"], found["characters"]) == (str(trained_run.parent / "text.txt"), 19_999)


def test_text_is_read_from_standard_input(bundle_folder: Path, tmp_path: Path) -> None:
    from_file = figures(bundle_folder, write(tmp_path / "text.txt", "abba\n"))
    piped = figures(bundle_folder, "-", stdin="abba\n")
    assert piped["nats_per_char"] == from_file["nats_per_char"]


def test_unknown_character_is_refused_or_left_out(trained_run: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "The €ferry")
    command = charlm("evaluate", trained_run, text)
    assert command.exit_code == 1
    assert "'€' (U+20AC)" in command.stderr
    assert figures(trained_run, text, "--unknown", "skip")["characters"] == 8


def test_last_bundle_is_scored_if_asked_for(trained_run: Path) -> None:
    found = figures(trained_run, "--checkpoint", "last", "--split", "test")
    assert found["nats_per_char"] == pytest.approx(stream_nats(trained_run, "test", checkpoint="last"))


# The score


def test_json_has_the_score_and_the_protocol(trained_run: Path) -> None:
    found = figures(trained_run, "--protocol", "windows", "--window", "100")
    assert set(found) >= {"nats_per_char", "bits_per_char", "perplexity", "characters"}
    assert (found["protocol"], found["window"]) == ("windows", 100)
    assert found["bits_per_char"] == pytest.approx(found["nats_per_char"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["nats_per_char"]))


def test_infinite_perplexity_is_null_in_json(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", with_bias(bundle, 1000, 0, 0, 0, 0))
    found = figures(tmp_path / "b", write(tmp_path / "text.txt", "abab"))
    assert found["nats_per_char"] == pytest.approx(1000, rel=0.1)
    assert found["perplexity"] is None


def test_windows_have_the_length_that_was_asked_for(trained_run: Path) -> None:
    ids = open_corpus(trained_run / "corpus").split("test")
    expected = mean_score(score_windows(read_bundle(trained_run / "best").parameters, ids, window=100))
    found = figures(trained_run, "--protocol", "windows", "--window", "100", "--split", "test")
    assert found["nats_per_char"] == pytest.approx(expected.nats_per_char)


def test_printed_score_is_that_of_the_json(trained_run: Path) -> None:
    found = figures(trained_run)
    printed = charlm("evaluate", trained_run).stdout
    assert printed.startswith(f"{trained_run}/best: validation text of the run, 1,999 characters, stream\n")
    for key in ("nats_per_char", "bits_per_char", "perplexity"):
        assert f"{found[key]:.4f}" in printed


def test_number_of_characters_left_out_is_said(trained_run: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "a€a€a")
    command = charlm("evaluate", trained_run, text, "--unknown", "skip", "--json")
    assert command.stderr == f"charlm: 2 characters of {text} that the model does not know were left out\n"
    assert json.loads(command.stdout)["skipped_characters"] == 2


def test_name_of_a_run_with_an_escape_sequence_does_not_reach_the_terminal(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "red\x1b[31m")
    assert charlm("evaluate", run).stdout.startswith(f"{tmp_path}/red\\x1b[31m/best: ")
    assert "\x1b" not in charlm("evaluate", run, "--surprise", "-").stderr


# --baselines


def test_json_has_the_baselines_by_name(trained_run: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    expected = measure_baselines(corpus.split("test"), corpus.vocabulary, corpus.split("train"))
    found = figures(trained_run, "--split", "test", "--baselines")
    assert found["baselines"] == pytest.approx(expected.nats_per_char)
    assert found["baselines_given"] == {"characters": 16_000, "of": 16_000}


def test_baselines_are_measured_only_if_asked_for(trained_run: Path) -> None:
    assert "baselines" not in figures(trained_run)


def test_baselines_are_a_table_with_the_model_and_the_best_first(trained_run: Path) -> None:
    _, head, *rows, note = charlm("evaluate", trained_run, "--baselines").stdout.splitlines()
    assert head.split() == ["nats", "bits", "perplexity"]
    assert {row[:12].strip() for row in rows} == {*BASELINES, "this model"}
    scores = [tuple(map(float, row[12:].split())) for row in rows]
    assert scores == sorted(scores)
    for nats, bits, perplexity in scores:
        assert bits == pytest.approx(nats / math.log(2), abs=1e-3)
        assert perplexity == pytest.approx(math.exp(nats), rel=1e-3)
    assert "the 16,000 characters of the training text" in note


def test_note_says_if_only_the_end_of_the_training_text_was_used(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "measure_baselines", partial(measure_baselines, max_training_characters=1_000))
    note = charlm("evaluate", trained_run, "--baselines").stdout.splitlines()[-1]
    assert "the last 1,000 of the 16,000 characters of the training text" in note


def test_bundle_without_its_run_has_only_compressors_as_baselines(trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    text = trained_run.parent / "text.txt"
    printed = charlm("evaluate", copy, text, "--baselines").stdout
    assert "the training text is not known" in printed
    assert "gram" not in "".join(printed.splitlines()[:-1])
    found = figures(copy, text, "--baselines")
    assert set(found["baselines"]) == {"zlib", "bz2", "lzma"}
    assert found["baselines_given"] == {"characters": 0, "of": 0}


# --surprise


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize("protocol", ["stream", "windows"])
def test_surprise_has_the_nats_of_the_protocol(protocol: str, trained_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "nats.jsonl"
    command = charlm("evaluate", trained_run, "--protocol", protocol, "--surprise", target)
    assert command.stdout == charlm("evaluate", trained_run, "--protocol", protocol).stdout
    corpus, parameters = open_corpus(trained_run / "corpus"), read_bundle(trained_run / "best").parameters
    ids = corpus.split("validation")
    score = score_stream if protocol == "stream" else score_windows
    found = lines(target)
    assert [line["position"] for line in found] == list(range(1, len(ids)))
    assert "".join(line["character"] for line in found) == corpus.vocabulary.decode(ids[1:])
    expected = np.concatenate(list(score(parameters, ids)))
    np.testing.assert_allclose([line["nats"] for line in found], expected, rtol=1e-5)


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_surprise_on_standard_output_moves_the_score_to_standard_error(extra: Sequence[str], trained_run: Path) -> None:
    command = charlm("evaluate", trained_run, "--surprise", "-", *extra)
    assert command.stderr == charlm("evaluate", trained_run, *extra).stdout
    assert len([json.loads(line) for line in command.stdout.splitlines()]) == 1_999


def test_surprise_replaces_an_existing_file(bundle_folder: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "nats.jsonl", "old")
    figures(bundle_folder, write(tmp_path / "text.txt", "abba"), "--surprise", target)
    assert [line["character"] for line in lines(target)] == ["b", "b", "a"]


def test_surprise_written_to_a_link_keeps_the_link(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.jsonl")
    figures(bundle_folder, write(tmp_path / "text.txt", "abba"), "--surprise", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(lines(tmp_path / "real.jsonl")) == 3


def test_surprise_is_written_into_a_pipe(bundle_folder: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    figures(bundle_folder, write(tmp_path / "text.txt", "abba"), "--surprise", pipe)
    reader.join()
    assert len(read[0].splitlines()) == 3
    assert pipe.is_fifo()


def test_full_disk_is_reported_in_one_line(bundle_folder: Path, tmp_path: Path) -> None:
    command = charlm("evaluate", bundle_folder, write(tmp_path / "text.txt", "abba"), "--surprise", "/dev/full")
    assert (command.exit_code, command.stdout) == (1, "")
    assert command.stderr.startswith("charlm: /dev/full: cannot be written: No space left")


def test_surprise_into_a_folder_is_refused(trained_run: Path, tmp_path: Path) -> None:
    command = charlm("evaluate", trained_run, "--surprise", tmp_path)
    assert command.exit_code == 2
    assert "is a directory" in command.stderr


def test_no_file_is_left_if_the_loss_is_not_finite(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", with_bias(bundle, 3e38, -3e38, 0, 0, 0))
    text = write(tmp_path / "text.txt", "abab")
    command = charlm("evaluate", tmp_path / "b", text, "--surprise", tmp_path / "nats.jsonl")
    assert command.exit_code == 1
    assert "the loss is inf" in command.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "text.txt"]


# --dynamic


@pytest.mark.parametrize("rule", ["rms", "sgd"])
def test_dynamic_evaluation_reports_its_rule_and_scores_every_character(trained_run: Path, rule: str) -> None:
    found = figures(trained_run, "--dynamic", "--dynamic-rule", rule)
    assert found["dynamic"]["name"] == rule
    assert found["dynamic"]["rate"] > 0
    assert found["characters"] == figures(trained_run)["characters"]


@pytest.mark.slow
def test_dynamic_evaluation_at_rate_zero_is_the_stream(trained_run: Path) -> None:
    found = figures(trained_run, "--dynamic", "--dynamic-rate", "0", "--dynamic-decay", "0")
    assert found["nats_per_char"] == pytest.approx(stream_nats(trained_run, "validation"), abs=1e-5)


@pytest.mark.parametrize("option", ["--dynamic-segment", "--dynamic-stretch"])
def test_segment_has_its_old_name_too(option: str, trained_run: Path) -> None:
    arguments = ("--dynamic", "--dynamic-rule", "sgd", option, "7", "--split", "test")
    assert figures(trained_run, *arguments)["dynamic"]["segment"] == 7


def test_dynamic_evaluation_that_does_harm_says_so(trained_run: Path) -> None:
    static = figures(trained_run)["nats_per_char"]
    arguments = ("evaluate", trained_run, "--dynamic", "--dynamic-rule", "sgd", "--dynamic-rate", "10", "--json")
    command = charlm(*arguments)
    assert command.exit_code == 0, command.stderr
    found = json.loads(command.stdout)
    assert found["static_nats_per_char"] == pytest.approx(static)
    assert found["nats_per_char"] > static
    expected = f"{found['nats_per_char']:.4f} nats per character, {static:.4f} without it; leave it out, or lower"
    assert f"charlm: --dynamic does harm here: {expected} --dynamic-rate\n" in command.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["rms", "sgd"])
def test_the_default_of_a_rule_does_no_harm(rule: str, trained_run: Path) -> None:
    command = charlm("evaluate", trained_run, "--dynamic", "--dynamic-rule", rule)
    assert (command.exit_code, "harm" in command.stderr) == (0, False)


def test_command_and_library_have_the_same_longest_segment() -> None:
    assert cli_evaluate.MAX_SEGMENT == dynamic_rule.MAX_SEGMENT


def test_rms_rule_needs_the_training_text(trained_run: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained_run / "best", tmp_path / "bundle")
    command = charlm("evaluate", bundle, write(tmp_path / "text.txt", "abba"), "--dynamic")
    assert command.exit_code == 1
    assert "needs the training text" in command.stderr


# Errors


@pytest.mark.usefixtures("place")
def test_corpus_that_is_not_that_of_the_run_is_refused() -> None:
    begin_run(Path("run"), Config(), Path("corpus"))
    shutil.copytree("bundle", "run/best")
    shutil.rmtree("corpus")
    tokenize(["other.txt"], Path("corpus"), CorpusConfig())
    command = run_line("evaluate run")
    assert command.exit_code == 1
    assert "run/corpus: not the corpus that the run" in command.stderr


@pytest.mark.usefixtures("place")
@table("""
evaluate                                         | runs/: no run here
evaluate missing                                 | missing: no such folder
evaluate text.txt                                | text.txt
evaluate begun                                   | begun: no best/ in this run yet
evaluate bundle                                  | bundle: a bundle without its run
evaluate bundle missing.txt                      | missing.txt: no such file or folder
evaluate bundle empty.txt                        | at least 2
evaluate bundle empty                            | at least 2
evaluate bundle latin.txt                        | latin.txt: not valid utf-8
evaluate bundle other.txt                        | 'X' (U+0058)
evaluate bundle nul.txt                          | character 3 of nul.txt, U+0000
evaluate bundle late.txt                         | character 1,500,001 of late.txt, 'X' (U+0058)
evaluate bundle pipe                             | pipe: is not a regular file
evaluate bundle loop                             | loop: no such file or folder
evaluate bundle bundle                           | of bundle/
evaluate huge text.txt                           | the loss is inf: the weights are too large
evaluate linked text.txt                         | linked/config.yaml: is a link
evaluate bundle text.txt --split test            | at least 2
evaluate cut-weights.safetensors text.txt        | weights.safetensors: damaged
evaluate bundle text.txt --surprise no/where     | no/where: cannot be written: No such file
evaluate bundle text.txt --surprise LONG         | File name too long
evaluate bundle text.txt --dynamic               | needs the training text
""")
def test_failure_is_one_line_that_names_its_cause(line: str, expected: str) -> None:
    check_failure(line, expected)


@pytest.mark.usefixtures("place")
@table("""
evaluate bundle text.txt more                    | unexpected extra argument
evaluate bundle --split all                      | '--split'
evaluate bundle --protocol backwards             | '--protocol'
evaluate bundle --window 0                       | '--window'
evaluate bundle --window many                    | '--window'
evaluate bundle --dynamic-rate 1                 | --dynamic-rate needs --dynamic
evaluate bundle --dynamic-rule rms               | --dynamic-rule needs --dynamic
evaluate bundle --dynamic --protocol windows     | --dynamic reads the text as a stream
evaluate bundle --dynamic --dynamic-decay 2      | '--dynamic-decay'
evaluate bundle --dynamic --dynamic-decay nan    | '--dynamic-decay'
evaluate bundle --dynamic --dynamic-rate nan     | '--dynamic-rate': 'nan' is not a finite number
evaluate bundle --dynamic --dynamic-rate inf     | '--dynamic-rate': 'inf' is not a finite number
evaluate bundle --dynamic --dynamic-rate -1      | '--dynamic-rate'
evaluate bundle --dynamic --dynamic-segment 0    | '--dynamic-segment'
evaluate bundle --dynamic --dynamic-segment 10001 | '--dynamic-segment'
""")
def test_wrong_usage_names_the_option(line: str, expected: str) -> None:
    check_usage_error(line, expected)


@pytest.mark.parametrize("options", [[], ["--baselines"], ["--dynamic"], ["--split", "train"]])
def test_text_with_the_same_characters_in_the_place_of_that_of_the_run_is_refused(
    options: list[str], trained_run: Path, tmp_path: Path
) -> None:
    run = with_reversed_text(trained_run, tmp_path)
    command = charlm("evaluate", run, *options)
    assert command.exit_code == 1
    assert "run/corpus: not the corpus that the run was trained on" in command.stderr


def test_baselines_of_another_text_do_not_learn_from_a_text_that_is_not_that_of_the_run(
    trained_run: Path, tmp_path: Path
) -> None:
    run = with_reversed_text(trained_run, tmp_path)
    command = charlm("evaluate", run, write(tmp_path / "text.txt", "the the"), "--baselines")
    assert command.exit_code == 1
    assert "run/corpus: not the corpus that the run was trained on" in command.stderr


def with_reversed_text(trained_run: Path, folder: Path) -> Path:
    """Copy a run, and put its text in reverse in the place of its text."""
    run = shutil.copytree(trained_run, folder / "run")
    corpus = open_corpus(run / "corpus")
    text = write(folder / "reversed.txt", corpus.vocabulary.decode(corpus.ids)[::-1])
    shutil.rmtree(run / "corpus")
    tokenize([str(text)], run / "corpus", CorpusConfig(test_fraction=0.1))
    assert open_corpus(run / "corpus").splits == corpus.splits
    return run


# Ensembles


def test_an_ensemble_is_scored_by_the_mean_of_the_logits(bundle: Bundle, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "abba\nab")
    write_bundle(tmp_path / "one", with_bias(bundle, 0, 1, 2, -3, 0))
    write_bundle(tmp_path / "two", with_bias(bundle, 2, 0, 1, 0, -4))
    write_bundle(tmp_path / "mean", with_bias(bundle, 1, 0.5, 1.5, -1.5, -2))
    ensemble = figures(tmp_path / "one", text, "--with", tmp_path / "two")
    expected = figures(tmp_path / "mean", text)
    assert ensemble["nats_per_char"] == pytest.approx(expected["nats_per_char"], abs=1e-6)
    assert ensemble["with"] == [str(tmp_path / "two")]
    assert expected["with"] == []


def test_a_model_with_another_vocabulary_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = replace(bundle, vocabulary=replace(bundle.vocabulary, characters=("\n", "a", "c", None, None)))
    write_bundle(tmp_path / "one", bundle)
    write_bundle(tmp_path / "two", other)
    command = charlm("evaluate", tmp_path / "one", write(tmp_path / "text.txt", "ab"), "--with", tmp_path / "two")
    assert command.exit_code == 1
    assert "two/vocabulary.json: id 2 is 'c' instead of 'b'" in command.stderr


def test_an_ensemble_does_not_learn_from_the_text(bundle_folder: Path) -> None:
    command = charlm("evaluate", bundle_folder, "--with", bundle_folder, "--dynamic")
    assert command.exit_code == 2
    assert "--dynamic evaluates a single model; leave out --with" in command.stderr
