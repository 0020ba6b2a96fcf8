"""A trained model on disk: read whole, or refused in a line that names the file."""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from arrays import bytes_of
from bundles import change_model
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import memory_limit
from run_folders import cut, names, replace_by_folder

from charlm.errors import CharlmError
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle, read_bundle, write_bundle
from charlm.network.rnn import ACTIVATIONS, parameters_from_tensors
from charlm.storage.atomic import sha256
from charlm.storage.files import read_file
from charlm.text.vocabulary import Vocabulary

FILES = ["weights.safetensors", "vocabulary.json", "config.yaml"]


Model = dict[str, Any]


def forge(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and renew its checksum."""
    (folder / name).write_bytes(data)
    change_model(folder, lambda model: model["sha256"].update({name: sha256(data)}))


def check_refused(folder: Path, message: str) -> None:
    """Check that a bundle is refused in one line, without taking more than 20 MB of memory."""
    with memory_limit(20_000_000), pytest.raises(CharlmError, match=message) as caught:
        read_bundle(folder)
    assert len(str(caught.value).splitlines()) == 1


# What is written is read back


@settings(max_examples=12)
@given(
    vocabulary_size=st.integers(1, 300),
    layers=st.integers(1, 3),
    units=st.integers(1, 9),
    embedding=st.none() | st.integers(1, 9),
    use_bias=st.booleans(),
    activation=st.sampled_from([*ACTIVATIONS]),
    skip_connections=st.booleans(),
    config=st.text(),
    seed=st.integers(0, 1000),
)
def test_bundle_of_any_architecture_is_read_back(config: str, seed: int, **fields: Any) -> None:
    architecture = Architecture(**fields)
    rng = np.random.default_rng(seed)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    parameters = parameters_from_tensors(
        tensors, activation=architecture.activation, skip_connections=architecture.skip_connections
    )
    characters = tuple(chr(0x80 * index + 7) for index in range(architecture.vocabulary_size))
    with TemporaryDirectory() as folder:
        write_bundle(Path(folder) / "b", Bundle(architecture, parameters, Vocabulary(characters), config))
        found = read_bundle(Path(folder) / "b")
    assert (found.architecture, found.config, found.vocabulary.characters) == (architecture, config, characters)
    assert bytes_of(found.parameters.tensors()) == bytes_of(tensors)


@pytest.mark.parametrize(
    ("config", "temperature"),
    [("sampling: {temperature: 0.6}", 0.6), ("sampling: {temperature: 1}", 1.0), ("sampling: {}", 0.5), ("{}", 0.5)],
)
def test_the_temperature_is_that_of_the_recipe_or_the_default(config: str, temperature: float, bundle: Bundle) -> None:
    assert replace(bundle, config=config).sampling_temperature() == temperature


@pytest.mark.parametrize("config", ["sampling: {temperature: -0.5}", "sampling: {temperature: .inf}", "[]", "a: ["])
def test_a_temperature_that_is_not_valid_is_refused(config: str, bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match=r"^here/config\.yaml: "):
        replace(bundle, config=config).sampling_temperature(origin="here/config.yaml")


def test_files_and_fields_are_those_of_the_format(bundle_folder: Path) -> None:
    assert names(bundle_folder) == sorted([*FILES, "model.json"])
    model = json.loads((bundle_folder / "model.json").read_text())
    assert model["format"] == 1
    assert model["architecture"]["units"] == 4
    assert model["shapes"]["rnn.1.kernel"] == [4, 4]
    assert model["sha256"].keys() == {*FILES}


def test_folder_of_a_bundle_may_be_a_link_and_the_fields_in_any_order(bundle_folder: Path, bundle: Bundle) -> None:
    path = bundle_folder / "model.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    (bundle_folder.parent / "link").symlink_to(bundle_folder)
    assert read_bundle(bundle_folder.parent / "link").facts == bundle.facts


# Damage


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", [*FILES, "model.json"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, ""),
        (lambda path: path.write_bytes(b""), ": damaged"),
        (cut, ": damaged"),
        (replace_by_folder, ""),
        (replace_by_pipe, ""),
        (lambda path: os.truncate(path, 1 << 40), ": 1,099,511,627,776 bytes"),  # takes no room on the disk
    ],
    ids=["missing", "empty", "cut", "folder", "pipe", "huge"],
)
def test_damaged_file_is_named(bundle_folder: Path, name: str, damage: Callable[[Path], object], message: str) -> None:
    damage(bundle_folder / name)
    check_refused(bundle_folder, name + message)


@pytest.mark.parametrize(
    "fields",
    [
        *({"units": units} for units in (0, -4, 4.0, "4", True, None, 10**30, 1 << 21)),
        *({"layers": 65}, {"layers": 64, "units": 1 << 21}, {"vocabulary_size": 1 << 21}, {"embedding": 0}),
        *({"use_bias": 1}, {"skip_connections": "no"}, {"depth": 2}),
        *({"activation": activation} for activation in ("softmax", "gelu", ["tanh"], None)),
    ],
    ids=str,
)
def test_impossible_architecture_is_refused(bundle_folder: Path, fields: dict[str, Any]) -> None:
    def change(model: Model) -> None:
        model["architecture"].update(fields)
        with contextlib.suppress(TypeError):  # sizes that have no shapes
            model["shapes"] = Architecture(**model["architecture"]).shapes()

    change_model(bundle_folder, change)
    check_refused(bundle_folder, r"(model\.json|weights\.safetensors|vocabulary\.json): ")


SHAPES = r"model\.json: damaged: `shapes` are not the shapes of `architecture`"


@pytest.mark.parametrize(
    "shapes",
    [
        *({"rnn.0.kernel": shape} for shape in ([5, 4.0], [5, True], [5], [], "54", 20, None, [[5], 4], [10**4000, 4])),
        *({"rnn.0.kernel": [1 << 60, 1 << 60]}, {"more": [1]}),
    ],
    ids=lambda shapes: str(shapes)[:30],
)
def test_shape_that_is_not_the_one_of_the_architecture_is_refused(bundle_folder: Path, shapes: Model) -> None:
    change_model(bundle_folder, lambda model: model["shapes"].update(shapes))
    check_refused(bundle_folder, SHAPES)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model["architecture"].update(activation="relu"),
        lambda model: model["score"].update(nats_per_char=0.1),
        lambda model: model.update(more=1),
        lambda model: model.pop("charlm"),
        lambda model: model.pop("seal"),
        lambda model: model.update(seal=None),
    ],
    ids=["changed", "deep inside", "added", "removed", "no seal", "null"],
)
def test_change_of_model_json_without_a_new_seal_is_refused(
    bundle_folder: Path, change: Callable[[Model], None]
) -> None:
    path = bundle_folder / "model.json"
    model = json.loads(path.read_text())
    change(model)
    path.write_text(json.dumps(model))
    check_refused(bundle_folder, r"model\.json: damaged: its own SHA-256, `seal`, is wrong")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(extra=np.zeros(1, np.float32)), r"tensor extra: shape \(1,\); model\.json says no such"),
        (lambda t: t.pop("rnn.1.bias"), r"tensor rnn\.1\.bias: missing; model\.json says \(4,\)"),
        (lambda t: t.update({"rnn.0.bias": np.zeros(3, np.float32)}), r"tensor rnn\.0\.bias: shape \(3,\)"),
        (lambda t: t.update({"rnn.0.bias": np.zeros((4, 1), np.float32)}), r"shape \(4, 1\)"),
        (lambda t: t.update({"rnn.0.bias": np.zeros(4, np.float16)}), "not float32"),
        (lambda t: t.update({"rnn.0.bias": np.zeros(4, np.int32)}), "not float32"),
        (lambda t: t.update({"rnn.0.bias": np.full(4, np.nan, np.float32)}), r"rnn\.0\.bias: .* not finite"),
        (lambda t: t.update({"logits.bias": np.full(5, -np.inf, np.float32)}), r"logits\.bias: .* not finite"),
        (lambda t: t.update({"\x1b[31m\n": np.zeros(1, np.float32)}), r"tensor \\x1b\[31m\\n: shape"),
    ],
    ids=["extra", "missing", "length", "rank", "float16", "int32", "not a number", "infinite", "escape"],
)
def test_tensors_that_do_not_fit_the_architecture_are_refused(
    bundle_folder: Path, bundle: Bundle, change: Callable[[Model], None], message: str
) -> None:
    change(tensors := dict(bundle.parameters.tensors()))
    forge(bundle_folder, "weights.safetensors", safetensors.numpy.save(tensors))
    check_refused(bundle_folder, rf"weights\.safetensors: .*{message}")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\xff" * 8,
        (1 << 62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (70).to_bytes(8, "little") + b'{"x":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'.ljust(70) + b"\0\0",
        (70).to_bytes(8, "little") + b'{"x":{"dtype":"F32","shape":[99],"data_offsets":[0,4]}}'.ljust(70) + b"\0" * 4,
    ],
    ids=["empty", "short", "no header", "huge header", "not an object", "bfloat16", "outside"],
)
def test_weights_that_are_not_float32_safetensors_are_refused(bundle_folder: Path, data: bytes) -> None:
    forge(bundle_folder, "weights.safetensors", data)
    check_refused(bundle_folder, r"weights\.safetensors: ")


# A bundle that is replaced while it is read


class Reads:
    """Reads files like `read_file`, and remembers their names; `before` is called with each name first."""

    def __init__(self, before: Callable[[str], object] = lambda _: None) -> None:
        self.names: list[str] = []
        self._before = before

    def __call__(self, path: Path, **options: Any) -> bytes:
        self._before(path.name)
        self.names.append(path.name)
        return read_file(path, **options)


def test_bundle_that_is_replaced_while_it_is_read_is_read_again(bundle_folder: Path, bundle: Bundle) -> None:
    newer = replace(bundle, config="newer: 1\n", facts={"step": 8})

    def replace_bundle(name: str) -> None:
        if name == "config.yaml" and "config.yaml" not in reads.names:
            write_bundle(bundle_folder, newer)

    reads = Reads(before=replace_bundle)
    read = read_bundle(bundle_folder, read=reads)
    assert (read.config, read.facts) == (newer.config, newer.facts)
    assert reads.names.count("weights.safetensors") == 2


def test_bundle_that_is_damaged_is_read_once(bundle_folder: Path) -> None:
    (bundle_folder / "config.yaml").write_text("half")
    reads = Reads()
    with pytest.raises(CharlmError, match=r"config\.yaml: damaged"):
        read_bundle(bundle_folder, read=reads)
    assert reads.names.count("weights.safetensors") == 1
