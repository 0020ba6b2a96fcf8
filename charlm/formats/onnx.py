"""Export to ONNX, with time-major RNN nodes and the state as an input and an output.

onnxruntime reads opset 22 and IR version 10 at most, and refuses RNN nodes with layout=1.

Axes: T time, B batch, V vocabulary, L layers, H units.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charlm import __version__
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

FILE = "model.onnx"
OPSET, IR_VERSION = 21, 10
MAX_BYTES = 2_000_000_000
"""Largest size of a file; a protocol buffer cannot be larger than 2 GiB."""

RNN_ACTIVATIONS: Mapping[str, Mapping[str, Any]] = {
    "tanh": {"activations": ["Tanh"]},
    "relu": {"activations": ["Relu"]},
    "sigmoid": {"activations": ["Sigmoid"]},
    "linear": {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
}
"""Attributes of an RNN node by the name of the activation."""


def export_onnx(trained: TrainedModel) -> dict[str, bytes]:
    """Return model.onnx.

    The inputs are `ids`, int64 [T, B], and `state`, float32 [L, B, H]; the outputs are `logits`,
    float32 [T, B, V], and `next_state`, float32 [L, B, H]. The metadata has the `vocabulary` of the
    model file as JSON.

    Raises:
        CharlmError: The package onnx is not installed, or the network is too large.

    """
    try:
        import onnx
        from onnx import helper
    except ImportError:
        raise CharlmError("format onnx: needs the package onnx: pip install onnx") from None
    if 4 * trained.architecture.size > MAX_BYTES:
        raise CharlmError(
            f"format onnx: {trained.architecture.size:,} weights; a file must have at most "
            f"{MAX_BYTES:,} bytes"
        )
    model = helper.make_model(
        _graph(trained),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charlm",
        producer_version=__version__,
    )
    vocabulary = json.dumps(trained.vocabulary.to_fields(), ensure_ascii=False)
    helper.set_model_props(model, {"vocabulary": vocabulary})
    onnx.checker.check_model(model, full_check=True)
    return {FILE: model.SerializeToString()}


def _graph(trained: TrainedModel) -> "GraphProto":
    from onnx import TensorProto, helper, numpy_helper

    shape = trained.architecture
    parameters = trained.parameters
    nodes: list[NodeProto] = []
    constants: dict[str, Any] = {
        "logits.kernel": parameters.logits_kernel,
        "logits.bias": parameters.logits_bias,
    }
    outputs = {shape.input: "x"}

    def add(operation: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        nodes.append(helper.make_node(operation, inputs, outputs, name=outputs[0], **attributes))

    if "embedding" in parameters.tensors:
        constants["embedding"] = parameters.tensors["embedding"]
        add("Gather", ["embedding", "ids"], ["x"], axis=0)
    else:
        constants |= {
            "depth": np.array(shape.vocabulary_size, np.int64),
            "off_on": np.array([0, 1], np.float32),
        }
        add("OneHot", ["ids", "depth", "off_on"], ["x"], axis=-1)
    constants["axis_1"] = np.array([1], np.int64)
    states = [f"state.{index}" for index in range(shape.layers)]
    add("Split", ["state"], states, axis=0, num_outputs=shape.layers)
    for index, layer in enumerate(parameters.layers):
        read = shape.tensors[f"rnn.{index}.kernel"].reads
        add("Concat", [outputs[part] for part in read], [f"inputs.{index}"], axis=2)
        weights = {
            f"rnn.{index}.kernel": layer.kernel.T[None],
            f"rnn.{index}.recurrent_kernel": layer.recurrent_kernel.T[None],
            f"rnn.{index}.bias": np.pad(layer.bias, (0, layer.units))[None],  # ONNX adds two biases
        }
        constants |= weights
        inputs = [f"inputs.{index}", *weights, "", f"state.{index}"]
        directions = f"rnn.{index}.directions"
        attributes = {"hidden_size": layer.units, **RNN_ACTIVATIONS[shape.activation]}
        add("RNN", inputs, [directions, f"next_state.{index}"], **attributes)
        outputs[f"rnn.{index}"] = f"rnn.{index}.output"
        add("Squeeze", [directions, "axis_1"], [f"rnn.{index}.output"])
    add("Concat", [f"next_state.{index}" for index in range(shape.layers)], ["next_state"], axis=0)
    read = shape.tensors["logits.kernel"].reads
    add("Concat", [outputs[part] for part in read], ["features"], axis=2)
    add("MatMul", ["features", "logits.kernel"], ["logits.product"])
    add("Add", ["logits.product", "logits.bias"], ["logits"])
    describe = helper.make_tensor_value_info
    state = [shape.layers, "B", shape.units]
    return helper.make_graph(
        nodes,
        "character_rnn",
        [
            describe("ids", TensorProto.INT64, ["T", "B"]),
            describe("state", TensorProto.FLOAT, state),
        ],
        [
            describe("logits", TensorProto.FLOAT, ["T", "B", shape.vocabulary_size]),
            describe("next_state", TensorProto.FLOAT, state),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in constants.items()
        ],
    )
