"""What each command hands to the library: its options by the names of the arguments."""

import importlib
import inspect
import shlex
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import click
import pytest
from commands import all_commands, check_failure

from charlm.errors import CharlmError

SET = {"overrides": ("model.units=2", "seed=3")}
TEXT = {"text": (Path("a"), Path("b"))}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "tokenize a b --out o -c tiny -s model.units=2 -s seed=3": (
        "charlm.api.training tokenize",
        {"sources": (Path("a"), Path("b")), "out": Path("o"), "recipe": "tiny", **SET},
    ),
    "train a b -c tiny -s model.units=2 -s seed=3 -r r --init m --minutes 1.5": (
        "charlm.api.training train",
        {**TEXT, "recipe": "tiny", **SET, "run": Path("r"), "init": Path("m"), "minutes": 1.5},
    ),
    "train --resume -r r -s model.units=2 -s seed=3 --minutes 2": (
        "charlm.api.training resume",
        {"run": Path("r"), "minutes": 2.0, **SET},
    ),
    "plan a b -c tiny -s model.units=2 -s seed=3 --json": (
        "charlm.api.training plan",
        {**TEXT, "recipe": "tiny", **SET},
    ),
    "tune s a b --minutes 9 --trials 5 --trial-minutes 1 --out o": (
        "charlm.tuning.search tune",
        {"space": Path("s"), **TEXT, "minutes": 9, "trials": 5, "trial_minutes": 1, "out": Path("o")},
    ),
    "sample m.safetensors -p ab -n 3 -t 0.5 --top-k 2 --top-p 0.9 --min-p 0.1 --seed 7 --samples 1 --stop b --json": (
        "charlm.api.model Model.generate",
        {
            "prompt": "ab",
            "length": 3,
            **{"temperature": 0.5, "top_k": 2, "top_p": 0.9, "min_p": 0.1, "seed": 7, "stop": "b"},
        },
    ),
    "evaluate m a --split test --protocol windows --window 9 --baselines --copies --json": (
        "charlm.api.evaluation evaluate",
        {
            **{"model": Path("m"), "text": Path("a"), "split": "test", "protocol": "windows", "window": 9},
            **{"baselines": True, "copies": True},
        },
    ),
    "inspect a b --text t --out o --json": (
        "charlm.inspection.inspecting inspect_runs",
        {"runs": (Path("a"), Path("b")), "text": Path("t"), "out": Path("o")},
    ),
    "export m --format onnx --out o --check --json": (
        "charlm.formats.exporting export",
        {"model": Path("m"), "format": "onnx", "out": Path("o"), "check": True},
    ),
    "serve a b --host ::1 --port 5": (
        "charlm.serving.server serve",
        {"runs": (Path("a"), Path("b")), "host": "::1", "port": 5, "key": "secret"},
    ),
    "runs a b --group --json": ("charlm.runs.summary list_runs", {"runs": (Path("a"), Path("b"))}),
    "runs a b --samples": ("charlm.runs.summary list_runs", {"runs": (Path("a"), Path("b"))}),
    "config show tiny -s model.units=2 -s seed=3": ("charlm.config.file load_config", SET),
}
"""Of a command line with every option of its command: the function that is called, and with what."""
SHORTEST: dict[str, dict[str, Any]] = {
    "tokenize a --out o": {"sources": (Path("a"),), "out": Path("o")},
    "tune s --minutes 9": {"space": Path("s"), "minutes": 9},
    "sample m.safetensors --seed 7": {"seed": 7},
    "inspect --json": {},
    "export --format c --out o": {"format": "c", "out": Path("o")},
    **{line: {} for line in ("train", "plan", "evaluate", "serve", "runs")},
}
"""Command lines with what is required alone."""
OF_THE_TERMINAL = {"self", "say", "show_progress", "announce", "report"}


def called(line: str, target: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a command line; return what it calls the function `module name` with, and the defaults of that."""
    module, _, path = target.partition(" ")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    signature = inspect.signature(getattr(owner, name))
    double = create_autospec(getattr(owner, name), side_effect=CharlmError("was called"))
    monkeypatch.setattr(owner, name, double)
    check_failure(line, "was called")
    given = signature.bind(*double.call_args.args, **double.call_args.kwargs).arguments
    defaults = {key: one.default for key, one in signature.parameters.items() if one.default is not one.empty}
    return {key: value for key, value in given.items() if key not in OF_THE_TERMINAL}, defaults


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("line", CALLS)
def test_every_option_is_an_argument_of_the_function_that_the_command_calls(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, expected = CALLS[line]
    if line.startswith("serve"):
        pytest.importorskip("starlette", reason="missing: starlette")
        monkeypatch.setenv("CHARLM_API_KEY", "secret")
    found, defaults = called(line, target, monkeypatch)
    assert {name: value for name, value in found.items() if name in expected} == expected
    assert all(value in (None, defaults.get(name)) for name, value in found.items() if name not in {*expected, "path"})


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("line", SHORTEST)
def test_an_option_that_is_left_out_is_the_default_of_the_library(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if line == "serve":
        pytest.importorskip("starlette", reason="missing: starlette")
    target = next(target for full, (target, _) in CALLS.items() if full.partition(" ")[0] == line.partition(" ")[0])
    found, defaults = called(line, target, monkeypatch)
    for name, value in found.items():
        assert value == SHORTEST[line].get(name, defaults.get(name)), name


@pytest.mark.parametrize("name", all_commands())
def test_the_table_has_every_option(name: str) -> None:
    tested = {word for line in CALLS if line.startswith(name) for word in shlex.split(line)}
    elsewhere = {"--quiet"} | ({"--host", "--port"} if name == "tensorboard" else set())
    options = [option for option in all_commands()[name].params if isinstance(option, click.Option)]
    assert [option.opts for option in options if not {*option.opts} & (tested | elsewhere)] == []
