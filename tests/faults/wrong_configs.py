"""Attacks on config.yaml, of the run and of its bundles: values for every key."""

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
