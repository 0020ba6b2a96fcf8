"""What each command hands to the library, its options by the names of the arguments, and what it refuses in a line."""

import inspect
import pkgutil
import shlex
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import click
import pytest
from commands import all_commands, check_failure

from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError

pytestmark = pytest.mark.usefixtures("place")

TARGETS = {
    **{name: f"charlm.api.training.{name}" for name in ("tokenize", "train", "resume", "plan")},
    **{"evaluate": "charlm.api.evaluation.evaluate", "sample": "charlm.api.model.Model.generate"},
    **{
        "inspect": "charlm.inspection.inspecting.inspect_runs",
        "export": "charlm.formats.exporting.export",
    },
    **{"serve": "charlm.serving.server.serve", "runs": "charlm.runs.summary.list_runs"},
    **{"tune": "charlm.tuning.search.tune", "config": "charlm.config.file.load_config"},
}
"""The function that a command calls."""
SET = {"overrides": ("a=1", "b=2")}
AB, OUT = (Path("a"), Path("b")), Path("o")
RECIPE = {"text": AB, "recipe": "tiny", **SET}
LENGTH = {"init": Path("m"), "epochs": 3, "minutes": 1.5}
RESUMED = {"run": Path("r"), "epochs": 3, "minutes": 2.0, **SET}
SEARCH = {"space": Path("s"), "text": AB, "minutes": 9, "trials": 5, "trial_minutes": 1, "out": OUT}
DRAWN = {
    "prompt": "ab",
    "length": 3,
    "temperature": 0.5,
    "top_k": 2,
    "top_p": 0.9,
    "min_p": 0.1,
    "seed": 7,
}
SCORED = {"split": "test", "protocol": "windows", "window": 9, "baselines": True, "copies": True}
CALLS: dict[str, dict[str, Any]] = {
    "tokenize a b --out o -c tiny -s a=1 -s b=2": {
        "sources": AB,
        "out": OUT,
        "recipe": "tiny",
        **SET,
    },
    "train a b -c tiny -s a=1 -s b=2 -r r --init m --epochs 3 --minutes 1.5": {
        **RECIPE,
        **LENGTH,
        "run": Path("r"),
    },
    "train --resume -r r -s a=1 -s b=2 --epochs 3 --minutes 2 --json": RESUMED,
    "train a b -c tiny -s a=1 -s b=2 -r r --resume --epochs 3": {
        **RECIPE,
        "epochs": 3,
        "run": Path("r"),
        "resume": True,
    },
    "plan a b -c tiny -s a=1 -s b=2 --init m --epochs 3 --minutes 1.5 --json": {**RECIPE, **LENGTH},
    "tune s a b --minutes 9 --trials 5 --trial-minutes 1 --out o": SEARCH,
    "sample m.safetensors -p ab -n 3 -t 0.5 --top-k 2 --top-p 0.9 --min-p 0.1 --seed 7 --samples 1 --stop b": DRAWN
    | {"stop": "b"},
    "evaluate m a --split test --protocol windows --window 9 --baselines --copies --json": SCORED
    | {"model": Path("m"), "text": Path("a")},
    "inspect a b --text t --out o --json": {"runs": AB, "text": Path("t"), "out": OUT},
    "export m --format onnx --out o --check --json": {
        "model": Path("m"),
        "format": "onnx",
        "out": OUT,
        "check": True,
    },
    "serve a b --host ::1 --port 5 --allow-host c --allow-host d --allow-origin https://e --log": {
        "runs": AB
    }
    | {"host": "::1", "port": 5, "allow_hosts": ("c", "d"), "allow_origins": ("https://e",)},
    "runs a b --group --json": {"runs": AB},
    "runs a b --samples": {"runs": AB},
    "runs a b --all": {"runs": AB},
    "config show tiny -s a=1 -s b=2": {"path": find_recipe("tiny"), **SET},
    "tokenize a --out o": {"sources": (Path("a"),), "out": OUT},
    "tune s --minutes 9": {"space": Path("s"), "minutes": 9},
    "sample m.safetensors --seed 7 --json": {"seed": 7},
    "export --format c --out o": {"format": "c", "out": OUT},
    **{line: {} for line in ("train", "plan", "evaluate", "inspect --json", "serve", "runs")},
}
"""What a command line hands over: those with every option of their command, then those with what is required alone."""
OF_THE_TERMINAL = {"self", "on_event", "report"}


