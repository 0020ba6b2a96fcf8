"""The file of a trained model: written, read back, and refused if it is damaged."""

import math
import os
import random
import re
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
    random_parameters,
    read_parts,
    write_parts,
)
from reference import NETWORKS
from run_folders import cut

from charlm.core.model_file import (
    TrainedModel,
    model_bytes,
    read_fields,
    read_model,
    write_model,
)
from charlm.core.rnn import ACTIVATIONS
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError

Fields = dict[str, Any]
Change = Callable[[Path], object]


def check_refused(path: Path, message: str) -> None:
    """Check that a file is refused in a line that names it, with at most 20 MB of memory."""
    with memory_limit(20_000_000), pytest.raises(CharlmError, match=message) as caught:
        read_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


# Writing


@settings(max_examples=20)
@given(st.integers(1, 300), st.sampled_from(NETWORKS), st.sampled_from([*ACTIVATIONS]), st.text())
def test_a_model_of_any_architecture_is_read_back(
    size: int, network: Any, activation: str, text: str
) -> None:
    vocabulary = Vocabulary(tuple(chr(0x80 * index + 7) for index in range(size)))
    parameters = random_parameters(vocabulary_size=size, activation=activation, **network)
    facts = {"step": 0, "epoch": 1.5, "score": None, "corpus": {"name": text}, "temperature": 0.0}
    written = as_model(parameters, vocabulary, facts=facts)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        write_model(path, written)
        model = read_model(path)
    assert model.architecture == written.architecture
    assert model.config == written.config
    assert model.vocabulary == vocabulary
    assert model.facts == written.facts
    assert bytes_of(model.parameters.tensors) == bytes_of(parameters.tensors)


def test_a_fact_that_is_not_a_number_is_not_written(trained: TrainedModel) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        model_bytes(replace(trained, facts={"temperature": math.nan}))


def test_the_other_tensors_of_a_checkpoint_are_not_held_in_memory(
    trained: TrainedModel, tmp_path: Path
) -> None:
    path = tmp_path / "step-3.safetensors"
    large = {name: np.zeros(1_000_000, np.uint8) for name in ("a", "b", "c", "d")}
    path.write_bytes(model_bytes(trained, tensors={**trained.parameters.tensors, **large}))
    with memory_limit(3_000_000):
        read_model(path)


@pytest.mark.parametrize(
    ("sampling", "facts", "temperature"),
    [
        pytest.param({"temperature": 0}, {"temperature": 0.8}, 0.0, id="set to zero"),
        pytest.param({"temperature": None}, {"temperature": 0.8}, 0.8, id="chosen"),
        pytest.param({"temperature": -1}, {"temperature": "x"}, 0.7, id="damaged"),
        pytest.param([], {}, 0.7, id="not a mapping"),
    ],
)
def test_a_model_has_a_sampling_temperature(
    sampling: Any, facts: dict[str, Any], temperature: float, trained: TrainedModel
) -> None:
    config = {**trained.config, "sampling": sampling}
    model = replace(trained, config=config, facts=facts)
    assert model.sampling_temperature == temperature


def test_fields_are_read_without_the_tensors(model_file: Path) -> None:
    model_file.write_bytes(model_file.read_bytes()[:-1] + b"\x7f")
    assert read_fields(model_file)["step"] == 7
    check_refused(model_file, "damaged: the SHA-256 of its tensors")


# Damage


def test_a_flipped_bit_is_detected_anywhere(model_file: Path) -> None:
    data = model_file.read_bytes()
    for place in random.Random(0).sample(range(len(data)), 100):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        model_file.write_bytes(flipped)
        check_refused(model_file, ".")


