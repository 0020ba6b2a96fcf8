"""The command line as a user meets it: help, exit codes, and one line for everything that is wrong."""

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from commands import charlm

from charlm import __version__
from charlm.bundle import Architecture, Bundle, write_bundle
from charlm.config import Config, CorpusConfig
from charlm.config_file import dump_config
from charlm.corpus import open_corpus
from charlm.preparation import begin_run
from charlm.rnn import parameters_from_tensors
from charlm.runs import is_run
from charlm.tokenization import tokenize
from charlm.vocabulary import Vocabulary

COMMANDS = ("tokenize", "train", "sample", "evaluate", "tensorboard", "compare", "bench")


# Help


def test_help_names_every_command() -> None:
    command = charlm("--help")
    assert command.exit_code == 0
    assert all(name in command.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(name: str, flag: str) -> None:
    command = charlm(name, flag)
    assert (command.exit_code, command.stderr) == (0, "")
    assert command.stdout.startswith(f"Usage: main {name} ")


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("tokenize", "PATH... --out --config --set"),
        ("train", "[CORPUS] -c --config -s --set KEY=VALUE -r --run --resume"),
        (
            "sample",
            "[RUN] -p --prompt -n --length -t --temperature --top-k --top-p --min-p --seed --samples --stop",
        ),
        ("sample", "--checkpoint [best|last] --unknown [error|skip] --json --prompt-file --ignore-end --raw"),
        ("evaluate", "[RUN] [TEXT] --split [train|validation|test] --protocol [stream|windows] --window --json"),
        ("evaluate", "--dynamic --dynamic-rule [rms|sgd] --dynamic-rate --dynamic-decay --dynamic-stretch"),
        ("evaluate", "--baselines --surprise FILE"),
        ("sample", "--copies"),
        ("compare", "[RUNS]... --sort [score|name|time] --json"),
        ("tensorboard", "[RUNS]... --host --port"),
    ],
)
def test_the_arguments_of_the_contract_are_in_the_help(name: str, flags: str) -> None:
    shown = charlm(name, "--help").stdout
    assert [flag for flag in flags.split() if flag not in shown] == []


def test_the_version_is_told() -> None:
    assert charlm("--version").stdout.strip().endswith(__version__)


# What is wrong


CONTENTS = {
    "text.txt": b"abba\n" * 50,
    "other.txt": b"abXba",
    "nul.txt": b"ab\0ba",
    "late.txt": b"abba\n" * 300_000 + b"X",
    "latin.txt": b"abb\xe9",
    "red\x1b[31m.txt": b"\xff",
    "two\rlines.txt": b"\xff",
    "empty.txt": b"",
    "broken.gz": gzip.compress(b"abba" * 100)[:-10],
    "list.yaml": b"- 1",
    "tab.yaml": b"model:\n\tunits: 3",
    "latin.yaml": b"# \xe9",
    "nul.yaml": b"seed: \0",
    "twice.yaml": b"seed: 1\nseed: 2",
    "alias.yaml": b"model: &m {units: 3}\ntraining: *m",
    "merge.yaml": b"model: {<<: {units: 3}}",
    "endless.yaml": b"training: {epochs: null}",
    "large.yaml": b"#" * 100_001,
    "deep.yaml": b"{a: " * 5000,
    "number.yaml": b"1: 2",
    "decimal.yaml": b"seed: " + b"9" * 5000,
    "hex.yaml": b"seed: 0x" + b"f" * 20_000,
    "binary.yaml": b"seed: !!binary gIGC",
    "python.yaml": b"seed: !!python/object/apply:os.getpid []",
    "escape.yaml": rb'"\e[31m\n": 1',
    "surrogate.yaml": rb'sampling: {prompt: "\ud800"}',
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a bundle, a run that has just begun, a corpus, and much that is broken."""
    place = tmp_path_factory.mktemp("place")
    for name, contents in CONTENTS.items():
        (place / name).write_bytes(contents)
    for name in ("empty", "folder.yaml"):
        (place / name).mkdir()
    for name in ("pipe", "pipe.yaml"):
        os.mkfifo(place / name)
    for name, target in {"zero.yaml": "/dev/zero", "loop": "loop", "loop.yaml": "loop.yaml"}.items():
        (place / name).symlink_to(target)

    _write_bundle(place / "bundle")
    _write_bundle(place / "nan", bias=np.nan)
    _write_bundle(place / "huge", bias=3e38)
    _write_bundle(place / "linked")
    (place / "linked/config.yaml").rename(place / "config-elsewhere.yaml")
    (place / "linked/config.yaml").symlink_to("../config-elsewhere.yaml")
    _write_bundle(place / "edited")
    model = (place / "edited/model.json").read_text()
    (place / "edited/model.json").write_text(model.replace('"tanh"', '"relu"'))
    for name in ("model.json", "weights.safetensors", "vocabulary.json", "config.yaml"):
        _write_bundle(place / f"no-{name}")
        (place / f"no-{name}" / name).unlink()
        _write_bundle(place / f"cut-{name}")
        os.truncate(place / f"cut-{name}" / name, 20)
    _write_bundle(place / "future")
    (place / "future/model.json").write_text(json.dumps({"format": 99}))

    tokenize([str(place / "text.txt")], place / "corpus", CorpusConfig())
    begin_run(place / "begun", Config(), place / "text.txt")
    (place / "lost").mkdir()
    (place / "lost/config.yaml").write_text(dump_config(Config()))
    (place / "lost/metrics.jsonl").touch()
    return place


@pytest.fixture
def place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a copy of that folder."""
    shutil.copytree(original, tmp_path / "place", symlinks=True, copy_function=_copy)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def _copy(source: str, target: str) -> None:
    """Copy a file, or make another pipe for a pipe."""
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _write_bundle(folder: Path, *, bias: float = 0.0) -> None:
    architecture = Architecture(3, 1, 4, None, True, "tanh", False)
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in architecture.shapes().items()
    }
    tensors["logits.bias"] += np.array([bias, -bias, 0], np.float32)
    parameters = parameters_from_tensors(tensors, activation="tanh", skip_connections=False)
    write_bundle(
        folder, Bundle(architecture, parameters, Vocabulary("char", ("\n", "a", "b")), dump_config(Config()))
    )


