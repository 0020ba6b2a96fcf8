"""Exports of a model for other programs; `exporting` lists the formats."""

from typing import Literal

FormatName = Literal["html", "onnx", "torch", "keras", "c"]
