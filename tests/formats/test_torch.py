"""The state dict for PyTorch: names and layout; what torch.nn.RNN does not have is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from formats.networks import NETWORKS, BundleMaker
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.formats.torch import export_torch, read_state_dict, to_state_dict
from charlm.network.rnn import Parameters


def test_a_stack_without_skip_connections_is_one_module(make_bundle: BundleMaker) -> None:
    parameters = make_bundle(layers=2, embedding=3).parameters
    named = to_state_dict(parameters)
    assert {name: tensor.shape for name, tensor in named.items()} == {
        "embedding.weight": (5, 3),
        "rnn.weight_ih_l0": (4, 3),
        "rnn.weight_hh_l0": (4, 4),
        "rnn.bias_ih_l0": (4,),
        "rnn.bias_hh_l0": (4,),
        "rnn.weight_ih_l1": (4, 4),
        "rnn.weight_hh_l1": (4, 4),
        "rnn.bias_ih_l1": (4,),
        "rnn.bias_hh_l1": (4,),
        "logits.weight": (5, 4),
        "logits.bias": (5,),
    }
    np.testing.assert_array_equal(named["rnn.weight_hh_l1"], parameters.layers[1].recurrent_kernel.T)
    assert not named["rnn.bias_hh_l0"].any()


def test_with_skip_connections_each_layer_is_a_module(make_bundle: BundleMaker) -> None:
    named = to_state_dict(make_bundle(layers=2, skip_connections=True, use_bias=False).parameters)
    assert {name: tensor.shape for name, tensor in named.items()} == {
        "rnn.0.weight_ih_l0": (4, 5),
        "rnn.0.weight_hh_l0": (4, 4),
        "rnn.1.weight_ih_l0": (4, 9),
        "rnn.1.weight_hh_l0": (4, 4),
        "logits.weight": (5, 8),
        "logits.bias": (5,),
    }


def test_an_activation_that_pytorch_lacks_is_refused_with_the_formats_that_have_it(make_bundle: BundleMaker) -> None:
    with pytest.raises(
        CharlmError, match=r"no activation softsign, only tanh and relu; the formats html, onnx, keras and c"
    ):
        export_torch(make_bundle(layers=1, activation="softsign"))


V, E, H = 5, 3, 4
PLAIN = {"weight_ih_l0": (H, V), "weight_hh_l0": (H, H), "logits__weight": (V, H)}
"""The shapes of a network of one layer without biases."""
Tensors = dict[str, NDArray[Any]]


def zeros(**shapes: tuple[int, ...]) -> Tensors:
    """Return tensors of zeros; `__` in a name is a dot."""
    return {name.replace("__", "."): np.zeros(shape, np.float32) for name, shape in shapes.items()}


def read(folder: Path, tensors: Tensors) -> Parameters:
    path = folder / "network.safetensors"
    path.write_bytes(safetensors.numpy.save({name: np.ascontiguousarray(t) for name, t in tensors.items()}))
    return read_state_dict(path, activation="tanh")


def assert_equal(found: Parameters, expected: Parameters) -> None:
    assert {*found.tensors()} == {*expected.tensors()}
    for name, tensor in expected.tensors().items():
        np.testing.assert_array_equal(found.tensors()[name], tensor)


@pytest.mark.parametrize("network", [*NETWORKS, {"layers": 12, "skip_connections": True}], ids=str)
def test_what_is_exported_comes_back(make_bundle: BundleMaker, tmp_path: Path, network: dict[str, Any]) -> None:
    expected = make_bundle(**network).parameters
    found = read(tmp_path, to_state_dict(expected))
    assert_equal(found, expected)
    assert found.skip_connections == (expected.skip_connections and len(expected.layers) > 1)


def test_the_module_may_have_any_name(make_bundle: BundleMaker, tmp_path: Path) -> None:
    expected = make_bundle(layers=2, embedding=E).parameters
    tensors = to_state_dict(expected)
    assert_equal(read(tmp_path, {name.replace("rnn.", "model.encoder."): tensors[name] for name in tensors}), expected)


def test_the_two_biases_are_added_and_missing_ones_are_none_or_zero(tmp_path: Path) -> None:
    tensors = zeros(**PLAIN)
    found = read(tmp_path, tensors)
    assert found.layers[0].bias is None
    np.testing.assert_array_equal(found.logits_bias, np.zeros(V))
    tensors |= {"bias_ih_l0": np.full(H, 0.25, np.float32), "bias_hh_l0": np.full(H, 0.5, np.float32)}
    np.testing.assert_array_equal(read(tmp_path, tensors).tensors()["rnn.0.bias"], np.full(H, 0.75))


def test_float64_and_float16_become_float32(tmp_path: Path) -> None:
    tensors = zeros(**PLAIN)
    kinds = {name: tensor.astype(dtype) for (name, tensor), dtype in zip(tensors.items(), "fde", strict=True)}
    assert {tensor.dtype for tensor in read(tmp_path, kinds).tensors().values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_ih_l0": (4 * H, V), "weight_hh_l0": (4 * H, H)}, r"weight_hh_l0.*must be square: an LSTM"),
        ({"weight_ih_l0": None}, "weight_ih_l0: must be there"),
        ({"weight_ih_l0": None, "weight_hh_l0": None}, "0 layers of a torch.nn.RNN"),
        ({"weight_ih_l0_reverse": (H, V)}, "weight_ih_l0_reverse: not one of a torch.nn.RNN that reads forwards"),
        ({"weight_ih_l0": (H + 1, V)}, r"weight_ih_l0: found shape \(5, 5\); must begin with 4"),
        ({"bias_ih_l0": (H + 1,)}, r"bias_ih_l0: found shape \(5,\)"),
        ({"logits__weight": None}, "logits.weight: is missing"),
        ({"wte__weight": (V, H)}, r"wte.weight: found shape \(5, 4\); beside .* embedding.weight, with two axes"),
        ({"logits__bias": (V, 1)}, r"logits.bias: found shape \(5, 1\); .*logits.bias, with one"),
    ],
)
def test_what_is_not_a_network_of_charlm_is_refused_by_name(
    tmp_path: Path, changes: dict[str, tuple[int, ...] | None], message: str
) -> None:
    shapes = {name: shape for name, shape in {**PLAIN, **changes}.items() if shape is not None}
    with pytest.raises(CharlmError, match=message):
        read(tmp_path, zeros(**shapes))


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\xff" * 100, (2**60).to_bytes(8, "little") + b"{}"])
def test_what_is_not_safetensors_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(CharlmError, match="not safetensors"):
        read_state_dict(tmp_path / "x.safetensors", activation="tanh")


def test_tensors_of_integers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="tensor weight_ih_l0: found int64; must be floating-point"):
        read(tmp_path, {"weight_ih_l0": np.zeros((H, V), np.int64)})


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_a_network_of_pytorch_has_the_same_logits(tmp_path: Path, layers: int) -> None:
    torch = pytest.importorskip("torch", reason="missing: torch")
    from safetensors.torch import save_file

    torch.manual_seed(1)
    rnn = torch.nn.RNN(E, H, layers)
    modules = {"embedding": torch.nn.Embedding(V, E), "rnn": rnn, "logits": torch.nn.Linear(H, V)}
    path = tmp_path / "network.safetensors"
    save_file(torch.nn.ModuleDict(modules).state_dict(), path)
    found = read_state_dict(path, activation="tanh")
    ids = torch.tensor([[0], [3], [1], [4], [2]])
    with torch.inference_mode():
        expected = modules["logits"](rnn(modules["embedding"](ids))[0])[:, 0]

    logits, _ = found.unroll(ids.numpy(), found.zero_state(1))
    np.testing.assert_allclose(logits[:, 0], expected.numpy(), atol=1e-6)