FAILURES = """
tokenize missing.txt --out out                                 | missing.txt: no such file or folder
tokenize '*.nothing' --out out                                 | *.nothing: no file or folder matches
tokenize latin.txt --out out                                   | latin.txt: not valid utf-8 at byte 3 (0xE9)
tokenize text.txt latin.txt --out out                          | latin.txt: not valid utf-8
tokenize empty.txt --out out                                   | empty.txt: no text
tokenize empty --out out                                       | empty: no text
tokenize broken.gz --out out                                   | broken.gz: not a whole gzip file
tokenize corpus --out out                                      | corpus: is a corpus
tokenize /dev/null --out out                                   | /dev/null: is not a regular file
tokenize text.txt --out corpus                                 | corpus: exists already
tokenize text.txt --out text.txt                               | text.txt: exists already
tokenize text.txt --out text.txt/inside                        | text.txt/inside: cannot be written
tokenize text.txt --out out -s corpus.encoding=klingon         | corpus.encoding: found 'klingon'
tokenize text.txt --out out -s corpus.level=word               | corpus.level: found 'word'
tokenize text.txt --out out -s corpus.min_count=0              | corpus.min_count: found 0
tokenize text.txt --out out -s corpus.min_count=1000           | corpus.min_count: found 1000
tokenize text.txt --out out -s corpus.normalize=NFD            | corpus.normalize: found 'NFD'
tokenize text.txt --out out -s corpus.level=byte -s corpus.normalize=NFC | corpus.normalize: found NFC
tokenize text.txt --out out -s corpus.validation_fraction=1    | corpus.validation_fraction: found 1
tokenize text.txt --out out -s corpus.test_fraction=0.9        | less than 1
tokenize text.txt --out out -s nonsense                        | --set nonsense: should be KEY=VALUE
tokenize text.txt --out out -s =3                              | --set =3: should be KEY=VALUE
tokenize text.txt --out out -s corpus=3                        | corpus: found 3
tokenize text.txt --out out -s corpus.levle=byte               | did you mean corpus.level?
tokenize text.txt --out out -s 'seed=[1'                       | --set seed: line 1
tokenize text.txt --out out -c nosuch                          | --config nosuch: no such recipe
tokenize text.txt --out out -c tiyn                            | did you mean tiny?
tokenize text.txt --out out -c missing.yaml                    | missing.yaml: cannot be read: No such file
tokenize text.txt --out out -c folder.yaml                     | folder.yaml: cannot be read: Is a directory
tokenize text.txt --out out -c list.yaml                       | list.yaml: holds
tokenize text.txt --out out -c tab.yaml                        | tab.yaml: line 2
tokenize text.txt --out out -c latin.yaml                      | latin.yaml: cannot be read as a config: not UTF-8
tokenize text.txt --out out -c twice.yaml                      | 'seed' stands twice
tokenize text.txt --out out -c alias.yaml                      | aliases are not allowed
tokenize loop --out out                                        | loop: no such file or folder
tokenize pipe --out out                                        | pipe: is not a regular file
tokenize '[' --out out                                         | [: no file or folder matches this pattern
tokenize /proc/self/mem --out out                              | /proc/self/mem: cannot be read
tokenize red\x1b[31m.txt --out out                             | red\\x1b[31m.txt: not valid utf-8
tokenize 'two\rlines.txt' --out out                            | two\\rlines.txt: not valid utf-8
tokenize LONG --out out                                        | xxx: cannot be read: File name too long
tokenize text.txt --out LONG                                   | xxx: cannot be written: File name too long
tokenize text.txt --out loop/out                               | loop/out: cannot be written
tokenize text.txt --out /dev/null                              | /dev/null: exists already
tokenize text.txt --out out -c pipe.yaml                       | pipe.yaml: is not a regular file
tokenize text.txt --out out -c zero.yaml                       | zero.yaml: is not a regular file
tokenize text.txt --out out -c loop.yaml                       | loop.yaml: cannot be read: Too many levels
tokenize text.txt --out out -c large.yaml                      | large.yaml: 100,001 bytes; should be 100,000
tokenize text.txt --out out -c deep.yaml                       | deep.yaml: nested too deeply
tokenize text.txt --out out -c decimal.yaml                    | decimal.yaml: not valid YAML
tokenize text.txt --out out -c hex.yaml                        | hex.yaml: line 1, column 7: not valid
tokenize text.txt --out out -c binary.yaml                     | could not determine a constructor for the tag
tokenize text.txt --out out -c merge.yaml                      | model.<<: unknown key
tokenize text.txt --out out -c python.yaml                     | could not determine a constructor for the tag
tokenize text.txt --out out -c nul.yaml                        | nul.yaml: not valid YAML: unacceptable character
tokenize text.txt --out out -c escape.yaml                     | escape.yaml: \\x1b[31m\\n: unknown key
tokenize text.txt --out out -c surrogate.yaml                  | half of a surrogate pair
tokenize text.txt --out out -c number.yaml                     | number.yaml: 1: found 1
tokenize text.txt --out out -c LONG                            | xxx: File name too long
tokenize text.txt --out out -s corpus.encoding=rot13           | corpus.encoding: found 'rot13'
tokenize text.txt --out out -s corpus.encoding=../utf-8        | corpus.encoding: found '../utf-8'
tokenize text.txt --out out -s corpus.encoding=utf-16          | UTF-16 stream does not start with BOM
tokenize text.txt --out out -s corpus.min_count=1e3            | corpus.min_count: found 1000.0
tokenize text.txt --out out -s seed=9223372036854775808        | not valid YAML: a number is too large
tokenize text.txt --out out -s seed=2001-01-01                 | seed: found '2001-01-01' (text)
tokenize text.txt --out out -s 'seed=!!set {a}'                | --set seed: line 1
tokenize text.txt --out out -s a.b.c.d.e.f=1                   | a: unknown key
train missing.txt -r out                                       | missing.txt: no such file or folder
train latin.txt -r out                                         | latin.txt: not valid utf-8
train empty.txt -r out                                         | empty.txt: no text
train empty -r out                                             | empty: no text
train text.txt -r begun                                        | begun: holds a run; continue it with --resume
train text.txt -r bundle                                       | bundle: is not empty; name another
train text.txt -r text.txt                                     | text.txt
train text.txt -r text.txt/inside                              | text.txt/inside: cannot be written
train pipe -r out                                              | pipe: is not a regular file
train text.txt -r loop/run                                     | loop/run: cannot be written
train text.txt -r out -c pipe.yaml                             | pipe.yaml: is not a regular file
train text.txt -r out -s model=[]                              | model: found [] (a list)
train text.txt -r out -s model.units=\u0663                         | model.units: found '\u0663' (text)
train text.txt -r out -s sampling.temperature=.inf             | sampling.temperature: found inf
train text.txt -r out -s training.max_minutes=0                | training.max_minutes: found 0
train text.txt -r out -s model.rnn.bias_initializer=3          | model.rnn.bias_initializer: found 3
train text.txt -r out -c endless.yaml                          | epochs or steps should be given
train text.txt -r out -s seed=-1                               | seed: found -1
train text.txt -r out -s seed.deep=1                           | seed
train text.txt -r out -s model.unit=3                          | did you mean model.units?
train text.txt -r out -s modle.units=3                         | did you mean model?
train text.txt -r out -s model.units=0                         | model.units: found 0
train text.txt -r out -s model.units=many                      | model.units: found 'many'
train text.txt -r out -s model.units=3.5                       | model.units: found 3.5
train text.txt -r out -s model.layers=65                       | model.layers: found 65
train text.txt -r out -s model.rnn.activation=tan              | model.rnn.activation: found 'tan'
train text.txt -r out -s model.rnn.dropout=1                   | model.rnn.dropout: found 1
train text.txt -r out -s model.rnn.return_sequences=true       | model.rnn.return_sequences: unknown key here
train text.txt -r out -s training.steps=0                      | training.steps: found 0
train text.txt -r out -s training.batch_size=no                | training.batch_size: found False
train text.txt -r out -s training.optimizer.learning_rate=.nan | training.optimizer.learning_rate: found nan
train text.txt -r out -s training.schedule.name=linear         | training.schedule.name: found 'linear'
train text.txt -r out -s training.clip_norm=-1                 | training.clip_norm: found -1
train text.txt -r out -s training.precision=float16            | training.precision: found 'float16'
train text.txt -r out -s sampling.top_p=2                      | sampling.top_p: found 2
train --resume                                                 | runs/: no run here
train --resume -r missing                                      | missing: not a run
train --resume -r bundle                                       | bundle: not a run
train --resume -r lost                                         | lost/corpus
train --resume -r begun -s model.units=x                       | model.units: found 'x'
sample                                                         | runs/: no run here
sample missing                                                 | missing: no such folder
sample empty                                                   | empty: neither a run nor a bundle
sample begun                                                   | begun: no best/ in this run yet
sample begun --checkpoint last                                 | begun: no last/ in this run yet
sample bundle -p abX                                           | character 3 of the text, 'X' (U+0058)
sample bundle --prompt-file latin.txt                          | latin.txt: not UTF-8 at byte 3
sample bundle --prompt-file other.txt                          | character 3 of the text, 'X' (U+0058)
sample bundle -p \udcff                                             | character 1 of the text, U+DCFF
sample bundle --prompt-file /dev/zero                          | /dev/zero: a prompt has at most 16,777,216
sample bundle --top-k -1                                       | --top-k -1
sample bundle --top-p nan                                      | --top-p nan
sample bundle --min-p nan                                      | --min-p nan
sample bundle -t 1e999                                         | --temperature inf
sample loop                                                    | loop: no such folder
sample LONG                                                    | xxx
sample red\x1b[31m.txt                                         | red\\x1b[31m.txt: no such folder
sample nan                                                     | logits.bias: holds values that are not finite
sample linked                                                  | linked/config.yaml: is a link
sample edited                                                  | edited/model.json: damaged: its own SHA-256
sample bundle -t -1                                            | --temperature -1
sample bundle -t nan                                           | --temperature nan
sample bundle -t inf                                           | --temperature inf
sample bundle --top-k 0                                        | --top-k 0
sample bundle --top-p 0                                        | --top-p 0
sample bundle --top-p 1.5                                      | --top-p 1.5
sample bundle --min-p 2                                        | --min-p 2
sample no-model.json                                           | no-model.json
sample no-weights.safetensors                                  | weights.safetensors: cannot be read: No such file
sample no-vocabulary.json                                      | vocabulary.json: cannot be read: No such file
sample no-config.yaml                                          | config.yaml: cannot be read: No such file
sample cut-model.json                                          | model.json: damaged
sample cut-weights.safetensors                                 | weights.safetensors: damaged
sample cut-vocabulary.json                                     | vocabulary.json: damaged
sample cut-config.yaml                                         | config.yaml: damaged
sample future                                                  | future/model.json: format 99
evaluate                                                       | runs/: no run here
evaluate missing                                               | missing: no such folder
evaluate text.txt                                              | text.txt
evaluate begun                                                 | begun: no best/ in this run yet
evaluate bundle                                                | bundle: a bundle without its run
evaluate bundle missing.txt                                    | missing.txt: no such file or folder
evaluate bundle empty.txt                                      | at least 2
evaluate bundle empty                                          | at least 2
evaluate bundle latin.txt                                      | latin.txt: not valid utf-8
evaluate bundle other.txt                                      | 'X' (U+0058)
evaluate bundle nul.txt                                        | character 3 of nul.txt, U+0000
evaluate bundle late.txt                                       | character 1,500,001 of late.txt, 'X' (U+0058)
evaluate bundle pipe                                           | pipe: is not a regular file
evaluate bundle loop                                           | loop: no such file or folder
evaluate bundle bundle                                         | of bundle/
evaluate huge text.txt                                         | the loss is inf: the weights are too large
evaluate linked text.txt                                       | linked/config.yaml: is a link
evaluate bundle text.txt --split test                          | at least 2
evaluate cut-weights.safetensors text.txt                      | weights.safetensors: damaged
tensorboard                                                    | runs/: no run here
tensorboard missing                                            | missing: not a run
evaluate bundle text.txt --surprise no/where                   | no/where: cannot be written: No such file
evaluate bundle text.txt --surprise LONG                       | File name too long
evaluate bundle text.txt --dynamic                             | --dynamic-rule rms needs the training text
sample bundle --copies                                         | bundle: a bundle without its run: --copies needs
compare bundle                                                 | bundle: not a run
compare text.txt                                               | text.txt: not a run
tensorboard bundle                                             | bundle: not a run
tensorboard text.txt                                           | text.txt: not a run
tensorboard loop                                               | loop: not a run
"""

