"""Export to ONNX, with time-major RNN nodes and the state as an input and an output.

onnxruntime reads opset 22 and IR version 10 at most, and refuses RNN nodes with layout=1.

Axes: T time, B batch, V vocabulary, L layers, H units.
"""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.core.model_file import TrainedModel
from charlm.core.rnn import Parameters
from charlm.errors import CharlmError
from charlm.version import __version__

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

FILE = "model.onnx"
OPSET, IR_VERSION = 21, 10

LINEAR = {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}
"""Attributes of a linear RNN node; ONNX has Keras's names for all other activations."""


def export_onnx(trained: TrainedModel) -> dict[str, bytes]:
    """Return model.onnx.

    The inputs are `ids`, int64 [T, B], and `state`, float32 [L, B, H]; the outputs are `logits`,
    float32 [T, B, V], and `next_state`, float32 [L, B, H]. The metadata has the `vocabulary` of the
    model file as JSON.

    Raises:
        CharlmError: The package onnx is not installed.

    """
    try:
        import onnx
        from onnx import helper
    except ImportError:
        raise CharlmError("format onnx: needs the onnx package: pip install onnx") from None
    model = helper.make_model(
        _GraphBuilder(trained.parameters).build(),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charlm",
        producer_version=__version__,
    )
    vocabulary = json.dumps(trained.vocabulary.to_fields(), ensure_ascii=False)
    helper.set_model_props(model, {"vocabulary": vocabulary})
    onnx.checker.check_model(model, full_check=True)
    return {FILE: model.SerializeToString()}


class _GraphBuilder:
    """Builds the graph of a network; each node is named after its first output."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.architecture = parameters.architecture
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {"axis_1": np.array([1], np.int64)}
        self.outputs = {self.architecture.input: "x"}
        """The name of the value that each part of the network computes."""

    def build(self) -> "GraphProto":
        """Return the whole graph."""
        from onnx import TensorProto, helper, numpy_helper

        self._add_input()
        for index in range(self.architecture.layers):
            self._add_layer(index)
        self._add_logits()
        network = self.architecture
        state = [network.layers, "B", network.units]
        logits = ["T", "B", network.vocabulary_size]
        describe = helper.make_tensor_value_info
        inputs = [
            describe("ids", TensorProto.INT64, ["T", "B"]),
            describe("state", TensorProto.FLOAT, state),
        ]
        outputs = [
            describe("logits", TensorProto.FLOAT, logits),
            describe("next_state", TensorProto.FLOAT, state),
        ]
        constants = [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in self.constants.items()
        ]
        return helper.make_graph(self.nodes, "character_rnn", inputs, outputs, constants)

    def _add(
        self, operation: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> None:
        from onnx import helper

        node = helper.make_node(operation, inputs, outputs, name=outputs[0], **attributes)
        self.nodes.append(node)

    def _concatenate(self, tensor: str, output: str) -> None:
        """Concatenate the parts of the network that a tensor multiplies."""
        reads = self.architecture.tensors[tensor].reads
        self._add("Concat", [self.outputs[part] for part in reads], [output], axis=2)

    def _add_input(self) -> None:
        """Add the input of the first layer, and split the state into layers."""
        embedding = self.parameters.tensors.get("embedding")
        if embedding is not None:
            self.constants["embedding"] = embedding
            self._add("Gather", ["embedding", "ids"], ["x"], axis=0)
        else:
            self.constants["depth"] = np.array(self.architecture.vocabulary_size, np.int64)
            self.constants["off_on"] = np.array([0, 1], np.float32)
            self._add("OneHot", ["ids", "depth", "off_on"], ["x"], axis=-1)
        layers = self.architecture.layers
        states = [f"state.{index}" for index in range(layers)]
        self._add("Split", ["state"], states, axis=0, num_outputs=layers)

    def _add_layer(self, index: int) -> None:
        layer = self.parameters.layers[index]
        prefix = f"rnn.{index}"
        self._concatenate(f"{prefix}.kernel", f"inputs.{index}")
        weights = {
            f"{prefix}.kernel": layer.kernel.T[None],
            f"{prefix}.recurrent_kernel": layer.recurrent_kernel.T[None],
            f"{prefix}.bias": np.pad(layer.bias, (0, layer.units))[None],  # ONNX adds two biases
        }
        self.constants |= weights
        inputs = [f"inputs.{index}", *weights, "", f"state.{index}"]
        outputs = [f"{prefix}.directions", f"next_state.{index}"]
        name = self.architecture.activation
        activation = LINEAR if name == "linear" else {"activations": [name.capitalize()]}
        self._add("RNN", inputs, outputs, hidden_size=layer.units, **activation)
        self.outputs[prefix] = f"{prefix}.output"
        self._add("Squeeze", [f"{prefix}.directions", "axis_1"], [f"{prefix}.output"])

    def _add_logits(self) -> None:
        """Add the logits, and join the states of the layers."""
        states = [f"next_state.{index}" for index in range(self.architecture.layers)]
        self._add("Concat", states, ["next_state"], axis=0)
        self.constants["logits.kernel"] = self.parameters.logits_kernel
        self.constants["logits.bias"] = self.parameters.logits_bias
        self._concatenate("logits.kernel", "features")
        self._add("MatMul", ["features", "logits.kernel"], ["logits.product"])
        self._add("Add", ["logits.product", "logits.bias"], ["logits"])
