"""A trained model on disk: read whole, or refused in a line that names the file."""

import errno
import functools
import math
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from arrays import bytes_of
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import memory_limit
from models import (
    as_model,
    change_model,
    make_random_model,
    random_parameters,
    read_parts,
    write_parts,
)
from reference import NETWORKS
from run_folders import cut, replace_by_folder

from charlm.errors import CharlmError
from charlm.network.model_file import (
    TrainedModel,
    model_bytes,
    read_fields,
    read_model,
    read_tensors,
    write_model,
)
from charlm.network.rnn import ACTIVATIONS
from charlm.storage import UnreadableError
from charlm.text.vocabulary import Vocabulary

Fields = dict[str, Any]
Change = Callable[[Path], object]


def check_refused(path: Path, message: str) -> None:
    """Check that a file is refused in one line that names it, without taking more than 20 MB of memory."""
    with memory_limit(20_000_000), pytest.raises(CharlmError, match=message) as caught:
        read_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=20)
@given(st.integers(1, 300), st.sampled_from(NETWORKS), st.sampled_from([*ACTIVATIONS]), st.text())
def test_model_of_any_architecture_is_read_back(
    size: int, network: Any, activation: str, text: str
) -> None:
    characters = Vocabulary(tuple(chr(0x80 * index + 7) for index in range(size)))
    parameters = random_parameters(vocabulary_size=size, activation=activation, **network)
    model = as_model(parameters, characters, facts={"step": 7, "corpus": {"name": text}})
    with TemporaryDirectory() as folder:
        write_model(Path(folder) / "m.safetensors", model)
        found = read_model(Path(folder) / "m.safetensors")
    assert (found.architecture, found.config, found.vocabulary) == (
        model.architecture,
        model.config,
        characters,
    )
    assert found.facts == model.facts
    assert bytes_of(found.parameters.tensors) == bytes_of(parameters.tensors)


def test_file_is_the_same_each_time_and_others_can_read_it(
    model_file: Path, trained: TrainedModel
) -> None:
    assert {model_bytes(trained) for _ in range(20)} == {model_file.read_bytes()}
    fields, tensors = read_parts(model_file)
    assert fields["vocabulary"] == {
        "characters": ["\n", "a", "b", None, None],
        "unknown_id": 3,
        "end_of_text_id": 4,
    }
    assert fields["config"]["model"]["units"] == 4
    assert bytes_of(tensors) == bytes_of(trained.parameters.tensors)


def test_a_checkpoint_is_a_model_with_more_tensors(tmp_path: Path, trained: TrainedModel) -> None:
    more = {
        **trained.parameters.tensors,
        "optimizer/iterations": np.array(3),
        "seeds/rnn.0": np.zeros(2, np.uint32),
    }
    path = tmp_path / "step-3.safetensors"
    path.write_bytes(model_bytes(trained, tensors=more, training={"step": 3}))
    assert bytes_of(read_model(path).parameters.tensors) == bytes_of(trained.parameters.tensors)
    model, fields, tensors = read_tensors(path)
    assert (model.facts, fields["training"]) == (trained.facts, {"step": 3})
    assert bytes_of(tensors) == bytes_of(more)
    assert tensors["optimizer/iterations"].shape == ()


def test_the_temperature_is_that_of_the_recipe_or_the_chosen_one(
    trained: TrainedModel, tmp_path: Path
) -> None:
    for sampling, chosen, temperature in (
        ({"temperature": 0.6}, {}, 0.6),
        ({"temperature": 1}, {"temperature": 0.8}, 1.0),
        ({"temperature": None}, {"temperature": 0.8}, 0.8),
        ({"temperature": None}, {}, 0.7),
        ({"temperature": -1}, {"temperature": "x"}, 0.7),
        ({}, {}, 0.7),
        ([], {}, 0.7),
    ):
        model = replace(trained, config={**trained.config, "sampling": sampling}, facts=chosen)
        write_model(tmp_path / "m.safetensors", model)
        assert read_model(tmp_path / "m.safetensors").sampling_temperature == temperature


