"""Attacks on config.yaml, of the run and of its bundles: values for every key, and YAML not meant for configs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from faults.attacks import Attack
from faults.wrong_values import VALUES, seal

from charlm.config.file import flatten
from charlm.config.schema import Config

CONFIG_VALUES = {
    **{name: text for name, text in VALUES.items() if name not in {"200,000 brackets", "NaN", "Infinity"}},
    **{
        text: text
        for text in (".nan", ".inf", "no", "1e-3", "1:20", "2001-01-01", "!!bool x", "!!python/name:os.system")
    },
}


def config_fields() -> Iterator[Attack]:
    """Yield the attacks that change a setting in the config.yaml of the run, or in that of its bundles."""
    for key in [*flatten(Config()), "training.optimizer.weight_decay", "extra", "model.rnn.units"]:
        for name, value in CONFIG_VALUES.items():
            yield Attack("config", "config.yaml", f"{key}: {name}", _config_changer(key, value, ()), may_differ=False)
        for name in ("null", "-1", "1e308", '"x"', "[]", "{}", "2**64"):
            bundles = _config_changer(key, VALUES[name], ("best", "last"))
            yield Attack("config", "best/config.yaml", f"{key}: {name}", bundles, may_differ=True)


def _config_changer(key: str, value: str, bundles: tuple[str, ...]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        values = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        *sections, last = key.split(".")
        place = values
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[last] = "HERE"
        text = yaml.safe_dump(values, sort_keys=False).replace(": HERE\n", f": {value}\n")
        _write_config(run, text, bundles)

    return change


def _write_config(run: Path, text: str, bundles: tuple[str, ...]) -> None:
    for folder in [run / name for name in bundles] or [run]:
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    for name in bundles:
        seal(run / name, "config.yaml")


YAML_TEXTS = {
    "a Python object": "!!python/object/apply:os.system ['true']\n",
    "a Python name": "model: !!python/name:os.system\n",
    "an unknown tag": "model: !mine {units: 3}\n",
    "a tag that does not fit": "seed: !!int ''\n",
    "a tag of another type": "seed: !!map 3\n",
    "binary": "seed: !!binary '='\n",
    "a set": "model: !!set {units}\n",
    "pairs": "model: !!omap [units: 3]\n",
    "a time": "seed: 2001-13-45\n",
    "a base-60 number": "seed: " + ":".join(["1"] * 400) + "\n",
    "octal and hexadecimal": "seed: 0x" + "f" * 4000 + "\n",
    "nine levels of aliases": "a: &a [x, x]\n"
    + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias of itself": "model: &m {rnn: *m}\n",
    "a missing alias": "model: *m\n",
    "a merge": "model: {<<: {units: 3}}\n",
    "a merge of itself": "model: &m {<<: *m}\n",
    "a key twice": "seed: 1\nseed: 2\n",
    "a list as a key": "? [1, 2]\n: 3\n",
    "a mapping as a key": "? {a: b}\n: 3\n",
    "no mapping": "- 1\n- 2\n",
    "a single value": "3\n",
    "nothing": "",
    "two documents": "seed: 1\n---\nseed: 2\n",
    "a directive": "%YAML 9.9\n---\nseed: 1\n",
    "brackets": "seed: " + "[" * 20_000 + "\n",
    "mappings": "seed: " + "{a: " * 5_000 + "\n",
    "indentation": "".join(" " * n + "a:\n" for n in range(400)),
    "a control character": "seed: '\x07'\n",
    "a next-line character": "sampling: {prompt: 'a\x85b'}\n",
    "a long line": "seed: " + "1" * 90_000 + "\n",
    "too many bytes": "# " + "x" * 200_000 + "\n",
    "a tab": "model:\n\tunits: 3\n",
    "a question": "? \n",
    "a block without an end": "seed: |9\n x\n",
    "an anchor without a value": "seed: &x\n",
    "a quote without an end": "seed: 'x\n",
}


def yaml_texts() -> Iterator[Attack]:
    """Yield the attacks that put another YAML text in the place of a config.yaml."""
    for name, text in YAML_TEXTS.items():
        yield Attack("YAML", "config.yaml", name, _config_writer(text, ()))
        yield Attack("YAML", "best/config.yaml", name, _config_writer(text, ("best", "last")), may_differ=True)


def _config_writer(text: str, bundles: tuple[str, ...]) -> Callable[[Path], None]:
    return lambda run: _write_config(run, text, bundles)