def replace_by_pipe(path: Path) -> None:
    """Replace a file by a pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def lengthen_header(size: int) -> Change:
    """Return a change that makes the header longer, in a sparse file."""

    def change(path: Path) -> None:
        path.write_bytes(size.to_bytes(8, "little") + path.read_bytes()[8:])
        os.truncate(path, 1 << 31)

    return change


def save(**metadata: str) -> Change:
    """Return a change to a safetensors file with other metadata."""
    return lambda path: path.write_bytes(safetensors.numpy.save({"x": np.zeros(3)}, metadata))


def edit(change: Callable[[Fields], object]) -> Change:
    """Return a change of the fields in the metadata, with a correct checksum."""
    return lambda path: change_model(path, change)


def network(**fields: Any) -> Change:
    """Return a change of the settings of the network."""
    return edit(lambda metadata: metadata["config"]["model"].update(fields))


def rnn(**fields: Any) -> Change:
    """Return a change of the settings of the layers."""
    return network(rnn={"use_bias": True, **fields})


def tensor(name: str, value: Any) -> Change:
    """Return a change that adds or replaces a tensor."""

    def change(path: Path) -> None:
        fields, tensors = read_parts(path)
        write_parts(path, fields, {**tensors, name: value})

    return change


def float8(name: str) -> Change:
    """Return a change that gives the file a tensor of four 8-bit floating-point numbers."""

    def change(path: Path) -> None:
        tensor(name, np.zeros(4, np.uint8))(path)
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + size].decode().rstrip().replace('"U8"', '"F8_E4M3"').encode()
        header += b" " * (-len(header) % 8)
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])

    return change


OTHER_FILE = "damaged, or not a model file of charlm: "
NO_NETWORK = "does not describe a network"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(replace_by_pipe, "not a regular file", id="pipe"),
        pytest.param(cut, OTHER_FILE, id="cut"),
        pytest.param(lambda path: os.truncate(path, 1 << 40), OTHER_FILE, id="huge"),
        pytest.param(lengthen_header(1 << 25), OTHER_FILE, id="header as long as possible"),
        pytest.param(
            lengthen_header((1 << 25) + 1),
            "its header has more than 33,554,432 bytes",
            id="long header",
        ),
        pytest.param(save(other="3"), "its metadata lacks the entry charlm", id="other entry"),
        pytest.param(
            save(charlm='{"format": 4}'), "the SHA-256 of its metadata is wrong", id="not sealed"
        ),
        pytest.param(
            edit(lambda fields: fields.update(temperature=math.nan)),
            "metadata: found nan",
            id="NaN",
        ),
        pytest.param(
            edit(lambda fields: fields.update(format=3)),
            "format 3; charlm .* reads format 4",
            id="old format",
        ),
        pytest.param(rnn(use_bias=1), NO_NETWORK, id="number as a truth value"),
        pytest.param(edit(lambda fields: fields.pop("vocabulary")), NO_NETWORK, id="no vocabulary"),
        pytest.param(
            rnn(activation="softmax"),
            "activation 'softmax'; must be one of tanh, relu, sigmoid",
            id="activation",
        ),
        pytest.param(
            edit(lambda fields: fields["vocabulary"].update(characters=["a"] * 5)),
            "not a vocabulary: a character",
            id="same character",
        ),
    ],
)
def test_a_damaged_file_is_refused(change: Change, message: str, model_file: Path) -> None:
    change(model_file)
    check_refused(model_file, message)


def test_weights_in_float16_are_read_as_float32(model_file: Path) -> None:
    model = read_model(model_file)
    halves = {name: each.astype(np.float16) for name, each in model.parameters.tensors.items()}
    model_file.write_bytes(model_bytes(model, tensors=halves))
    for name, tensor in read_model(model_file).parameters.tensors.items():
        assert tensor.dtype == np.float32
        assert tensor.tolist() == halves[name].tolist()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("units", 0),
        ("units", True),
        ("units", (1 << 21) + 1),
        ("layers", 65),
        ("embedding", (1 << 21) + 1),
    ],
)
def test_a_size_of_the_network_out_of_range_is_refused(
    field: str, value: Any, model_file: Path
) -> None:
    network(**{field: value})(model_file)
    message = (
        "each size of the network must be from 1 to 2,097,152, and the number of layers at most 64"
    )
    check_refused(model_file, message)


@pytest.mark.parametrize(
    ("change", "name", "problem"),
    [
        (float8("optimizer/x"), "optimizer/x", "found dtype F8_E4M3; expected a dtype of NumPy"),
        (network(units=1 << 21), "rnn.0.kernel", "shape (5, 4); its config says (5, 2097152)"),
        (network(layers=64), "rnn.2.kernel", "missing; its config says (4, 4)"),
        (
            tensor("rnn.0.bias", np.zeros(4, np.float64)),
            "rnn.0.bias",
            "found dtype F64; expected float32 or float16",
        ),
    ],
    ids=["float8 of an optimizer", "large layer", "missing layer", "float64"],
)
def test_a_tensor_that_does_not_fit_the_config_is_refused(
    change: Change, name: str, problem: str, model_file: Path
) -> None:
    change(model_file)
    check_refused(model_file, re.escape(f"tensor {name}: {problem}"))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_weight_that_is_not_finite_is_refused(value: float, model_file: Path) -> None:
    tensor("logits.bias", np.full(5, value, np.float32))(model_file)
    check_refused(model_file, r"logits\.bias: .* not finite")