WRONG_USAGE = """
frobnicate                            | No such command 'frobnicate'
--frobnicate                          | No such option
tokenize --out out                    | Missing argument 'PATH...'
tokenize text.txt                     | Missing option '--out'
train one two                         | unexpected extra argument
train -s                              | requires an argument
train --resume text.txt               | --resume goes on with the corpus
train --resume -c tiny                | --resume goes on with the corpus
sample bundle -n -1                   | '--length'
sample bundle -n 9223372036854775808  | '--length'
sample bundle -n 1e3                  | '--length'
sample bundle --samples 10001         | '--samples'
sample bundle --seed 1.5              | '--seed'
sample bundle --red\x1b[31m           | --red\\x1b[31m
sample bundle -n many                 | '--length'
sample bundle -t warm                 | '--temperature'
sample bundle --top-k some            | '--top-k'
sample bundle --seed -1               | '--seed'
sample bundle --samples 0             | '--samples'
sample bundle --checkpoint first      | '--checkpoint'
sample bundle --unknown maybe         | '--unknown'
sample bundle --prompt-file missing   | '--prompt-file'
sample bundle --prompt-file empty     | '--prompt-file'
sample bundle -p a --prompt-file text.txt | exclude each other
sample bundle -n 0 --json             | -n 0 has no end
sample bundle -n 0 --samples 2        | -n 0 has no end
sample bundle empty                   | unexpected extra argument
evaluate bundle text.txt more         | unexpected extra argument
evaluate bundle --split all           | '--split'
evaluate bundle --protocol backwards  | '--protocol'
evaluate bundle --window 0            | '--window'
evaluate bundle --dynamic-rate 1      | --dynamic-rate is for --dynamic
evaluate bundle --dynamic --protocol windows | --dynamic reads a stream
evaluate bundle --dynamic-decay 2     | '--dynamic-decay'
sample bundle -n 0 --copies           | -n 0 has no end
compare --sort beauty                 | '--sort'
tensorboard --port 99999              | '--port'
tensorboard --port any                | '--port'
tensorboard --port -1                 | '--port'
evaluate bundle --window many         | '--window'
bench walking                         | 'walking' is not one of
bench --units 0                       | should be numbers from 1 to 65536
bench --units 1,x                     | should be numbers from 1 to 65536
bench --layers 65                     | '--layers'
bench --rounds 0                      | '--rounds'
"""


