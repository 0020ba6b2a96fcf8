"""Ten whole steps of `charlm train`, compared with a training that is written in plain PyTorch.

Axes: B streams, T time, V vocabulary, H units.
"""

import itertools
import math
from collections.abc import Callable, Iterator
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
Step = Callable[[NDArray[np.int64], Any, float], tuple[float, Any]]
"""Trains on a window from a state (None = zeros) at a learning rate; returns the loss and the next state."""


def windows() -> Iterator[tuple[bool, NDArray[np.int64]]]:
    """Yield for each step whether an epoch begins, so that the state is zero, and its ids [T + 1, B]."""
    ids = np.array([ord(character) - ord("a") for character in TEXT])
    for step in range(STEPS):
        window = step % WINDOWS
        starts = np.arange(B) * WINDOWS * T + window * T
        yield window == 0, ids[starts + np.arange(T + 1)[:, None]]


def rate(step: int) -> float:
    """Return the learning rate of a step: a warm-up of one, then half a cosine down to a tenth of the peak."""
    if step == 0:
        return PEAK / 2
    return PEAK * (0.1 + 0.9 * (1 + math.cos(math.pi * (step - 1) / (STEPS - 2))) / 2)


def in_torch(first: Tensors) -> tuple[Step, Callable[[], Tensors]]:
    """Return a training step with torch.nn.RNN, and what returns the weights."""
    torch = pytest.importorskip("torch", reason="missing: torch")
    network, logits = torch.nn.RNN(5, H, 2), torch.nn.Linear(H, 5)
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
    optimizer, steps = torch.optim.Adam(places.values()), itertools.count(1)

    def take_step(window: NDArray[np.int64], state: Any, rate: float) -> tuple[float, Any]:
        ids = torch.tensor(window)
        outputs, state = network(torch.nn.functional.one_hot(ids[:-1], 5).float(), state)
        loss = torch.nn.functional.cross_entropy(logits(outputs).reshape(-1, 5), ids[1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(places.values(), CLIP)
        optimizer.param_groups[0] |= {"lr": rate, "eps": EPSILON / math.sqrt(1 - 0.999 ** next(steps))}
        optimizer.step()
        return loss.item(), state.detach()

    return take_step, lambda: {name: place.detach().numpy().T.copy() for name, place in places.items()}


@pytest.mark.parametrize("kernel", ["compiled", "keras"])
def test_the_losses_and_the_average_of_the_weights_are_those_of_a_plain_training(kernel: str, tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    recipe.write_text(SETTINGS.replace("KERNEL", kernel), encoding="utf-8")
    charlm.train(tmp_path / "text.txt", recipe=recipe, run=run)
    first = {name: w.numpy() for name, w in named_weights(build_model(load_config(run / "config.yaml"), 5)).items()}
    take_step, weights_now = in_torch(first)
    losses, average, state = list[float](), dict(first), None
    for step, (is_new, window) in enumerate(windows()):
        loss, state = take_step(window, None if is_new else state, rate(step))
        losses.append(loss)
        share = 1 - min(MOMENTUM, (2 + step) / (11 + step))
        average = {name: average[name] + share * (weight - average[name]) for name, weight in weights_now().items()}
    found = [line["nats_per_char"] for line in read_metrics(run) if line["split"] == "train"]
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    weights = read_model(run / "last.safetensors").parameters.tensors()
    check_close([weights[name] for name in first], [average[name] for name in first], atol=2e-6, rtol=1e-7)
