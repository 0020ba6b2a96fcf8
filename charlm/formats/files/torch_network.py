"""The network of this folder in PyTorch; needs torch and safetensors. Usage: network, characters = load()."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class Network(nn.Module):  # type: ignore[misc]
    """Characters -> logits of the next one: torch.nn.RNN layers, with skip connections one module for each layer."""

    def __init__(self, shape: dict[str, Any]) -> None:
        super().__init__()
        size, layers, units, skips = (shape[key] for key in ("vocabulary_size", "layers", "units", "skip_connections"))
        self.embedding = nn.Embedding(size, shape["embedding"]) if shape["embedding"] else None
        self.skips, width = skips, shape["embedding"] or size
        rnn = {"hidden_size": units, "nonlinearity": shape["activation"], "bias": shape["use_bias"]}
        above = (nn.RNN(units + width, **rnn) for _ in range(layers - 1))
        self.rnn = nn.ModuleList([nn.RNN(width, **rnn), *above]) if skips else nn.RNN(width, num_layers=layers, **rnn)
        self.logits = nn.Linear(units * layers if skips else units, size)

    def forward(self, ids: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read ids [T, B] from a state [layers, B, H] -> logits [T, B, V], the state after them."""
        x = self.embedding(ids) if self.embedding else nn.functional.one_hot(ids, self.logits.out_features).float()
        if not self.skips:
            outputs, state = self.rnn(x, state)
            return self.logits(outputs), state
        outputs, states = list[Tensor](), list[Tensor]()
        for layer, rnn in enumerate(self.rnn):
            output, last = rnn(torch.cat([*outputs[-1:], x], -1), None if state is None else state[layer : layer + 1])
            outputs, states = [*outputs, output], [*states, last]
        return self.logits(torch.cat(outputs, -1)), torch.cat(states)


def load(folder: str | Path = Path(__file__).parent) -> tuple[Network, list[str | None]]:
    """Return the network of a folder, and the character of each id (None = reserved)."""
    folder = Path(folder)
    model, vocabulary = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("model", "vocabulary"))
    network = Network(model["architecture"])
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval(), vocabulary["characters"]