def cases(table: str) -> list[tuple[str, str]]:
    return [(line.partition("|")[0].strip(), line.partition("|")[2].strip()) for line in table.strip().split("\n")]


def without_progress(stderr: str) -> list[str]:
    """Return the lines of standard error that are not a progress bar."""
    return [line for line in stderr.splitlines() if line and not line.startswith(("counting:", "encoding:"))]


def run_line(line: str) -> Result:
    return charlm(*shlex.split(line.replace("LONG", 300 * "x")))


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("line", "expected"), cases(FAILURES))
def test_a_failure_is_one_line_that_names_what_is_wrong(line: str, expected: str) -> None:
    command = run_line(line)
    assert (command.exit_code, command.stdout) == (1, "")
    (message,) = without_progress(command.stderr)
    assert message.startswith("charlm: ")
    assert expected in message
    assert message.isprintable()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("line", "expected"), cases(WRONG_USAGE))
def test_wrong_usage_names_the_argument(line: str, expected: str) -> None:
    command = run_line(line)
    assert (command.exit_code, command.stdout) == (2, "")
    assert expected in command.stderr.splitlines()[-1]


def test_a_hundred_and_fifty_distinct_mistakes_are_tried() -> None:
    assert len({line for line, _ in cases(FAILURES) + cases(WRONG_USAGE)}) >= 150


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "line", ["tokenize latin.txt --out out", "train latin.txt -r out", "train text.txt -r out -s seed=x"]
)
def test_a_failure_leaves_nothing_behind(line: str) -> None:
    before = sorted(Path().rglob("*"))
    assert run_line(line).exit_code == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("place")