def test_a_flipped_bit_is_noticed_wherever_it_is_but_fields_are_read_without_the_tensors(
    model_file: Path,
) -> None:
    data = model_file.read_bytes()
    for place in random.Random(0).sample(range(len(data)), 100):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        model_file.write_bytes(flipped)
        check_refused(model_file, ".")
    model_file.write_bytes(data[:-1] + b"\x7f")
    assert read_fields(model_file)["step"] == 7
    check_refused(model_file, "damaged: the SHA-256 of its tensors")


def replace_by_pipe(path: Path) -> None:
    """Put a pipe, which nobody writes to, in the place of a file."""
    path.unlink()
    os.mkfifo(path)


def test_a_network_has_64_layers_at_most(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    write_model(path, make_random_model(layers=64, units=1))
    assert len(read_model(path).parameters.layers) == 64
    fields, tensors = read_parts(path)
    fields["config"]["model"]["layers"] = 65
    more = {
        f"rnn.64.{name}": tensors[f"rnn.63.{name}"]
        for name in ("kernel", "recurrent_kernel", "bias")
    }
    write_parts(path, fields, {**tensors, **more})
    check_refused(path, ".")


def lengthen_header(path: Path, size: int = 1 << 30) -> None:
    """Say that the header has a gigabyte, and give it so much; it takes no room on the disk."""
    path.write_bytes(size.to_bytes(8, "little") + path.read_bytes()[8:])
    os.truncate(path, 1 << 31)


def write(data: bytes) -> Change:
    """Return a change to other contents."""
    return lambda path: path.write_bytes(data)


def save(**metadata: str) -> Change:
    """Return a change to a file of safetensors with other metadata."""
    return write(safetensors.numpy.save({"x": np.zeros(3)}, metadata or None))


def edit(change: Callable[[Fields], object]) -> Change:
    """Return a change of the fields in the metadata, which are sealed again."""
    return lambda path: change_model(path, change)


def network(**fields: Any) -> Change:
    """Return a change of the settings of the network."""
    return edit(lambda found: found["config"]["model"].update(fields))


def tensor(name: str, value: Any = None) -> Change:
    """Return a change that puts another tensor in the place of one, or none."""

    def change(path: Path) -> None:
        fields, tensors = read_parts(path)
        del tensors[name]
        write_parts(path, fields, tensors if value is None else {**tensors, name: value})

    return change


def float8(name: str) -> Change:
    """Return a change that makes a tensor of four bytes, new or not, one of 8-bit floating-point numbers."""

    def change(path: Path) -> None:
        fields, tensors = read_parts(path)
        tensors[name] = np.zeros(4, np.uint8)
        write_parts(path, fields, tensors)
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + size].decode().rstrip().replace('"U8"', '"F8_E4M3"').encode()
        header += b" " * (-len(header) % 8)
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])

    return change


