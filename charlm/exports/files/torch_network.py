"""The network in PyTorch; needs torch and safetensors. Usage: network, characters = load()."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

MODEL_FILE = Path(__file__).with_name("model.safetensors")


class Network(nn.Module):  # type: ignore[misc]
    """SimpleRNN language model: one torch.nn.RNN, or one for each layer with skip connections."""

    def __init__(self, settings: dict[str, Any], size: int) -> None:
        super().__init__()
        layers, units, width = (settings[key] for key in ("layers", "units", "embedding"))
        self.skips, options = settings["skip_connections"], settings["rnn"]
        self.embedding, width = nn.Embedding(size, width) if width else None, width or size
        rnn = {
            "hidden_size": units,
            "nonlinearity": options["activation"],
            "bias": options["use_bias"],
        }
        one = nn.RNN(width, num_layers=1 if self.skips else layers, **rnn)
        above = (nn.RNN(units + width, **rnn) for _ in range(layers - 1))
        self.rnn = nn.ModuleList([one, *above]) if self.skips else one
        self.logits = nn.Linear(units * layers if self.skips else units, size)

    def forward(self, ids: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read ids [T, B] with a state [layers, B, H]; return logits [T, B, V] and a state."""
        x = (
            self.embedding(ids)
            if self.embedding
            else nn.functional.one_hot(ids, self.logits.out_features).float()
        )
        if not self.skips:
            outputs, state = self.rnn(x, state)
            return self.logits(outputs), state
        outputs, states = list[Tensor](), list[Tensor]()
        for layer, rnn in enumerate(self.rnn):
            output, last = rnn(
                torch.cat([*outputs[-1:], x], -1),
                None if state is None else state[layer : layer + 1],
            )
            outputs, states = [*outputs, output], [*states, last]
        return self.logits(torch.cat(outputs, -1)), torch.cat(states)


def to_torch(weights: dict[str, Tensor], *, skips: bool) -> dict[str, Tensor]:
    """Return weights as PyTorch has them: other names, transposed, with a second bias of zero."""
    named = {}
    for name, weight in weights.items():
        part, _, kind = name.rpartition(".")
        if part.startswith("rnn."):
            place = f"{part}.{{}}_l0" if skips else f"rnn.{{}}_l{part[4:]}"
            kernel = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias_ih"}[
                kind
            ]
            named[place.format(kernel)] = weight.T.contiguous() if weight.dim() == 2 else weight
            if kind == "bias":
                named[place.format("bias_hh")] = torch.zeros_like(weight)
        else:  # embedding, logits.kernel, logits.bias
            torch_name = {"kernel": "logits.weight", "bias": "logits.bias"}.get(
                kind, "embedding.weight"
            )
            named[torch_name] = weight.T.contiguous() if kind == "kernel" else weight
    return named


def load(path: str | Path = MODEL_FILE) -> tuple[Network, list[str | None]]:
    """Return the network of a model file, and the character of each id (None = reserved)."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["charlm"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    characters, settings = facts["vocabulary"]["characters"], facts["config"]["model"]
    network = Network(settings, len(characters))
    network.load_state_dict(to_torch(weights, skips=network.skips))
    return network.eval(), characters
