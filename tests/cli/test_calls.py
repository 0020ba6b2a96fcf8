"""How each command calls the library, and the command lines that it refuses."""

import inspect
import pkgutil
import shlex
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import click
import pytest
from commands import all_commands, check_failure, suggestions
from pages import parse_command

from charlm.cli.output import ProgressDisplay
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError

pytestmark = pytest.mark.usefixtures("place")

TARGETS = {
    "tokenize": "charlm.api.training.tokenize",
    "train": "charlm.api.training.train",
    "resume": "charlm.api.training.resume",
    "lines": "charlm.api.evaluation.score_lines",
    "plan": "charlm.api.training.plan",
    "evaluate": "charlm.api.evaluation.evaluate",
    "sample": "charlm.api.model.Model.generate",
    "inspect": "charlm.inspection.inspecting.inspect_runs",
    "export": "charlm.exports.exporting.export",
    "serve": "charlm.serving.server.serve",
    "runs": "charlm.runs.summary.list_runs",
    "config": "charlm.config.file.load_config",
}
"""The function that each command calls."""
RECIPE = {"recipe": "tiny", "overrides": ("a=1", "b=2")}
TEXT = {"text": (Path("a"), Path("b"))}
CALLS: dict[str, dict[str, Any]] = {
    # all options of each command
    "tokenize a b --out o -c tiny -s a=1 -s b=2": {
        "sources": (Path("a"), Path("b")),
        "out": Path("o"),
        **RECIPE,
    },
    "train a b -c tiny -s a=1 -s b=2 -r r --init m --epochs 3 --minutes 1.5": {
        **TEXT,
        **RECIPE,
        "run": Path("r"),
        "init": Path("m"),
        "epochs": 3,
        "minutes": 1.5,
    },
    "train --resume -r r --json": {"run": Path("r")},
    "train --resume": {},
    "train a b -c tiny -s a=1 -s b=2 -r r --resume --epochs 3": {
        **TEXT,
        **RECIPE,
        "run": Path("r"),
        "resume": True,
        "epochs": 3,
    },
    "plan a b -c tiny -s a=1 -s b=2 --init m --epochs 3 --minutes 1.5 --json": {
        **TEXT,
        **RECIPE,
        "init": Path("m"),
        "epochs": 3,
        "minutes": 1.5,
    },
    (
        "sample m.safetensors -p ab -n 3 -t 0.5 --top-k 2 --top-p 0.9 --min-p 0.1 --seed 7 "
        "--samples 1 --stop b"
    ): {
        "prompt": "ab",
        "length": 3,
        "temperature": 0.5,
        "top_k": 2,
        "top_p": 0.9,
        "min_p": 0.1,
        "seed": 7,
        "stop": "b",
    },
    ("evaluate m a --split test --protocol windows --window 9 --baselines --copies --json"): {
        "model": Path("m"),
        "text": Path("a"),
        "split": "test",
        "protocol": "windows",
        "window": 9,
        "baselines": True,
        "copies": True,
    },
    "evaluate m a --lines": {"model": Path("m"), "text": Path("a")},
    "inspect a b --text t --out o --only units --only memory --json": {
        "runs": (Path("a"), Path("b")),
        "text": Path("t"),
        "out": Path("o"),
        "only": ("units", "memory"),
    },
    "export m --format onnx --out o --json": {
        "model": Path("m"),
        "format": "onnx",
        "out": Path("o"),
    },
    (
        "serve a b --host ::1 --port 5 --allow-host c --allow-host d --allow-origin https://e "
        "--log l"
    ): {
        "models": (Path("a"), Path("b")),
        "host": "::1",
        "port": 5,
        "allow_hosts": ("c", "d"),
        "allow_origins": ("https://e",),
        "log": Path("l"),
        "key": "secret",
    },
    "runs a b --group --json": {"runs": (Path("a"), Path("b"))},
    "runs a b --samples": {"runs": (Path("a"), Path("b"))},
    "config show tiny -s a=1 -s b=2": {
        "path": find_recipe("tiny"),
        "overrides": ("a=1", "b=2"),
    },
    # only what is required
    "tokenize a --out o": {"sources": (Path("a"),), "out": Path("o")},
    "train": {},
    "plan": {},
    "sample m.safetensors --seed 7 --json": {"seed": 7},
    "evaluate": {},
    "inspect --json": {"runs": ()},
    "export --format c --out o": {"format": "c", "out": Path("o")},
    "serve": {"key": "secret"},
    "serve --port 0": {"key": "secret", "port": 0},
    "serve --port 65535": {"key": "secret", "port": 65535},
    "sample m.safetensors --seed 0 -n 0 -t 0 --min-p 0 --top-p 1 --top-k 1 --samples 1": {
        "seed": 0,
        "length": 0,
        "temperature": 0,
        "min_p": 0,
        "top_p": 1,
        "top_k": 1,
        "ignore_end": True,
    },
    "runs": {},
}
"""The arguments that a command line gives to its function, without those left at a default."""
TERMINAL_ARGUMENTS = {"self", "announce", "on_event", "report"}
"""Arguments that have no option: the model itself, and functions that print."""


