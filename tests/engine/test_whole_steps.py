"""Ten whole steps of `charlm train`, compared with a training that is written in plain PyTorch.

Axes: B streams, T time, V vocabulary, H units.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import check_close
from numpy.typing import NDArray
from run_folders import read_metrics

import charlm
from charlm.config.file import load_config
from charlm.engine.model import build_model, named_weights
from charlm.network.model_file import read_model

pytestmark = pytest.mark.slow

B, T, H, WINDOWS, STEPS = 4, 5, 8, 5, 10
PEAK, CLIP, MOMENTUM = 0.02, 0.3, 0.4
EPSILON = 1e-7  # of Keras, beside the root of a mean that is not yet without its bias
"""So small that it does not matter that PyTorch adds it to a corrected mean, and Keras to one that is not."""
TEXT = "".join(np.random.default_rng(3).choice(list("abcde"), B * T * WINDOWS + 1))  # windows without a rest
SETTINGS = f"""
model: {{units: {H}, layers: 2, skip_connections: false}}
corpus: {{validation_fraction: 0}}
training:
  {{batch_size: {B}, sequence_length: {T}, steps: {STEPS}, clip_norm: {CLIP}, parts: 3, log_every: 1,
   optimizer: {{name: adam, learning_rate: {PEAK}}}, average_momentum: {MOMENTUM},
   schedule: {{name: cosine, warmup_steps: 1, final_fraction: 0.1}}, kernel: KERNEL}}
sampling: {{length: 0}}
"""
Tensors = dict[str, NDArray[np.float32]]


def train_in_torch(first: Tensors) -> tuple[list[float], Tensors]:
    """Return the losses of the same training with torch.nn.RNN from the same weights, and the average of its own."""
    torch = pytest.importorskip("torch", reason="missing: torch")
    network, logits, ids = torch.nn.RNN(5, H, 2), torch.nn.Linear(H, 5), torch.tensor(["abcde".index(c) for c in TEXT])
    layer = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias_ih"}
    places = {  # its kernels are transposed, and it has a second bias, which stays zero
        **{f"rnn.{k}.{name}": network.get_parameter(f"{own}_l{k}") for k in range(2) for name, own in layer.items()},
        **{"logits.kernel": logits.weight, "logits.bias": logits.bias},
    }
    with torch.no_grad():
        for k in range(2):
            network.get_parameter(f"bias_hh_l{k}").zero_()
        for name, place in places.items():
            place.copy_(torch.tensor(first[name].T))
    optimizer, losses, average, state = torch.optim.Adam(places.values()), list[float](), first, None
    for step in range(STEPS):
        starts = np.arange(B) * WINDOWS * T + step % WINDOWS * T
        window = ids[starts + np.arange(T + 1)[:, None]]
        state = state if step % WINDOWS else None  # an epoch begins with zeros
        outputs, state = network(torch.nn.functional.one_hot(window[:-1], 5).float(), state)
        loss = torch.nn.functional.cross_entropy(logits(outputs).reshape(-1, 5), window[1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(places.values(), CLIP)
        decay = 0.1 + 0.9 * (1 + math.cos(math.pi * (step - 1) / (STEPS - 2))) / 2  # half a cosine to a tenth
        rate = PEAK * decay if step else PEAK / 2  # a warm-up of one step
        optimizer.param_groups[0] |= {"lr": rate, "eps": EPSILON / math.sqrt(1 - 0.999 ** (step + 1))}
        optimizer.step()
        losses, state = [*losses, loss.item()], state.detach()
        share = 1 - min(MOMENTUM, (2 + step) / (11 + step))
        weights = {name: place.detach().numpy().T for name, place in places.items()}
        average = {name: average[name] + share * (weight - average[name]) for name, weight in weights.items()}
    return losses, average


@pytest.mark.parametrize("kernel", ["compiled", "keras"])
def test_the_losses_and_the_average_of_the_weights_are_those_of_a_plain_training(kernel: str, tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    recipe.write_text(SETTINGS.replace("KERNEL", kernel), encoding="utf-8")
    charlm.train(tmp_path / "text.txt", recipe=recipe, run=run)
    first: dict[str, Any] = named_weights(build_model(load_config(run / "config.yaml"), 5))
    losses, average = train_in_torch({name: weight.numpy() for name, weight in first.items()})
    found = [line["nats_per_char"] for line in read_metrics(run) if line["split"] == "train"]
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    weights = read_model(run / "last.safetensors").parameters.tensors()
    check_close([weights[name] for name in first], [average[name] for name in first], atol=2e-6, rtol=1e-7)
