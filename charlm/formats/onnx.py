"""ONNX: the network as one model.onnx, with time-major RNN nodes and the state as an input and an output.

Activations that the RNN node of ONNX lacks are computed by a Scan over primitive operations instead. onnxruntime reads
opset 22 and IR version 10 at most, and refuses RNN nodes with layout=1.

Axes: T time, B batch, V vocabulary, L layers, H units.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm import __version__
from charlm.errors import CharlmError
from charlm.formats.programs import run_python
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, Layer

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

FILE = "model.onnx"
USAGE = """```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
ids, state = np.array([[0]]), np.zeros(({layers}, 1, {units}), np.float32)  # [T, B], [L, B, H]
logits, state = session.run(None, {{"ids": ids, "state": state}})  # [T, B, V]
```"""
"""For the model card, by `str.format` with `layers` and `units`."""
OPSET, IR_VERSION = 21, 10
MAX_BYTES = 2_000_000_000
"""A protocol buffer cannot be larger than 2 GiB."""

RNN_ACTIVATIONS: Mapping[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "relu": ("Relu", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "softsign": ("Softsign", None, None),
    "linear": ("Affine", 1.0, 0.0),
    "elu": ("Elu", 1.0, None),
}
"""The activations that an RNN node has: its name for it, alpha and beta."""


def export_onnx(bundle: Bundle) -> dict[str, bytes]:
    """Return model.onnx.

    Its inputs are `ids`, int64 [T, B], and `state`, float32 [L, B, H]; its outputs `logits`, float32 [T, B, V], and
    `next_state`, float32 [L, B, H]. The metadata holds `vocabulary`, the contents of vocabulary.json.

    Raises:
        CharlmError: the package onnx is not installed, or the network is larger than a protocol buffer can be.

    """
    try:
        import onnx
        from onnx import helper
    except ImportError:
        raise CharlmError("--format onnx: needs the package onnx: pip install onnx") from None
    if 4 * bundle.parameters.size > MAX_BYTES:
        raise CharlmError(
            f"--format onnx: {bundle.parameters.size:,} weights; a file must be {MAX_BYTES:,} bytes at most"
        )
    model = helper.make_model(
        _Graph(bundle).build(),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charlm",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"vocabulary": bundle.vocabulary.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return {FILE: model.SerializeToString()}


class _Graph:
    """The nodes and constants of a network as they are added."""

    def __init__(self, bundle: Bundle) -> None:
        self._shape, self._parameters = bundle.architecture, bundle.parameters
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Any] = {}

    def build(self) -> "GraphProto":
        """Return the graph of the whole network."""
        from onnx import helper, numpy_helper

        outputs = self._stack()
        features = self._join(outputs if self._shape.skip_connections else outputs[-1:], "features", axis=2)
        self._constant("logits.kernel", self._parameters.logits_kernel)
        self._constant("logits.bias", self._parameters.logits_bias)
        self._add("MatMul", [features, "logits.kernel"], ["logits.product"])
        self._add("Add", ["logits.product", "logits.bias"], ["logits"])
        constants = [numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in self._constants.items()]
        return helper.make_graph(self._nodes, "character_rnn", *self._interface(), constants)

    def _stack(self) -> list[str]:
        """Add the layers from ids and states to outputs and next states; return the outputs, lowest first."""
        shape, x = self._shape, self._input()
        states = [f"state.{index}" for index in range(shape.layers)]
        self._add("Split", ["state"], states, axis=0, num_outputs=shape.layers)
        outputs: list[str] = []
        for index, state in enumerate(states):
            read = [*outputs[-1:], x] if shape.skip_connections or not outputs else outputs[-1:]
            outputs.append(self._layer(index, self._join(read, f"inputs.{index}", axis=2), state))
        self._join([f"next_state.{index}" for index in range(shape.layers)], "next_state", axis=0)
        return outputs

    def _interface(self) -> "tuple[list[ValueInfoProto], list[ValueInfoProto]]":
        """Return the inputs and the outputs of the graph."""
        from onnx import TensorProto, helper

        shape = self._shape
        describe, state = helper.make_tensor_value_info, [shape.layers, "B", shape.units]
        return (
            [describe("ids", TensorProto.INT64, ["T", "B"]), describe("state", TensorProto.FLOAT, state)],
            [
                describe("logits", TensorProto.FLOAT, ["T", "B", shape.vocabulary_size]),
                describe("next_state", TensorProto.FLOAT, state),
            ],
        )

    def _input(self) -> str:
        """Add what turns ids into the input x, [T, B, V] or [T, B, E]."""
        if self._parameters.embedding is not None:
            self._constant("embedding", self._parameters.embedding)
            self._add("Gather", ["embedding", "ids"], ["x"], axis=0)
        else:
            self._constant("depth", np.array(self._shape.vocabulary_size, np.int64))
            self._constant("off_on", np.array([0, 1], np.float32))
            self._add("OneHot", ["ids", "depth", "off_on"], ["x"], axis=-1)
        return "x"

    def _layer(self, index: int, read: str, state: str) -> str:
        """Add a layer that reads [T, B, inputs] from a state [1, B, H]; return its outputs [T, B, H]."""
        layer = self._parameters.layers[index]
        output, last = f"rnn.{index}.output", self._last_state(index)
        self._rnn(index, layer, [read, state], [f"rnn.{index}.directions", last])
        self._constant("axis_1", np.array([1], np.int64))
        self._add("Squeeze", [f"rnn.{index}.directions", "axis_1"], [output])
        return output

    def _rnn(self, index: int, layer: Layer, inputs: list[str], outputs: list[str]) -> None:
        read, state = inputs
        weights = {"kernel": layer.kernel.T[None], "recurrent_kernel": layer.recurrent_kernel.T[None]}
        if layer.bias is not None:  # ONNX adds two biases
            weights["bias"] = np.concatenate([layer.bias, np.zeros_like(layer.bias)])[None]
        names = {key: self._constant(f"rnn.{index}.{key}", value) for key, value in weights.items()}
        activation, alpha, beta = RNN_ACTIVATIONS[self._shape.activation]
        self._add(
            "RNN",
            [read, names["kernel"], names["recurrent_kernel"], names.get("bias", ""), "", state],
            outputs,
            hidden_size=layer.units,
            activations=[activation],
            **({} if alpha is None else {"activation_alpha": [alpha]}),
            **({} if beta is None else {"activation_beta": [beta]}),
        )

    def _last_state(self, index: int) -> str:
        return "next_state" if self._shape.layers == 1 else f"next_state.{index}"

    def _join(self, tensors: list[str], name: str, *, axis: int) -> str:
        """Add a concatenation of several tensors; return its name, or that of a single one."""
        if len(tensors) == 1:
            return tensors[0]
        self._add("Concat", tensors, [name], axis=axis)
        return name

    def _constant(self, name: str, value: Any) -> str:
        self._constants[name] = value
        return name

    def _add(self, operation: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(operation, inputs, outputs, name=outputs[0], **attributes))


def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
    """Return the logits that onnxruntime computes after each of the ids, integers [T]: float32 [T, V]."""
    return run_python(_PROGRAM, folder, ids, needs=["onnxruntime"])


_PROGRAM = f"""
import onnxruntime
session = onnxruntime.InferenceSession(f"{{folder}}/{FILE}")
state = np.zeros([size if isinstance(size, int) else 1 for size in session.get_inputs()[1].shape], np.float32)
logits = session.run(["logits"], {{"ids": ids[:, None], "state": state}})[0][:, 0]
"""