NESTED: list[Any] = functools.reduce(lambda inner, _: [inner], range(449), [])
"""450 lists inside each other: json reads it, and YAML cannot write it."""
SIZES = "the sizes of the network must be from 1 to 2,097,152, and 64 layers at most"
UNDESCRIBED = "does not describe a network"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Path.unlink, "cannot be read: No such file"),
        (replace_by_folder, "cannot be read: Is a directory"),
        (replace_by_pipe, "is not a regular file"),
        *(
            (change, "damaged, or not a model file of charlm")
            for change in (write(b""), cut, write(b"\2" + bytes(7)))
        ),
        (lambda path: os.truncate(path, 1 << 40), "damaged, or not a model file of charlm"),
        (lengthen_header, "its header has more than 33,554,432 bytes"),
        (
            lambda path: lengthen_header(path, (1 << 25) + 1),
            "its header has more than 33,554,432 bytes",
        ),
        (save(), "its metadata lacks the entry charlm"),
        (save(other="3"), "its metadata lacks the entry charlm"),
        *(
            (save(charlm=text), "the SHA-256 of its metadata is wrong")
            for text in ("[" * 100_000, '{"format": 4}')
        ),
        (
            edit(lambda fields: fields.update(temperature=math.nan)),
            "metadata: temperature: found nan",
        ),
        (
            edit(lambda fields: fields.update(temperature=10**400)),
            "temperature: found a whole number of more than 64",
        ),
        (
            edit(lambda fields: fields["config"].update(recipe=NESTED)),
            "config.recipe.*: more than 32 lists or mappings",
        ),
        (
            edit(lambda fields: fields["config"].update(recipe="x" * 100_000)),
            "config of 1..,... characters; expected at",
        ),
        (float8("rnn.0.bias"), r"tensor rnn\.0\.bias: found dtype F8_E4M3; expected float32"),
        (
            float8("optimizer/x"),
            "tensor optimizer/x: found dtype F8_E4M3; expected a dtype of NumPy",
        ),
        *(
            (network(units=units), SIZES)
            for units in (0, -4, 4.0, "4", True, None, 2**62, (1 << 21) + 1)
        ),
        *((network(layers=layers), SIZES) for layers in (65, 0)),
        *((network(embedding=embedding), SIZES) for embedding in (0, (1 << 21) + 1)),
        (
            network(units=1 << 21),
            r"tensor rnn\.0\.kernel: shape \(5, 4\); its config says \(5, 2097152\)",
        ),
        (network(units=5), r"tensor rnn\.0\.kernel: shape \(5, 4\); its config says \(5, 5\)"),
        (network(layers=64), r"tensor rnn\.2\.kernel: missing; its config says \(4, 4\)"),
        (network(embedding=1 << 21), r"tensor embedding: missing; its config says \(5, 2097152\)"),
        (network(layers=[2]), SIZES),
        *(
            (change, UNDESCRIBED)
            for change in (network(skip_connections="no"), network(rnn={"use_bias": 1}))
        ),
        (
            network(rnn={"use_bias": True, "activation": "softmax"}),
            "activation 'softmax'; must be tanh, relu, sigmoid",
        ),
        *(
            (network(rnn={"use_bias": True, "activation": name}), UNDESCRIBED)
            for name in (["tanh"], None)
        ),
        (edit(lambda fields: fields.update(format=3)), "format 3; charlm .* reads format 4"),
        (edit(lambda fields: fields.pop("format")), "format None"),
        (edit(lambda fields: fields.pop("vocabulary")), UNDESCRIBED),
        (edit(lambda fields: fields.update(config="model: {}")), UNDESCRIBED),
        (
            edit(lambda fields: fields["vocabulary"].update(characters=["a"] * 5)),
            "not a vocabulary: a character",
        ),
        (edit(lambda fields: fields["vocabulary"].update(characters=5)), UNDESCRIBED),
        (edit(lambda fields: fields["vocabulary"].update(unknown_id="3")), "not a vocabulary"),
        (tensor("rnn.1.bias"), r"tensor rnn\.1\.bias: missing; its config says \(4,\)"),
        *(
            (tensor("rnn.0.bias", np.zeros(n, np.float32)), r"tensor rnn\.0\.bias: shape \(")
            for n in (3, (4, 1))
        ),
        (
            tensor("rnn.0.bias", np.zeros(4, np.float16)),
            r"rnn\.0\.bias: found dtype F16; expected float32",
        ),
        (tensor("rnn.0.bias", np.zeros(4, np.int32)), "found dtype I32; expected float32"),
        (tensor("rnn.0.bias", np.full(4, np.nan, np.float32)), r"rnn\.0\.bias: .* not finite"),
        (tensor("logits.bias", np.full(5, -np.inf, np.float32)), r"logits\.bias: .* not finite"),
    ],
)
def test_what_is_no_model_or_not_the_one_described_is_refused(
    change: Change, message: str, model_file: Path
) -> None:
    change(model_file)
    check_refused(model_file, message)


@pytest.mark.parametrize(
    "replace",
    [pytest.param(Path.unlink, id="missing"), pytest.param(replace_by_folder, id="folder")],
)
def test_a_file_that_cannot_be_opened_is_unreadable(replace: Change, model_file: Path) -> None:
    replace(model_file)
    with pytest.raises(UnreadableError):
        read_model(model_file)


def fail_to_read(*_arguments: object) -> None:
    """Fail as a broken disk does."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_is_unreadable_if_the_disk_fails(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors, "safe_open", fail_to_read)
    with pytest.raises(UnreadableError) as caught:
        read_model(model_file)
    assert str(caught.value) == f"{model_file}: cannot be read: Input/output error"
