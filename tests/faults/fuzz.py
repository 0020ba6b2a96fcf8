"""Train with random configs: each is refused in one line, or trains for two steps and is read back as it was.

    PYTHONPATH=tests python tests/faults/fuzz.py --examples 2000
    PYTHONPATH=tests python tests/faults/fuzz.py --examples 200 --engine keras

The strategies are derived from the JSON schema of the config, so that a new key is tried without a change here. A
config has a few settings with values that the schema allows, or, less often, with anything else.
"""

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fake_engine import FakeEngines
from fake_runs import SMALL, TEXT
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from charlm.config.file import dump_config, load_config, parse_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.config.yaml import as_yaml, parse_yaml
from charlm.errors import CharlmError, harmless
from charlm.network.bundle import read_bundle
from charlm.runs.folder import CORPUS
from charlm.runs.run import begin_run, folder_aside, open_run
from charlm.text.tokenization import tokenize
from charlm.training import loop
from charlm.training.engine import EngineFactory
from charlm.training.parts import fill_parts
from charlm.training.signals import stop_on_signal

Values = Mapping[str, Any]
"""Values by dotted keys."""
Schema = dict[str, Any]

CAPS = {
    **{"model.units": 12, "model.layers": 3, "model.embedding": 12, "sampling.length": 30},
    **{"training.batch_size": 64, "training.sequence_length": 64, "training.parts": 8},
}
"""The largest values of what decides how long an example takes; all others reach to the limits of the schema."""
NAMES = {
    "initializer": (
        "zeros",
        "ones",
        "glorot_uniform",
        "orthogonal",
        "identity",
        "he_normal",
        "GlorotNormal",
        "nothing",
    ),
    "regularizer": ("l1", "l2", "L1L2", "orthogonal_regularizer", "nothing"),
    "constraint": ("max_norm", "non_neg", "unit_norm", "min_max_norm", "nothing"),
}
OPTIMIZERS = ("adam", "adamw", "sgd", "muon", "rmsprop", "lion", "adafactor", "ftrl", "nadam", "lamb", "nothing")
ARGUMENTS = ("weight_decay", "momentum", "beta_1", "beta_2", "nesterov", "epsilon", "ns_steps", "amsgrad", "unknown")
MAX_MESSAGE = 2000

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=4,
)


def settings_of(schema: Schema, prefix: str = "", definitions: Schema | None = None) -> dict[str, Schema]:
    """Return the JSON schema of each setting and section by its dotted key."""
    definitions = schema["$defs"] if definitions is None else definitions
    found = {}
    for name, setting in schema["properties"].items():
        key = f"{prefix}{name}"
        found[key] = setting
        for choice in setting.get("anyOf", [setting]):
            if "$ref" in choice:
                found |= settings_of(definitions[choice["$ref"].rpartition("/")[2]], f"{key}.", definitions)
    return found


