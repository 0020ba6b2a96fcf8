"""Which files are imported, which vocabularies fit them, and what a network must be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from formats.networks import STRANGE, BundleMaker

from charlm.errors import CharlmError
from charlm.formats.importing import imported_bundle, read_any_vocabulary, read_network
from charlm.formats.torch import to_state_dict
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary

FIVE = Vocabulary("char", tuple("\nabcd"))


def read(folder: Path, parameters: Parameters, *, vocabulary: Vocabulary = FIVE) -> Parameters:
    path = folder / "x.safetensors"
    path.write_bytes(safetensors.numpy.save(to_state_dict(parameters)))
    return read_network(path, vocabulary=vocabulary, activation="tanh")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.pt", r"is a pickle, which can run code; .* safetensors.torch.save_file\("),
        ("x.pkl", "is a pickle"),
        ("x.h5", "older format of Keras"),
        ("x.gguf", "must be a .keras or"),
    ],
)
def test_other_files_are_refused_without_being_opened(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        read_network(tmp_path / name, vocabulary=FIVE, activation="tanh")


@pytest.mark.parametrize("name", ["x.keras", "x.safetensors"])
def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        with pytest.raises(CharlmError, match=f"{name}: (cannot be read: |is not a regular file)"):
            read_network(tmp_path / name, vocabulary=FIVE, activation="tanh")
        (tmp_path / name).mkdir(exist_ok=True)


def test_layers_of_which_only_some_have_a_bias_are_refused(make_bundle: BundleMaker, tmp_path: Path) -> None:
    parameters = make_bundle(layers=2).parameters
    lower, upper = parameters.layers
    with pytest.raises(CharlmError, match=r"rnn.1.bias: found \(4,\); must be left out: layers must be equal"):
        read(tmp_path, replace(parameters, layers=(replace(lower, bias=None), upper)))


def test_layers_that_do_not_fit_each_other_are_refused_by_name(make_bundle: BundleMaker, tmp_path: Path) -> None:
    parameters = make_bundle(embedding=3).parameters
    with pytest.raises(CharlmError, match=r"rnn.0.kernel: found \(3, 4\); must be \(5, 4\): .* 5 one-hot characters"):
        read(tmp_path, replace(parameters, embedding=None))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(make_bundle: BundleMaker, tmp_path: Path, value: float) -> None:
    parameters = make_bundle().parameters
    parameters.layers[0].recurrent_kernel[1, 2] = value
    with pytest.raises(CharlmError, match=r"rnn.0.recurrent_kernel: holds values that are not finite"):
        read(tmp_path, parameters)


def test_a_vocabulary_of_another_size_is_refused(make_bundle: BundleMaker, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="a network of 5 ids; the vocabulary has 1"):
        read(tmp_path, make_bundle().parameters, vocabulary=Vocabulary("char", ("a",)))


def test_the_config_of_an_imported_network_describes_it(make_bundle: BundleMaker) -> None:
    parameters = make_bundle(layers=2, embedding=3, skip_connections=True, activation="elu").parameters
    config = imported_bundle(parameters, FIVE).parse_config().model
    assert (config.layers, config.units, config.embedding, config.skip_connections) == (2, 4, 3, True)
    assert config.rnn.activation == "elu"


# Vocabularies


def vocabulary_of(folder: Path, text: str) -> Vocabulary:
    (folder / "v.json").write_text(text, encoding="utf-8")
    return read_any_vocabulary(folder / "v.json")


def test_a_vocabulary_may_be_a_list_an_object_or_that_of_charlm(tmp_path: Path) -> None:
    expected = Vocabulary("char", STRANGE)
    ids = {character: index for index, character in enumerate(STRANGE)}
    backwards = dict(reversed(ids.items()))
    for value in (list(STRANGE), ids, backwards):
        assert vocabulary_of(tmp_path, json.dumps(value)) == expected
    reserved = replace(expected, characters=(*STRANGE, None), unknown_id=len(STRANGE))
    assert vocabulary_of(tmp_path, reserved.to_json()) == reserved


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "not a vocabulary: not an object"),
        ('["a", "a"]', "occurs twice"),
        ('{"a": 1, "b": 2}', "the ids of 2 characters must be the whole numbers from 0 to 1"),
        ('{"a": "0"}', "the ids of 1 characters"),
        ('{"a": 0.0, "b": true}', "the ids of 2 characters"),
    ],
)
def test_what_is_not_a_vocabulary_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        vocabulary_of(tmp_path, text)
