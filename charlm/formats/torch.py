"""PyTorch: the weights under the names of `torch.nn.RNN`, beside a loader of about 40 lines.

Without skip connections the network is one `torch.nn.RNN` of all layers; with them it is one for each layer. PyTorch is
not imported: safetensors writes the tensors with NumPy.

Axes: V vocabulary, E embedding, H units. All arrays are float32; the weights of PyTorch are [outputs, inputs].
"""

import numpy as np
import safetensors.numpy

from charlm.errors import CharlmError
from charlm.formats.programs import read_shipped
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, Parameters

WEIGHTS, LOADER = "model.safetensors", "torch_network.py"
ACTIVATIONS = ("tanh", "relu")
"""Those of `torch.nn.RNN`."""


def export_torch(bundle: Bundle) -> dict[str, bytes]:
    """Return the files of a network for PyTorch; the loader also reads model.json and vocabulary.json of the bundle.

    Raises:
        CharlmError: the activation is not one of `torch.nn.RNN`.

    """
    activation = bundle.parameters.activation
    if activation not in ACTIVATIONS:
        raise CharlmError(
            f"--format torch: torch.nn.RNN has no activation {activation}, only {' and '.join(ACTIVATIONS)}; "
            f"the formats html, onnx, keras and c have all"
        )
    return {
        WEIGHTS: safetensors.numpy.save(to_state_dict(bundle.parameters)),
        LOADER: read_shipped(LOADER).encode(),
    }


def to_state_dict(parameters: Parameters) -> dict[str, Floats]:
    """Return the weights as PyTorch names and lays them out.

    `rnn.weight_ih_l0` [H, inputs], `rnn.weight_hh_l0` [H, H], `rnn.bias_ih_l0` and `rnn.bias_hh_l0` [H] are those of
    layer 0, l1 those of layer 1; with skip connections `rnn.1.weight_ih_l0` are those of layer 1. The second bias,
    which PyTorch adds to the first, is zero. `embedding.weight` is [V, E], `logits.weight` [V, features],
    `logits.bias` [V].
    """
    named = {} if parameters.embedding is None else {"embedding.weight": parameters.embedding}
    for index, layer in enumerate(parameters.layers):
        name = f"rnn.{index}.{{}}_l0" if parameters.skip_connections else f"rnn.{{}}_l{index}"
        named[name.format("weight_ih")] = layer.kernel.T
        named[name.format("weight_hh")] = layer.recurrent_kernel.T
        if layer.bias is not None:
            named[name.format("bias_ih")] = layer.bias
            named[name.format("bias_hh")] = np.zeros_like(layer.bias)
    named |= {"logits.weight": parameters.logits_kernel.T, "logits.bias": parameters.logits_bias}
    return {name: np.ascontiguousarray(tensor) for name, tensor in named.items()}
