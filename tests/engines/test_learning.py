"""Losses that training must reach, for each optimizer, precision and kernel.

`reference_training` computes the same losses in NumPy. Its weights are float64: with float32, a
loss of these runs differs by less than 1e-5 of its size; with bfloat16, by less than 0.005.
"""

import signal
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from arrays import check_close
from engines.kernels import MACROS, Kernels
from followed_runs import OPTIMIZERS, Followed, follow

import charlm
from charlm.core.model_file import read_model
from charlm.engines import kernel
from charlm.events import Event, StepsTaken
from charlm.hardware import multiplies_bfloat16

Runs = Callable[[str, str, str], Followed]
LOSSES = {
    "adam": [2.2727, 1.8631, 1.3341, 1.3170, 1.0447, 1.0117, 0.9046, 0.9082, 0.9962, 0.8019],
    "adamw": [2.2722, 1.9283, 1.4416, 1.3917, 1.1780, 1.0899, 1.0600, 1.0351, 1.1139, 0.9756],
    "muon": [2.0077, 1.4574, 1.1220, 1.1120, 0.9440, 0.9274, 0.8876, 0.9048, 0.9454, 0.8436],
    "sgd": [2.2613, 2.1347, 1.6141, 1.5623, 1.1965, 1.0727, 0.9743, 0.9046, 0.9526, 0.7856],
}
"""Losses of steps 5, 10, ..., 50, computed by the reference from weights of seed 1."""
DISTURBED_LOSSES = {
    "compiled": [2.2611, 1.6646, 1.2962, 1.2306, 1.0960, 1.0082, 1.0244, 0.9714, 1.0303, 0.9620],
    "keras": [2.2210, 1.6106, 1.2566, 1.1785, 1.0504, 1.0126, 0.9647, 0.9814, 1.0141, 0.9656],
}
"""Losses of the same steps with Muon and the settings DISTURBED; the kernels draw other masks."""
DISTURBED = [
    "model.layer_dropout=0.3",
    "model.output_dropout=0.2",
    "model.rnn.recurrent_dropout=0.1",
    "training.state_reset=0.2",
    "training.ngram_weight=0.3",
    "training.loss_temperature=0.8",
]
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.02}
RECIPES = {
    "tiny": [4.0934, 3.8082, 3.6599],
    "small": [3.8738, 2.3209, 1.9638, 1.7876, 1.7307, 1.7127, 1.654, 1.6388, 1.6075, 1.5622],
    "default": [3.6917, 2.1294, 1.8201, 1.6972, 1.6127, 1.5897, 1.4954, 1.4681, 1.4553, 1.4576],
}
"""Mean losses of steps 1 to 20, 21 to 40, ..., 181 to 200 on the plays."""
slow = pytest.mark.slow
QUICK = [
    ("adam", "float32", "compiled"),
    ("adam", "float32", "keras"),
    ("adam", "bfloat16", "compiled"),
    ("adamw", "float32", "compiled"),
    ("muon", "float32", "compiled"),
    ("muon", "bfloat16", "compiled"),
    ("sgd", "float32", "compiled"),
    ("sgd", "bfloat16", "keras"),
]
RUNS = [
    pytest.param(*run, marks=() if run in QUICK else slow)
    for run in product(OPTIMIZERS, TOLERANCES, ["compiled", "keras"])
]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return a function that trains a run for an optimizer, a precision and a kernel once."""
    folder = tmp_path_factory.mktemp("learning")

    @cache
    def run(
        optimizer: str,
        precision: str,
        implementation: str,
    ) -> Followed:
        if precision == "bfloat16" and not multiplies_bfloat16():
            pytest.skip("this processor does not multiply bfloat16")
        return follow(
            folder / f"{optimizer}-{precision}-{implementation}",
            OPTIMIZERS[optimizer],
            f"training.precision={precision}",
            f"training.kernel={implementation}",
        )

    return run


@pytest.mark.parametrize(("optimizer", "precision", "implementation"), RUNS)
def test_training_reaches_the_losses(
    optimizer: str,
    precision: str,
    implementation: str,
    run_of: Runs,
) -> None:
    losses = run_of(optimizer, precision, implementation).losses
    assert len(losses) == 60
    expected = pytest.approx(LOSSES[optimizer], rel=TOLERANCES[precision])
    assert losses[4:50:5] == expected


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_step_is_that_of_the_reference(optimizer: str, run_of: Runs) -> None:
    run = run_of(optimizer, "float32", "compiled")
    reference = run.reference()
    assert run.losses == pytest.approx(reference.losses, rel=1e-4)
    saved = read_model(run.folder / "last.safetensors").parameters.tensors
    expected = [reference.average[name] for name in saved]
    check_close(saved.values(), expected, atol=1e-4)


@pytest.mark.parametrize("implementation", ["compiled", pytest.param("keras", marks=slow)])
def test_training_with_dropout_reaches_the_losses(implementation: str, tmp_path: Path) -> None:
    kernel_setting = f"training.kernel={implementation}"
    run = follow(tmp_path, OPTIMIZERS["muon"], kernel_setting, *DISTURBED)
    expected = pytest.approx(DISTURBED_LOSSES[implementation], rel=TOLERANCES["float32"])
    assert run.losses[4:50:5] == expected


@slow
@pytest.mark.parametrize("processor", MACROS)
def test_training_reaches_the_losses_on_another_processor(
    processor: str,
    kernel_for: Kernels,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    emulated = kernel_for(processor)
    monkeypatch.setattr(kernel, "LOADED", [emulated])
    has_bfloat16 = emulated.has_bfloat16 and multiplies_bfloat16()
    precision = "bfloat16" if has_bfloat16 else "float32"
    setting = f"training.precision={precision}"
    run = follow(tmp_path, OPTIMIZERS["muon"], setting, "training.kernel=compiled")
    assert run.losses[4:50:5] == pytest.approx(LOSSES["muon"], rel=TOLERANCES[precision])


def first_losses(recipe: str, folder: Path) -> Sequence[float]:
    """Return the losses of the first 200 steps of a recipe on the plays, or of all its steps."""
    losses: list[float] = []

    def stop_later(event: Event) -> None:
        if isinstance(event, StepsTaken):
            losses.extend(event.losses)
            if event.step >= 200:
                signal.raise_signal(signal.SIGINT)

    charlm.train(
        recipe=recipe,
        run=folder / "run",
        overrides=["training.precision=float32", "training.parts=2", "sampling.length=0"],
        on_event=stop_later,
    )
    return losses[:200]


@slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_reaches_its_losses(recipe: str, tmp_path: Path) -> None:
    losses = first_losses(recipe, tmp_path)
    means = np.reshape(losses, (-1, 20)).mean(1)
    np.testing.assert_allclose(means, RECIPES[recipe], rtol=0.01)