def allowed(key: str, setting: Schema) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that the schema allows for a setting."""
    if "anyOf" in setting:
        return st.one_of([allowed(key, choice) for choice in setting["anyOf"]])
    if "enum" in setting:
        return st.sampled_from(setting["enum"])
    if setting.get("type") == "array":
        return st.lists(allowed(key, setting["items"]), max_size=3)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "integer": _integers(key, setting),
        "number": _numbers(setting),
        "boolean": st.booleans(),
        "string": st.sampled_from(_names(key)) | words,
        "object": st.fixed_dictionaries(
            {"class_name": st.sampled_from(_names(key)) | words},
            optional={"config": st.dictionaries(words, anything, max_size=2)},
        ),
        "null": st.none(),
        "section": st.just({}),
    }
    return kinds[setting.get("type", "section")]


def _integers(key: str, setting: Schema) -> st.SearchStrategy[int]:
    limits = [CAPS.get(key), setting.get("maximum"), setting.get("exclusiveMaximum", math.inf) - 1]
    high = min(limit for limit in limits if limit is not None)
    return st.integers(setting.get("minimum"), None if math.isinf(high) else high)


def _numbers(setting: Schema) -> st.SearchStrategy[float]:
    low, above = setting.get("minimum"), setting.get("exclusiveMinimum")
    high, below = setting.get("maximum"), setting.get("exclusiveMaximum")
    return st.floats(
        above if low is None else low,
        below if high is None else high,
        exclude_min=above is not None,
        exclude_max=below is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _names(key: str) -> tuple[str, ...]:
    if key == "training.optimizer.name":
        return OPTIMIZERS
    if key == "corpus.encoding":
        return ("utf-8", "ascii", "cp1252", "utf-16", "utf-7", "idna", "rot13", "nothing")
    return NAMES.get(key.rpartition("_")[2], ("",))


def configs(*, anything_often: int = 10) -> st.SearchStrategy[Values]:
    """Return a strategy for a few settings by dotted keys; one value of `anything_often` is one that may not fit."""
    schema = Config.model_json_schema()
    keys = settings_of(schema)

    def setting(key: str) -> st.SearchStrategy[tuple[str, Any]]:
        value = anything if key not in keys else allowed(key, keys[key])
        choices = [value] * (anything_often - 1) + [anything]
        return st.tuples(st.just(key), st.sampled_from(choices).flatmap(lambda chosen: chosen))

    arguments = [f"training.optimizer.{name}" for name in ARGUMENTS]
    every = st.sampled_from([*keys, *arguments]).flatmap(setting)
    return st.lists(every, min_size=1, max_size=6, unique_by=lambda pair: pair[0]).map(dict)


def check(values: Values, make_engine: EngineFactory) -> str:
    """Train for two steps with some settings; return refused or trained.

    Raises:
        AssertionError: an error is not a line, or a config is not read back as it was.

    """
    try:
        config = load_config(find_recipe("tiny"), overrides=[*SMALL, "training.steps=2"])
        merged = _merged(config, values)
        config = parse_config(as_yaml(merged, origin="a file"), origin="a file")
        config = config.model_copy(update={"training": config.training.model_copy(update={"steps": 2})})
    except CharlmError as error:
        return _refused(error)
    assert parse_config(parse_yaml(dump_config(config), origin="dump"), origin="dump") == config
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "text.txt"
        text.write_text(TEXT, encoding="utf-8")
        try:
            _train(Path(scratch) / "run", config, text, make_engine)
        except CharlmError as error:
            return _refused(error)
        expected = fill_parts(config)
        assert open_run(Path(scratch) / "run").config == expected
        for name in ("best", "last"):
            if name == "last" or (Path(scratch) / "run/best").is_dir():
                assert read_bundle(Path(scratch) / "run" / name).parse_config() == expected
    return "trained"


def _merged(config: Config, values: Values) -> dict[str, Any]:
    """Return a config as a mapping, with the values of dotted keys replaced, sections first."""
    merged: dict[str, Any] = config.model_dump(mode="json")
    for key in sorted(values, key=lambda key: key.count(".")):
        *sections, last = key.split(".")
        place = merged
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[last] = values[key]
    return merged


def _train(folder: Path, config: Config, text: Path, make_engine: EngineFactory) -> None:
    with stop_on_signal() as session, folder_aside(folder) as aside:
        corpus = tokenize([str(text)], aside / CORPUS, config.corpus)
        config = fill_parts(config)
        engine = loop.new_engine(config, corpus, make_engine, say=lambda _: None, measure_memory=lambda: 1 << 30)
        run = begin_run(folder, config, corpus, aside=aside)
        loop.train(run, engine, resume=False, session=session, measure_memory=lambda: 1 << 30)


def _refused(error: CharlmError) -> str:
    message = str(error)
    assert message == harmless(message), f"not a harmless line: {message!r}"
    assert len(message) < MAX_MESSAGE, f"too long: {message}"
    assert ": " in message, f"nothing is named: {message}"
    return "refused"


def fuzz(examples: int, make_engine: EngineFactory, *, number: int = 0) -> Counter[str]:
    """Check random configs; return how many were refused and how many trained.

    Args:
        examples: The number of configs.
        make_engine: Makes the engine.
        number: The seed.

    """
    outcomes: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),  # Phase.explain traces every line
        suppress_health_check=[*HealthCheck],
    )
    @given(configs())
    def every(values: Values) -> None:
        outcomes[check(values, make_engine)] += 1

    every()
    return outcomes


def main() -> None:
    """Check as many configs as the command line says, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--engine", choices=["fake", "keras"], default="fake")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make_engine: EngineFactory = FakeEngines()
    if options.engine == "keras":
        from charlm.engine import runtime

        runtime.start()
        from charlm.engine.keras_engine import KerasEngine

        make_engine = KerasEngine
    outcomes = fuzz(options.examples, make_engine, number=options.seed)
    print(f"{outcomes.total():,} configs: {outcomes['refused']:,} refused, {outcomes['trained']:,} trained")


if __name__ == "__main__":
    main()