@pytest.mark.parametrize("line", CALLS)
def test_an_option_is_an_argument_or_the_default_of_the_library(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "resume" if line.startswith("train --resume") else line.split(maxsplit=1)[0]
    expected, target = CALLS[line], TARGETS[name]
    if line.startswith("serve"):
        pytest.importorskip("starlette", reason="missing: starlette")
        monkeypatch.setenv("CHARLM_API_KEY", "secret")
        expected = {**expected, "key": "secret"}
    function = pkgutil.resolve_name(target)
    double = create_autospec(function, side_effect=CharlmError("was called"))
    monkeypatch.setattr(target, double)
    check_failure(line, "was called")
    parameters = inspect.signature(function)
    given = parameters.bind(*double.call_args.args, **double.call_args.kwargs).arguments
    found = {name: value for name, value in given.items() if name not in OF_THE_TERMINAL}
    defaults = {
        name: None if one.default is one.empty else one.default
        for name, one in parameters.parameters.items()
    }
    assert found == {name: defaults[name] for name in found} | expected


@pytest.mark.parametrize("name", all_commands())
def test_the_table_has_every_option(name: str) -> None:
    tested = {word for line in CALLS if line.startswith(name) for word in shlex.split(line)}
    elsewhere = {"--quiet"} | ({"--host", "--port"} if name == "tensorboard" else set())
    options = [option for option in all_commands()[name].params if isinstance(option, click.Option)]
    assert [option.opts for option in options if not {*option.opts} & (tested | elsewhere)] == []


def parameters_of(name: str) -> set[str]:
    """Return the arguments and options of a command, each by its longest name."""
    return {max(parameter.opts, key=len) for parameter in all_commands()[name].params}


def test_plan_takes_what_train_takes() -> None:
    of_a_training = {"--run", "--resume", "--quiet"}
    assert parameters_of("train") - of_a_training == parameters_of("plan")


def test_the_length_is_shared_by_train_and_plan() -> None:
    assert {"text", "--epochs", "--minutes", "--init"} <= parameters_of("train") & parameters_of(
        "plan"
    )


REFUSED = """
1 | export m.safetensors --format c --out page.html | page.html: the format c must be a folder
1 | inspect m.safetensors m.safetensors --text - --json | standard input can be read for one run only
1 | sample red\x1b[31m.txt | red\\x1b[31m.txt: not a model file
1 | serve m.safetensors m.safetensors | m.safetensors: another model is called m too;
1 | serve m.safetensors --host a..b | host a..b, port 8000: cannot listen there
1 | sample m.safetensors --min-p nan | min_p: found nan; must be a number, from 0 to 1
1 | serve m.safetensors --host LONG | port 8000: cannot listen there
1 | tokenize LONG --out out | which is a text, not the path of a file
1 | evaluate m.safetensors | its training text is not known, and no text was named; name one: charlm evaluate m.safetensors TEXT, or
1 | inspect m.safetensors --json | its training text is not known, and no text was named; name one: charlm evaluate m.safetensors TEXT, or charlm inspect m
1 | sample text.txt | not a model file (*.safetensors); to train on this text: charlm train text.txt; to score it:
1 | plan txt.txt | txt.txt: no such file or folder; did you mean text.txt?
1 | plan text.txt -c escap.yml | escap.yml: no such recipe or YAML file; did you mean escape.yaml?
1 | sample m.safetensor | must be a run or a model file; did you mean m.safetensors?
1 | tune spce --minutes 1 | spce: no such search space or YAML file; did you mean space?
1 | sample nothing | nothing: no such file or folder; must be a run or a model file
1 | sample | runs/: no run here; train one with: charlm train
1 | tensorboard | runs: no run here has been trained
1 | tensorboard missing | missing: no run here has been trained
1 | train corpus -r out -s corpus.encoding=latin-1 | corpus.encoding: found 'latin-1', but corpus was
1 | tokenize text.txt --out out -c escape.yaml | escape.yaml: \\x1b[31m\\n: found
1 | train text.txt -r out --minutes 3 -s training.steps=9 | minutes 3: training.steps sets the length too;
1 | train text.txt -r out --minutes 3 --epochs 2 | minutes 3: training.epochs sets the length too;
1 | train text.txt -r out --epochs 2 -s training.steps=9 | epochs 2: training.steps sets the length too;
1 | train text.txt -r out --epochs 2 -s training.epochs=3 | epochs 2: training.epochs sets the length too;
1 | train --resume -r missing --minutes 3 --epochs 2 | minutes 3: training.epochs sets the length too;
1 | train --resume -r missing --epochs 2 -s training.steps=9 | epochs 2: training.steps sets the length too;
1 | plan text.txt --minutes 3 --epochs 2 | minutes 3: training.epochs sets the length too;
1 | plan text.txt --epochs 2 -s training.steps=9 | epochs 2: training.steps sets the length too;
1 | plan text.txt --minutes 3 -s training.epochs=9 | minutes 3: training.epochs sets the length too;
1 | train --resume -r missing | missing: not a run
1 | tune nonsense --minutes 1 | nonsense: no such search space or YAML file; charlm comes with space
2 | evaluate m.safetensors --window 100 | --window has an effect only with --protocol windows
2 | evaluate m.safetensors --protocol windows --window 0 | '--window'
2 | inspect m.safetensors --text text.txt | --out FILE.html
2 | tran | tran: no such command; did you mean charlm train?
2 | generate | generate: no such command; did you mean charlm sample?
2 | eval | eval: no such command; did you mean charlm evaluate?
2 | ls | ls: no such command; did you mean charlm runs?
2 | tensor-board | tensor-board: no such command; did you mean charlm tensorboard?
2 | config lst | lst: no such command; did you mean charlm config list?
2 | config generate | generate: no such command
2 | train a --lr 0.01 | --lr: no such option; use -s training.optimizer.learning_rate=0.01
2 | train a --learning-rate=0.01 | --learning-rate: no such option; use -s training.optimizer.learning_rate=0.01
2 | train a --seq_length 9 | --seq_length: no such option; use -s training.sequence_length=9
2 | train a --layer 2 | --layer: no such option; use -s model.layers=2
2 | train a --optimizer adam | --optimizer: no such option; use -s training.optimizer.name=adam
2 | train a --prompt 'a b' | --prompt: no such option; use -s sampling.prompt='a b'
2 | train a --recipe tiny | --recipe: no such option; use --config tiny
2 | train a --name a | --name: no such option; use --run a
2 | plan a --name a | No such option '--name'.
2 | train a --shuffle -q | --shuffle: no such option; use -s training.shuffle=true
2 | train a --model x | No such option '--model'.
2 | train a --epoch 3 | No such option '--epoch'. Did you mean '--epochs'?
2 | plan a --hidden 5 | --hidden: no such option; use -s model.units=5
2 | config show tiny --batch 5 | --batch: no such option; use -s training.batch_size=5
2 | tokenize a --out b --min-count 2 | --min-count: no such option; use -s corpus.min_count=2
2 | tokenize a --out b --lr 1 | No such option '--lr'.
2 | tune space --minutes 1 --units 5 | --units: no such option; in the search space, use fixed: {model.units: 5}
2 | sample --epochs 3 | No such option '--epochs'.
2 | evaluate --protocl x | No such option '--protocl'. Did you
2 | --red\x1b[31m | --red\\x1b[31m
2 | red\x1b[31m | red\\x1b[31m
2 | train '' | '[TEXT]...': the path is empty
2 | runs '' | '[RUNS]...': the path is empty
2 | sample m.safetensors -n -1 | '--length'
2 | sample m.safetensors -t -1 | -1.0 is not in the range
2 | sample m.safetensors --top-p 0 | 0.0 is not in the range
2 | sample m.safetensors --top-p 1.1 | 1.1 is not in the range
2 | sample m.safetensors --min-p 1.1 | 1.1 is not in the range
2 | sample m.safetensors -n 0 --json | -n 0 has no end
2 | train --resume text.txt | also needs --run, the run's folder
2 | train --resume -c tiny | also needs --run, the run's folder
2 | train --resume --init m.safetensors | also needs --run, the run's folder
2 | train text.txt --epochs 0 | 0 is not in the range
2 | plan text.txt --epochs 1.5 | '--epochs'
2 | plan text.txt --minutes 0 | 0.0 is not in the range
2 | tune space --minutes 0 | 0.0 is not in the range
"""
"""The exit code of a command line (2 = wrong usage), the line, and a part of the message: argument, file or setting."""


@pytest.mark.parametrize("row", REFUSED.strip().split("\n"))
def test_a_refusal_is_one_line_that_names_what_is_wrong(row: str) -> None:
    code, line, expected = (cell.strip() for cell in row.split(" | "))
    check_failure(line, expected, code=int(code))


@pytest.mark.parametrize(
    ("command", "package", "installs"),
    [
        pytest.param("serve m.safetensors", "uvicorn", "starlette uvicorn", id="serve"),
        pytest.param("tune space --minutes 1", "optuna", "optuna", id="tune"),
    ],
)
def test_a_missing_package_is_named(
    command: str, package: str, installs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("charlm.hardware.versions", lambda *names: dict.fromkeys(names))
    for module in ("charlm.serving.server", "charlm.tuning.search"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delattr(module, raising=False)
    name = command.partition(" ")[0]
    check_failure(
        command, f"charlm {name} needs {package}, which is not installed: pip install {installs}"
    )
