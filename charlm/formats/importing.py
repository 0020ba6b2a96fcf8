"""Networks of other programs -> bundles: the file, the vocabulary beside it, and the checks that both have in common.

The files may come from a stranger. They are read as data: a pickle, which is code, is refused, and so is
`torch.load(weights_only=True)`, in which such code has been run before (CVE-2025-32434).
"""

import json
from pathlib import Path
from typing import Literal

import numpy as np

from charlm.config.file import dump_config, parse_config
from charlm.errors import CharlmError
from charlm.formats.keras import read_keras_archive
from charlm.formats.torch import read_state_dict
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle
from charlm.network.rnn import Parameters
from charlm.storage.files import read_file
from charlm.text.vocabulary import MAX_BYTES, Vocabulary, parse_vocabulary

RnnActivation = Literal["tanh", "relu"]
"""The nonlinearities of `torch.nn.RNN`."""

_REFUSED = {
    **dict.fromkeys(
        (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"),
        "is a pickle, which can run code; save it in PyTorch with: "
        'safetensors.torch.save_file(network.state_dict(), "network.safetensors")',
    ),
    **dict.fromkeys((".h5", ".hdf5"), 'is the older format of Keras; save it in Keras with: model.save("model.keras")'),
}


def read_network(path: Path, *, vocabulary: Vocabulary, activation: RnnActivation) -> Parameters:
    """Return the network in a file of Keras or PyTorch.

    Args:
        path: A `.keras` or a `.safetensors` file.
        vocabulary: The characters by id.
        activation: That of a `.safetensors` file, which does not name it.

    Raises:
        CharlmError: the file cannot be read, is damaged or too large, or holds a network that charlm does not have or
            that does not fit the vocabulary.

    """
    if path.suffix == ".keras":
        parameters = read_keras_archive(path)
    elif path.suffix == ".safetensors":
        parameters = read_state_dict(path, activation=activation)
    else:
        raise CharlmError(f"{path}: {_REFUSED.get(path.suffix, 'must be a .keras or a .safetensors file')}")
    _check(parameters, path, vocabulary)
    return parameters


def imported_bundle(parameters: Parameters, vocabulary: Vocabulary) -> Bundle:
    """Return the bundle of an imported network; its config has the settings that describe the network.

    Raises:
        CharlmError: the network is larger than a config allows.

    """
    shape = architecture_of(parameters)
    model = {
        "layers": shape.layers,
        "units": shape.units,
        "embedding": shape.embedding,
        "skip_connections": shape.skip_connections,
        "rnn": {"activation": shape.activation, "use_bias": shape.use_bias},
    }
    config = parse_config({"model": model, "corpus": {"level": vocabulary.level}}, origin="the imported network")
    return Bundle(shape, parameters, vocabulary, dump_config(config))


def architecture_of(parameters: Parameters) -> Architecture:
    """Return the sizes of a network, as its first layer and its logits have them."""
    return Architecture(
        vocabulary_size=parameters.vocabulary_size,
        layers=len(parameters.layers),
        units=parameters.layers[0].units,
        embedding=None if parameters.embedding is None else int(parameters.embedding.shape[1]),
        use_bias=parameters.layers[0].bias is not None,
        activation=parameters.activation,
        skip_connections=parameters.skip_connections,
    )


def read_any_vocabulary(path: Path) -> Vocabulary:
    """Return the vocabulary in a JSON file: a vocabulary.json, a list of characters, or an object of ids by character.

    Raises:
        CharlmError: the file cannot be read or is none of these; ids are not 0 to V - 1; a character occurs twice.

    """
    try:
        text = read_file(path, limit=MAX_BYTES).decode("utf-8")
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise CharlmError(f"{path}: not JSON in UTF-8; must be a vocabulary.json or a list of characters") from None
    if isinstance(found, dict) and "format" not in found:
        found = _by_id(found, path)
    if isinstance(found, list):
        fields = {"format": 1, "level": "char", "characters": found, "unknown_id": None, "end_of_text_id": None}
        text = json.dumps(fields)
    return parse_vocabulary(text, origin=str(path))


def _by_id(ids: dict[str, object], path: Path) -> list[str]:
    if any(type(index) is not int for index in ids.values()) or sorted(ids.values()) != list(range(len(ids))):  # type: ignore[type-var]
        raise CharlmError(
            f"{path}: the ids of {len(ids)} characters must be the whole numbers from 0 to {len(ids) - 1}"
        )
    return sorted(ids, key=lambda character: ids[character])  # type: ignore[arg-type, return-value]


def _check(parameters: Parameters, path: Path, vocabulary: Vocabulary) -> None:
    """Refuse a network whose tensors do not belong together, or that is not one of the vocabulary."""
    if parameters.vocabulary_size != len(vocabulary):
        raise CharlmError(
            f"{path}: a network of {parameters.vocabulary_size:,} ids; the vocabulary has {len(vocabulary):,}"
        )
    tensors, shapes = parameters.tensors(), architecture_of(parameters).shapes()
    for name in {**shapes, **tensors}:
        found = tensors[name].shape if name in tensors else "missing"
        if found != shapes.get(name):
            raise CharlmError(
                f"{path}: {name}: found {found}; must be {shapes.get(name, 'left out')}: layers must be equal, "
                f"and the first reads the embedding or {len(vocabulary)} one-hot characters"
            )
        if 0 in tensors[name].shape:
            raise CharlmError(f"{path}: {name}: is empty")
        if not np.isfinite(tensors[name]).all():
            raise CharlmError(f"{path}: {name}: holds values that are not finite")