@pytest.mark.parametrize(("line", "expected"), CALLS.items())
def test_an_option_becomes_an_argument(
    line: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = line.split(maxsplit=1)[0]
    if line.startswith("train --resume") or line.endswith("--lines"):
        name = "resume" if name == "train" else "lines"
    if name == "serve":
        pytest.importorskip("starlette", reason="missing: starlette")
        monkeypatch.setenv("CHARLM_API_KEY", "secret")
    function = pkgutil.resolve_name(TARGETS[name])
    double = create_autospec(function, side_effect=CharlmError("was called"))
    monkeypatch.setattr(TARGETS[name], double)
    check_failure(line, "was called")
    signature = inspect.signature(function)
    arguments = signature.bind(*double.call_args.args, **double.call_args.kwargs).arguments
    for argument, value in arguments.items():
        if argument not in TERMINAL_ARGUMENTS:
            default = signature.parameters[argument].default
            assert value == expected.get(
                argument, None if default is inspect.Parameter.empty else default
            )
    assert expected.keys() <= arguments.keys()
    if "on_event" in signature.parameters:
        assert isinstance(arguments["on_event"], ProgressDisplay)


@pytest.mark.parametrize("name", all_commands())
def test_the_table_has_every_option(name: str) -> None:
    tested = {word for line in CALLS if line.startswith(name) for word in shlex.split(line)}
    tested_elsewhere = {"--quiet"}
    if name == "tensorboard":
        tested_elsewhere |= {"--host", "--port"}  # in test_runs.py
    if name == "sample":
        tested_elsewhere |= {"--lines"}
    for parameter in all_commands()[name].params:
        if isinstance(parameter, click.Option):
            assert {*parameter.opts} & (tested | tested_elsewhere), parameter.opts


def parameters_of(name: str) -> set[str]:
    """Return the arguments and options of a command, each by its longest name."""
    return {max(parameter.opts, key=len) for parameter in all_commands()[name].params}


def test_plan_has_the_options_of_train() -> None:
    only_train = {"--run", "--resume", "--quiet"}
    assert parameters_of("train") - only_train == parameters_of("plan")


FAILURES = [
    (
        "export m.safetensors --format c --out page.html",
        "page.html: the format c needs a folder",
    ),
    (
        "inspect m.safetensors m.safetensors --text - --json",
        "standard input can be read for one run only",
    ),
    ("sample red\x1b[31m.txt", "red\\x1b[31m.txt: not a model file"),
    ("serve m.safetensors m.safetensors", "m.safetensors: another model is called m too;"),
    ("serve m.safetensors --host a..b", "host a..b, port 8000: cannot listen there"),
    ("serve m.safetensors --host ''", "host: found ''; must be a name or an address"),
    ("serve m.safetensors --log a/b", "--log a/b: cannot be written: No such file or directory"),
    ("sample m.safetensors --min-p nan", "min_p: found nan; must be 0 to 1"),
    ("serve m.safetensors --host LONG", "port 8000: cannot listen there"),
    ("tokenize LONG --out out", "which is a text; must be the path"),
    (
        "evaluate m.safetensors",
        "and no text was named; give one: charlm evaluate m.safetensors TEXT, or",
    ),
    (
        "inspect m.safetensors --json",
        "give one: charlm evaluate m.safetensors TEXT, or charlm inspect m",
    ),
    (
        "sample text.txt",
        "not a model file (*.safetensors); to train on this text: charlm train text.txt; ",
    ),
    ("plan txt.txt", "txt.txt: no such file or folder"),
    (
        "plan text.txt -c escap.yml",
        "escap.yml: no such recipe or YAML file; expected 5mb, ",
    ),
    ("sample nothing", "nothing: no such file or folder; must be a run or a model file"),
    ("sample", "runs/: no run here; train one with: charlm train"),
    ("tensorboard", "runs: no run here has been trained"),
    ("tensorboard missing", "missing: no run here has been trained"),
    (
        "plan corpus -s corpus.encoding=cp1252",
        "corpus.encoding: found 'cp1252', but corpus was",
    ),
    ("tokenize text.txt --out out -c escape.yaml", "escape.yaml: \\x1b[31m\\n: found"),
    (
        "train text.txt -r out --minutes 3 -s training.steps=9",
        "minutes 3: training.steps sets the length too;",
    ),
    (
        "train text.txt -r out --epochs 2 -s training.epochs=3",
        "epochs 2: training.epochs sets the length too;",
    ),
    ("plan text.txt --minutes 3 --epochs 2", "minutes 3: training.epochs sets the length too;"),
    ("train --resume -r missing", "missing: not a run"),
    ("plan --minutes 1000001", "minutes: found 1000001.0; must be above 0 and at most 1,000,000"),
    ("plan --epochs 1000000001", "training.epochs: found 1000000001; must be less than or"),
]
"""Command lines that fail, and a part of the message."""
WRONG_USAGE = [
    ("evaluate m.safetensors --window 100", "--window has an effect only with --protocol windows"),
    ("evaluate m.safetensors --protocol windows --window 0", "'--window'"),
    ("inspect m.safetensors --text text.txt", "--out FILE.html"),
    ("sample 'Once upon a time'", "Once upon a time: no such model; a text to continue is given"),
    ("evaluate --protocl x", "No such option '--protocl'. Did you"),
    ("--red\x1b[31m", "--red\\x1b[31m"),
    ("red\x1b[31m", "red\\x1b[31m"),
    ("runs --samples --group", "--group and --samples cannot be"),
    ("train ''", "'[TEXT]...': the path is empty"),
    ("runs ''", "'[RUNS]...': the path is empty"),
    ("sample m.safetensors -n -1", "'--length'"),
    ("sample m.safetensors -t -1", "-1.0 is not in the range"),
    ("sample m.safetensors --top-p 0", "0.0 is not in the range"),
    ("sample m.safetensors -n 0 --json", "with -n 0, the text has no end"),
    ("sample m.safetensors -n 0 --samples 2", "with -n 0, the text has no end"),
    ("sample m.safetensors -n 0 --lines 2", "with -n 0, the text has no end"),
    ("sample m.safetensors --lines 2 --samples 2", "--lines cannot be combined with --samples"),
    ("sample m.safetensors --lines 2 --stop x", "--lines cannot be combined with --samples and"),
    ("evaluate m.safetensors --lines", "--lines needs a TEXT"),
    ("evaluate m.safetensors text.txt --lines --copies", "can only be combined with --json"),
    ("train --resume text.txt", "--resume with a text also needs --run, the folder of the run"),
    *(
        (f"train --resume {options}", "in a new run: charlm train TEXT --init RUN")
        for options in (
            "-c tiny",
            "-s seed=1",
            "--epochs 2",
            "--minutes 3",
            "--init m.safetensors",
            "-r missing --epochs 2",
        )
    ),
    ("train text.txt --epochs 0", "0 is not in the range"),
    ("plan text.txt --epochs 1.5", "'--epochs'"),
    ("plan text.txt --minutes 0", "0.0 is not in the range"),
    ("sample m.safetensors --top-k 0", "0 is not in the range"),
    ("serve m.safetensors --port 65536", "65536 is not in the range"),
]
"""Command lines that are not valid, and a part of the message."""


@pytest.mark.parametrize(("line", "message"), FAILURES)
def test_a_failure_is_reported_in_one_line(line: str, message: str) -> None:
    for arguments in suggestions(check_failure(line, message, code=1)):
        parse_command(arguments)


@pytest.mark.parametrize(("line", "message"), WRONG_USAGE)
def test_wrong_usage_is_reported_in_one_line(line: str, message: str) -> None:
    for arguments in suggestions(check_failure(line, message, code=2)):
        parse_command(arguments)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "charlm.serving.server", raising=False)
    monkeypatch.delattr("charlm.serving.server", raising=False)
    check_failure("serve m.safetensors", "charlm serve needs uvicorn: pip install '.[serve]'")
