"""What `charlm sample`, `evaluate` and `export` print, on a terminal, in a pipe and as JSON."""

import json
import math
import os
import pty
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm, check_failure, json_of
from models import change_model, make_random_model, with_tensors
from processes import command_line, run_process
from run_folders import make_run

from charlm.api.evaluation import LineScore, evaluate, score_lines
from charlm.api.model import load
from charlm.config.schema import CorpusConfig
from charlm.core.model_file import TrainedModel, write_model
from charlm.core.vocabulary import Vocabulary
from charlm.events import Event, Note, Progress
from charlm.measures.baselines import Comparison
from charlm.runs.folder import DEFAULT_CORPUS
from charlm.text.corpus import open_corpus
from charlm.text.tokenization import tokenize


def sample(*arguments: str | Path | float) -> str:
    """Return the standard output of `charlm sample`."""
    command = charlm("sample", *arguments)
    assert command.exit_code == 0, command.stderr
    return command.stdout


def write_repeating_model(
    trained: TrainedModel,
    character: str,
    path: Path,
    *,
    logit: float = 1000,
) -> Path:
    """Write a model that always predicts the same character, and return its path."""
    bias = np.zeros(len(trained.vocabulary), np.float32)
    bias[trained.vocabulary.characters.index(character)] = logit
    parameters = with_tensors(trained.parameters, {"logits.bias": bias})
    write_model(path, replace(trained, parameters=parameters))
    return path


# The text


def test_the_default_temperature_is_that_of_the_recipe(trained: TrainedModel) -> None:
    vocabulary = Vocabulary(tuple("\nabcd"))
    config = {**trained.config, "sampling": {"temperature": 0.25}}
    write_model(Path("cool.safetensors"), replace(trained, vocabulary=vocabulary, config=config))
    arguments = ("cool.safetensors", "-n", 50, "--seed", 1)
    assert sample(*arguments) == sample(*arguments, "-t", 0.25)


def test_unknown_characters_of_the_prompt_are_reported(trained_run: Path) -> None:
    arguments = ("sample", trained_run, "-p", "€The€ ferry", "-n", 1)
    command = charlm(*arguments)
    assert command.stderr.startswith("charlm: left out of the prompt")
    assert "'€' (U+20AC) 2 times" in command.stderr
    assert command.stdout.startswith("€The€ ferry")
    assert json_of(*arguments)["left_out"] == {"€": 2}


THREE_SAMPLES = ("-p", "The", "-n", 10, "--samples", 3, "--seed", 5)


def test_the_json_has_every_sample(trained_run: Path) -> None:
    result = json_of("sample", trained_run, *THREE_SAMPLES)
    samples = result.pop("samples")
    assert result == {
        "model": str(trained_run / "best.safetensors"),
        "prompt": "The",
        "left_out": {},
        "seed": 5,
    }
    model = load(trained_run)
    expected = [str(model.generate("The", length=10, seed=seed)) for seed in (5, 6, 7)]
    assert [each["text"] for each in samples] == expected
    for each in samples:
        assert (len(each["text"]), each["characters"], each["stopped_by"]) == (10, 10, "length")


def test_several_samples_have_headings(trained_run: Path) -> None:
    command = charlm("sample", trained_run, *THREE_SAMPLES)
    samples = json_of("sample", trained_run, *THREE_SAMPLES)["samples"]
    assert command.stdout == "".join(f"The{each['text']}\n" for each in samples)
    assert command.stderr.splitlines() == [
        "--- sample 1 of 3 ---",
        "--- sample 2 of 3 ---",
        "--- sample 3 of 3 ---",
    ]


# Terminals and pipes


def sample_on_terminal(*arguments: str | Path, interrupt: bool = False) -> bytes:
    """Return the output of `charlm sample` on a terminal.

    With `interrupt`, the command gets SIGINT after its first output.
    """
    master, terminal = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as reader:
        command = command_line("sample", *arguments)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal) as process:
            os.close(terminal)
            written = b""
            try:
                while block := reader.read(1000):
                    if interrupt and not written:
                        process.send_signal(signal.SIGINT)
                    written += block
            except OSError:  # Linux reports the end of a terminal like this
                pass
    assert process.returncode == (130 if interrupt else 0)
    return written


@pytest.fixture
def escape_model(trained: TrainedModel, tmp_path: Path) -> Path:
    """Write a model that always predicts the control character ESC."""
    vocabulary = Vocabulary(("\n", "\x1b", "é", None, None), unknown_id=3, end_of_text_id=4)
    model = replace(trained, vocabulary=vocabulary)
    return write_repeating_model(model, "\x1b", tmp_path / "escape.safetensors")


