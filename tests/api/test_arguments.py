"""Wrong arguments of the library: each is a CharlmError that names the argument."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.errors import CharlmError
from charlm.exports.exporting import export

PATH = ("", "two\nlines", "x" * 256, "nul\0", "\ud800")
NUMBER = (-1, math.nan, math.inf, "x")
WHOLE = (-1, 2**63, 10**400, 10**5000, 1.5, "x")  # Python prints at most 4,300 digits
NAME = ("", "x")
PLANNED: dict[str, tuple[Any, ...]] = {
    "text": (*PATH, []),
    "recipe": PATH,
    "epochs": (*WHOLE, 0),
    "minutes": (*NUMBER, 0),
    "init": PATH,
}
"""Arguments that `plan` and `train` share."""
IDS = ([1.7], ["a", 1], [True], [[1, 2], [3]], [10**400], np.zeros((2, 2)), [-1], [5])
STATE: tuple[Any, ...] = ([], np.zeros(4), [np.zeros((2, 4)), np.zeros((1, 4))])

METHODS: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "zero_state": ({}, {"batch": (*WHOLE, 1_000_001)}),
    "step": ({"ids": [1]}, {"ids": IDS, "state": STATE}),
    "logits": ({"text": "ab"}, {"text": IDS, "state": STATE}),
    "states": ({"text": "ab"}, {"text": IDS, "state": STATE}),
    "score": (
        {"text": "ab"},
        {"text": IDS, "state": STATE, "protocol": NAME, "window": (*WHOLE, 0)},
    ),
    "generate": (
        {"prompt": "a", "length": 1},
        {
            "length": WHOLE,
            "temperature": NUMBER,
            "top_k": (*WHOLE, 0),
            "top_p": (*NUMBER, 0, 1.1),
            "min_p": (*NUMBER, 1.1),
            "seed": WHOLE,
        },
    ),
    "lines": (
        {"count": 1},
        {
            "count": (*WHOLE, 0),
            "length": WHOLE,
            "top_k": (0,),
            "seed": WHOLE,
        },
    ),
}
FUNCTIONS: dict[str, tuple[Callable[..., object], dict[str, tuple[Any, ...]]]] = {
    "load": (charlm.load, {"model": PATH}),
    "evaluate": (
        charlm.evaluate,
        {
            "model": PATH,
            "text": PATH,
            "split": NAME,
            "protocol": NAME,
            "window": (*WHOLE, 0),
        },
    ),
    "score_lines": (
        lambda **arguments: [*charlm.score_lines(**arguments)],
        {"model": PATH, "text": PATH},
    ),
    "inspect": (charlm.inspect, {"run": PATH, "out": PATH, "text": PATH, "only": (*NAME, ["x"])}),
    "export": (export, {"model": PATH, "out": PATH, "format": NAME}),
    "list_runs": (charlm.list_runs, {"runs": PATH}),
    "tokenize": (
        charlm.tokenize,
        {"sources": PATH, "out": PATH, "recipe": PATH},
    ),
    "plan": (charlm.plan, PLANNED),
    "train": (charlm.train, {**PLANNED, "run": PATH}),
    "resume": (charlm.resume, {"run": PATH}),
    "serve": (
        charlm.serve,
        {
            "models": PATH,
            "port": (*WHOLE, 65536),
            "log": PATH,
            "allow_hosts": (["a:80"],),
            "allow_origins": (["a"],),
        },
    ),
}
RIGHT: dict[str, dict[str, Any]] = {
    "evaluate": {"model": "river-plays"},
    "score_lines": {"model": "river-plays", "text": "text"},
    "export": {"model": "river-plays", "out": "out", "format": "c"},
    "tokenize": {"sources": "text", "out": "out"},
    "serve": {"models": "river-plays", "port": 0},
}
"""Arguments that a function needs."""
CALLED = {
    ("inspect", "run"): "model",
    ("serve", "allow_hosts"): "host",
    ("serve", "allow_origins"): "origin",
}
"""What the message calls an argument, if not by its name."""


@pytest.mark.parametrize(
    ("name", "argument"), [(name, key) for name, (_, keys) in METHODS.items() for key in keys]
)
def test_a_wrong_value_for_a_method_is_refused_by_name(
    name: str, argument: str, model_file: Path
) -> None:
    model = charlm.load(model_file)
    right, keys = METHODS[name]
    called = CALLED.get((name, argument), argument)
    for value in keys[argument]:
        with pytest.raises(CharlmError, match=rf"^{called}: "):
            getattr(model, name)(**{**right, argument: value})


@pytest.mark.parametrize(
    ("name", "argument"), [(name, key) for name, (_, keys) in FUNCTIONS.items() for key in keys]
)
def test_a_wrong_value_for_a_function_is_refused_by_name(
    name: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, keys = FUNCTIONS[name]
    called = CALLED.get((name, argument), argument)
    for value in keys[argument]:
        with pytest.raises(CharlmError, match=rf"^{called}: "):
            function(**{**RIGHT.get(name, {}), argument: value})
    assert not any(tmp_path.iterdir())


def test_numpy_numbers_are_right(model_file: Path) -> None:
    model = charlm.load(model_file)
    numbers: dict[str, Any] = {
        "length": np.int64(30),
        "temperature": np.float32(0.5),
        "seed": np.uint8(1),
    }
    text = model.generate("a", length=30, temperature=0.5, seed=1)
    assert str(model.generate("a", **numbers)) == str(text)


def test_a_recipe_is_the_file_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_text("corpus: {min_count: 2}", encoding="utf-8")
    Path("text.txt").write_text("aab" * 100 + "c", encoding="utf-8")
    assert charlm.tokenize("text.txt", "named", recipe="./tiny").manifest.min_count == 2
    assert charlm.tokenize("text.txt", "shipped", recipe="tiny").manifest.min_count == 1
