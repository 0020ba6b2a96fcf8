"""Export: a network as files that other programs read. One module for each format; `exporting` has their table."""

from typing import Literal

FormatName = Literal["html", "onnx", "torch", "keras", "c"]