def test_a_failed_resumption_does_not_touch_the_config() -> None:
    Path("begun/checkpoints/step-000000001").mkdir(parents=True)
    before = Path("begun/config.yaml").read_bytes()
    command = run_line("train --resume -r begun -s seed=5")
    assert command.exit_code == 1
    assert "no whole checkpoint" in command.stderr
    assert Path("begun/config.yaml").read_bytes() == before


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("line", ["evaluate run", "train --resume -r run"])
def test_another_corpus_in_the_place_of_the_runs_own_is_refused(line: str) -> None:
    begin_run(Path("run"), Config(), Path("corpus"))
    _write_bundle(Path("run/best"))
    shutil.rmtree("corpus")
    tokenize(["other.txt"], Path("corpus"), CorpusConfig())
    command = run_line(line)
    assert command.exit_code == 1
    assert "run/corpus: not the corpus that the run" in command.stderr


@pytest.mark.parametrize("override", ["training.optimizer.name=adma", "model.rnn.kernel_initializer=hee_normal"])
def test_what_keras_does_not_know_is_one_line_too(override: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba\n" * 50)
    command = charlm("train", tmp_path / "text.txt", "-c", "tiny", "-s", override, "-r", tmp_path / "run")
    assert (command.exit_code, command.stdout) == (1, "")
    (message,) = without_progress(command.stderr)
    assert message.startswith(f"charlm: {override.partition('=')[0]}: found ")


# What is right


def test_train_reports_the_best_loss_and_how_to_sample(trained_run: Path, tmp_path: Path) -> None:
    command = charlm("train", trained_run.parent / "text.txt", "-c", "tiny", "-r", tmp_path / "run")
    assert command.exit_code == 0
    assert command.stdout.count("\n") == 1
    assert command.stdout.startswith(f"{tmp_path}/run: ")
    assert "nats per character" in command.stdout
    assert "on the validation text at step 60" in command.stdout
    assert command.stderr.endswith(f"charlm: write text with: charlm sample {tmp_path}/run\n")


def test_without_a_corpus_the_plays_are_learnt_in_a_folder_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert charlm("train", "-c", "tiny", "-s", "training.steps=5").exit_code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-tiny")
    assert open_corpus(run / "corpus").manifest.sources[0].name.endswith("river_plays.txt")

    assert len(charlm("sample", "-n", 10).stdout) == 10
    assert "nats_per_char" in json.loads(charlm("evaluate", "--json").stdout)
    resumed = charlm("train", "--resume", "-s", "training.steps=10")
    assert "resumed at step 5 of 10\n" in resumed.stderr


def test_what_tokenize_wrote_is_trained_on(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba\n" * 50)
    written = charlm(
        "tokenize", tmp_path / "text.txt", "--out", tmp_path / "corpus", "-s", "corpus.test_fraction=0.1"
    )
    assert written.stdout == (
        f"{tmp_path}/corpus: 250 characters, 3 distinct, 1 document: train 200, validation 25, test 25\n"
    )
    trained = charlm("train", tmp_path / "corpus", "-c", "tiny", "-s", "training.steps=5", "-r", tmp_path / "run")
    assert trained.exit_code == 0
    assert is_run(tmp_path / "run")
    assert json.loads(charlm("evaluate", tmp_path / "run", "--split", "test", "--json").stdout)["characters"] == 24


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "charlm", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith(__version__)