def test_control_characters_are_written_to_a_pipe(escape_model: Path) -> None:
    assert sample(escape_model, "-n", 2) == "\x1b\x1b"


def test_ctrl_c_ends_the_line_on_a_terminal(trained: TrainedModel, tmp_path: Path) -> None:
    model = write_repeating_model(trained, "a", tmp_path / "endless.safetensors")
    written = sample_on_terminal(model, "-n", "0", interrupt=True)
    assert written.rstrip(b"\r\n").strip(b"a") == b""
    assert written.endswith(b"a\r\n")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_characters_that_the_output_cannot_encode_are_escaped(
    options: list[str], trained: TrainedModel, tmp_path: Path
) -> None:
    vocabulary = Vocabulary(("\n", "中", "b", None, None), unknown_id=3, end_of_text_id=4)
    chinese = replace(trained, vocabulary=vocabulary)
    model = write_repeating_model(chinese, "中", tmp_path / "chinese.safetensors")
    ascii_output = {"PYTHONIOENCODING": "ascii"}
    done = run_process("sample", model, "-n", "2", *options, variables=ascii_output, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u4e2d\\u4e2d" in done.stdout


# Large numbers


@pytest.mark.parametrize("digits", [20, 400, 4300])
@pytest.mark.parametrize("option", ["--seed", "--top-k", "--length"])
def test_a_number_of_many_digits_is_refused(option: str, digits: int) -> None:
    check_failure(f"sample {option} {digits * '9'} river-plays", " to 9,223,372,036,854,775,807")


# New lines


LINES = ("river-plays", "--lines", 5, "-p", "The ", "-n", 100, "--seed", 3)


def test_new_lines_are_different_and_not_in_the_text() -> None:
    result = json_of("sample", *LINES)
    lines = result["lines"]
    assert sample(*LINES) == "".join(f"{line}\n" for line in lines)
    assert len({*lines}) == 5
    assert not {*lines} & {*DEFAULT_CORPUS.read_text("utf-8").splitlines()}
    assert all(line.startswith("The ") and "\n" not in line for line in lines)
    nats = [load("river-plays").score(f"\n{line}\n") for line in lines]
    assert result["nats_per_char"] == pytest.approx([float(each.mean()) for each in nats])


def test_lines_that_are_not_new_are_counted(trained: TrainedModel, tmp_path: Path) -> None:
    """The model always predicts the same character, so its lines are too long, or empty."""
    for character, reason in (("a", "100 too long"), ("\n", "100 empty")):
        model = write_repeating_model(trained, character, tmp_path / "same.safetensors")
        command = charlm("sample", model, "--lines", 1)
        assert command.stdout == ""
        notes = " ".join(command.stderr.replace("\ncharlm:  ", "").split())
        assert "same.safetensors: its text is not known; new lines may be lines of it" in notes
        advice = "a higher -t or, for long lines, a larger -n gives more"
        assert f"charlm: 0 new lines; left out: {reason}; {advice}" in notes
        command = charlm("sample", model, "--lines", 2, "-p", "b\na", "-n", 1)
    assert command.stdout == "a\n"
    assert "charlm: 1 new line; left out: 100 repeated" in command.stderr


@pytest.mark.parametrize(
    ("prompt", "found", "reason"),
    [("ab", ["ab"], "repeated"), ("bb", [], "in the text already")],
    ids=["new line", "line of the text"],
)
def test_a_line_is_generated_once_at_temperature_0(
    prompt: str, found: list[str], reason: str, trained: TrainedModel, text: Path
) -> None:
    run = make_run(Path("run"))
    text.write_text(9 * "a\n" + "bb\n", encoding="utf-8")
    tokenize([str(text)], run / "corpus", CorpusConfig(), known=trained.vocabulary)
    model = write_repeating_model(trained, "\n", run / "best.safetensors")
    events: list[Event] = []
    lines = load(model).lines(2, prompt, temperature=0, on_event=events.append)
    assert [*lines] == found
    assert events[-1] == Progress("generating lines", len(found), 2, "line")
    assert lines.rejected == {reason: 100}


def test_new_lines_are_printed_as_they_are_found(trained: TrainedModel, tmp_path: Path) -> None:
    model = write_repeating_model(trained, "\n", tmp_path / "same.safetensors")
    found: list[str] = []

    def interrupt(line: str) -> None:
        found.append(line)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        load(model).lines(10**9, "ab", on_line=interrupt)
    assert found == ["ab"]


def test_new_lines_need_a_model_that_knows_line_breaks(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors", make_random_model(vocabulary=Vocabulary(("a", "b"))))
    check_failure(f"sample {tmp_path}/m.safetensors --lines 2 --json", "does not know line breaks")


# Scores


WINDOWS = ("--split", "train", "--protocol", "windows", "--window", "100")


def test_the_score_is_printed(trained_run: Path) -> None:
    printed = charlm("evaluate", trained_run, *WINDOWS).stdout
    score = evaluate(trained_run, split="train", protocol="windows", window=100)
    bits = score.total_bits
    assert printed.startswith(
        f"{trained_run}/best.safetensors: training text of the run: 15,999 characters, "
        f"{bits:,.0f} bits in total, in windows of 100\n"
    )
    nats = score.nats_per_char
    shown = [f"{value:.4f}" for value in (nats, nats / math.log(2), math.exp(nats))]
    assert printed.splitlines()[2].split() == ["this", "model", *shown]
    error = f"{score.standard_error:.4f} nats (blocks of 300 characters)"
    assert f"standard error of this model's mean: {error}\n" in printed
    found = json_of("evaluate", trained_run, *WINDOWS)
    assert (found["protocol"], found["total_bits"]) == ("windows of 100", bits)


def test_a_perplexity_beyond_the_range_of_a_float_is_null(
    trained: TrainedModel, text: Path
) -> None:
    model = write_repeating_model(trained, "\n", Path("m.safetensors"), logit=9999)
    assert json_of("evaluate", model, text)["perplexity"] is None


@pytest.mark.usefixtures("place")
def test_a_text_is_read_in_the_encoding_of_the_model() -> None:
    settings = {"encoding": "latin-1"}
    change_model(Path("m.safetensors"), lambda fields: fields["config"]["corpus"].update(settings))
    assert json_of("evaluate", "m.safetensors", "latin.txt")["left_out"] == {"é": 1}
    assert scored_lines("m.safetensors", "latin.txt")[0]["line"] == "abbé"


@pytest.mark.usefixtures("place")
def test_unknown_characters_of_a_text_are_in_the_json() -> None:
    result = json_of("evaluate", "m.safetensors", "other.txt")
    assert (result["left_out"], result["characters"]) == ({"X": 1}, 3)
    assert result["text"] == "other.txt"


# Unusual lines


def scored_lines(*arguments: str | Path) -> list[dict[str, Any]]:
    """Return the rows of `charlm evaluate --lines`, printed as JSON Lines."""
    command = charlm("evaluate", *arguments, "--lines", "--json")
    assert command.exit_code == 0, command.stderr
    return [json.loads(line) for line in command.stdout.splitlines()]


@pytest.mark.usefixtures("place")
def test_each_line_of_a_text_has_a_score() -> None:
    """A line is read after a line break, and the line break at its end is scored too."""
    Path("lines.txt").write_text("ab\n\nb\tbab\n", encoding="utf-8")
    model = load("m.safetensors")
    nats = [model.score(f"\n{line}\n") for line in ("ab", "", "bbab")]
    nats[2] = np.insert(nats[2], 1, 100)
    scores = [np.sort(each)[-3:].mean() for each in nats]
    means = [each.mean() for each in nats]
    rows = scored_lines("m.safetensors", "lines.txt")
    assert [row.pop("score") for row in rows] == pytest.approx(scores)
    assert [row.pop("nats_per_char") for row in rows] == pytest.approx(means)
    known = {"document": "lines.txt", "as_high": 0, "compared": 0}
    expected = [
        (1, 3, "ab"),
        (2, 1, ""),
        (3, 6, "b\tbab"),
    ]
    assert rows == [
        {**known, "number": number, "characters": characters, "line": line}
        for number, characters, line in expected
    ]
    printed = charlm("evaluate", "m.safetensors", "lines.txt", "--lines").stdout.splitlines()
    assert printed == [
        f"{number}\t{score:.4f}\t{mean:.4f}\t-\t{characters}\t{line}"
        for (number, characters, line), score, mean in zip(expected, scores, means, strict=True)
    ]


def test_a_line_with_an_unknown_character_comes_first(model_file: Path) -> None:
    """The network reads the unknown id, number 3."""
    known, unknown = score_lines(model_file, ["bab", "aXb"])
    nats = load(model_file).score([0, 1, 3, 2, 0])
    nats[1] = 100
    assert unknown.nats_per_char == pytest.approx(float(nats.mean()))
    assert unknown.score > 33 > known.score
    assert (unknown.document, unknown.number, unknown.line) == ("", 2, "aXb")


def test_many_lines_above_all_are_explained(trained_run: Path) -> None:
    """At most 5 times as many as usual, or 5 of a few lines, need no explanation."""
    validation = open_corpus(trained_run / "corpus").split("validation")
    count = load(trained_run).vocabulary.decode(validation).count("\n") - 1
    notes: list[Event] = []
    for strange in (5, 6):
        lines = ["\u4e2d"] * strange + ["The"] * 3
        assert len([*score_lines(trained_run, lines, on_event=notes.append)]) == strange + 3
    (note,) = notes
    assert isinstance(note, Note)
    assert note.message.startswith(f"6 of 9 lines are above all {count} lines of the validation")


def test_a_score_is_compared_with_the_lines_of_the_validation_text(
    trained_run: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(trained_run / "corpus")
    _, *own, _ = corpus.vocabulary.decode(corpus.split("validation")).split("\n")
    (tmp_path / "own.txt").write_text("\n".join([*own, ""]), encoding="utf-8")
    rows = scored_lines(trained_run, tmp_path / "own.txt")
    scores = [row["score"] for row in rows]
    assert {row["compared"] for row in rows} == {len(own)}
    for row in rows:
        higher = sum(score >= row["score"] - 1e-4 for score in scores)
        lower = sum(score > row["score"] + 1e-4 for score in scores)
        assert lower < row["as_high"] <= higher


@pytest.mark.parametrize(
    ("as_high", "compared", "rarity"),
    [
        (0, 0, "-"),
        (0, 1900, "above all 1,900"),
        (1, 1900, "1 in 1,900"),
        (5, 14, "1 in 3"),
    ],
)
def test_the_rarity_of_a_score_is_a_number_of_lines(
    as_high: int, compared: int, rarity: str
) -> None:
    score = LineScore("x", 1, 1.0, 1.0, as_high, compared, 1, "")
    assert score.rarity == rarity


@pytest.mark.usefixtures("place")
def test_lines_of_a_folder_are_named_by_their_file() -> None:
    Path("logs").mkdir()
    for name in ("1.log", "2.log"):
        Path("logs", name).write_text("a\nb\n", encoding="utf-8")
    rows = charlm("evaluate", "m.safetensors", "logs", "--lines").stdout.splitlines()
    places = [row.split("\t")[0] for row in rows]
    assert places == ["logs/1.log:1", "logs/1.log:2", "logs/2.log:1", "logs/2.log:2"]


@pytest.mark.usefixtures("place")
def test_a_line_is_scored_as_soon_as_it_comes() -> None:
    command = command_line("evaluate", "m.safetensors", "-", "--lines")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in (1, 2):
            process.stdin.write(b"ab\xff\n" + 2000 * b"\xcc\x81" + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"%d\t" % (2 * number - 1))
            assert process.stdout.readline().startswith(b"%d\t" % (2 * number))


def test_lines_need_a_model_that_knows_line_breaks(trained: TrainedModel, tmp_path: Path) -> None:
    vocabulary = Vocabulary(("c", "a", "b", None, None), unknown_id=3, end_of_text_id=4)
    write_model(tmp_path / "m.safetensors", replace(trained, vocabulary=vocabulary))
    (tmp_path / "lines.txt").write_text("ab\n", encoding="utf-8")
    line = f"evaluate {tmp_path}/m.safetensors {tmp_path}/lines.txt --lines"
    check_failure(line, "does not know line breaks, so it cannot score lines")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("options", ["", "--lines"])
def test_a_model_with_an_unknown_encoding_is_refused(options: str) -> None:
    change_model(
        Path("m.safetensors"), lambda fields: fields["config"]["corpus"].update(encoding="x")
    )
    check_failure(f"evaluate m.safetensors text.txt {options}", "corpus.encoding: found 'x'")


def test_baselines_are_a_table(trained_run: Path) -> None:
    lines = charlm("evaluate", trained_run, "--baselines").stdout.splitlines()
    _, head, *rows, note, comparison = lines
    assert head.split() == ["nats", "bits", "perplexity"]
    scores = [[float(cell) for cell in row[12:].split()] for row in rows]
    assert scores == sorted(scores)
    nats, bits, perplexity = scores[0]
    assert bits == pytest.approx(nats / math.log(2), abs=1e-3)
    assert perplexity == pytest.approx(math.exp(nats), rel=1e-3)
    names = {row[:12].strip() for row in rows}
    assert names == {"uniform", "lzma", "8-gram", "this model"}
    assert "baselines use all 16,000 characters of the training text" in note
    assert comparison.startswith("  this model: not compared with an 8-gram model")
    assert comparison.endswith(": 1,999 characters are too few to estimate its error")
    learnt = charlm("evaluate", trained_run, "--baselines", "--split", "train").stdout
    assert "\n  the model learnt this text: lzma compresses only the scored text" in learnt


def test_the_comparison_with_an_8_gram_is_printed(trained_run: Path) -> None:
    Path("text.txt").write_text(DEFAULT_CORPUS.read_text("utf-8")[60_000:63_000], encoding="utf-8")
    arguments = ("evaluate", trained_run, "text.txt", "--baselines")
    comparison = Comparison(**json_of(*arguments)["comparison"])
    assert f"  this model: {comparison}\n" in charlm(*arguments).stdout


@pytest.mark.parametrize(("count", "share"), [(50, "96.2%"), (0, "0.0%")])
def test_copies_are_printed(count: int, share: str, trained_run: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    copied = corpus.vocabulary.decode(corpus.split("train")[100 : 100 + count])
    Path("text.txt").write_text(f"QQ{copied}", encoding="utf-8")
    line = charlm("evaluate", trained_run, "text.txt", "--copies").stdout.splitlines()[-1]
    example = f", for example {copied!r}" if copied else ""
    spans = "in spans of 20 characters or more"
    assert line == f"  {share} is copied from the training text {spans}{example}"


def test_the_files_of_an_export_are_printed(model_file: Path, tmp_path: Path) -> None:
    command = charlm("export", model_file, "--format", "c", "--out", tmp_path / "out")
    own = ("charlm.h", "charlm.c", "main.c", "model.bin")
    names = (*own, "model.safetensors", "README.md", "LICENSE")
    sizes = [f"{name} {(tmp_path / 'out' / name).stat().st_size:,} bytes" for name in names]
    assert command.stdout == f"{tmp_path}/out: {', '.join(sizes)}\n"
    assert command.stderr == ""
    exported = json_of("export", model_file, "--format", "c", "--out", "again")
    assert (exported["path"], [*exported["files"]]) == ("again", [*names])


def test_an_empty_key_does_not_mean_that_requests_need_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("starlette", reason="missing: starlette")
    monkeypatch.setenv("CHARLM_API_KEY", "")
    check_failure("serve river-plays --host a..b", "CHARLM_API_KEY: the key is empty, has")


@pytest.mark.parametrize(
    "line",
    [
        "sample run -n 1",
        "evaluate run text.txt",
        "evaluate run text.txt --lines",
        "export run --format c --out out",
        "inspect run --text text.txt --only units --json",
    ],
)
def test_a_run_without_a_best_model_is_reported(line: str, place: Path) -> None:
    run = make_run(Path("run"))
    (place / "m.safetensors").rename(run / "last.safetensors")
    assert "charlm: run: no best model yet; using" in charlm(*line.split()).stderr


# Vocabularies


@pytest.mark.parametrize("reserved", [(), (None, None)], ids=["characters", "reserved ids"])
@pytest.mark.parametrize("line_break", ["\n", " "], ids=["line breaks", "no line breaks"])
@pytest.mark.parametrize(
    "line",
    [
        "sample m -n 20 -p ab",
        "evaluate m text.txt --baselines",
        "inspect m --text text.txt --only surprise --only units --out report.html",
        "export m --format html --out page.html",
        "export m --format c --out library",
        "export m --format onnx --out m.onnx",
    ],
)
def test_a_model_of_any_vocabulary_can_be_used(
    line: str, line_break: str, reserved: tuple[None, ...]
) -> None:
    ids: dict[str, Any] = {"unknown_id": 3, "end_of_text_id": 4} if reserved else {}
    vocabulary = Vocabulary(("a", "b", line_break, *reserved), **ids)
    write_model(Path("m.safetensors"), make_random_model(vocabulary=vocabulary))
    Path("text.txt").write_text("ab ba ab\n" * 300, encoding="utf-8")
    command = charlm(*line.replace(" m ", " m.safetensors ").split())
    assert command.exit_code == 0, command.stderr
    assert command.stdout
