"""The speed of charlm on this machine, beside that of other programs."""

import importlib.util
from collections.abc import Callable, Sequence

from charlm.api.arguments import check_name
from charlm.bench.cases import MEGABYTES, PARTS, Settings
from charlm.bench.measure import Benchmark, Effort
from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError
from charlm.hardware import multiplies_bfloat16, usable_precision


def plan_benchmark(
    parts: Sequence[str] = (),
    *,
    units: Sequence[int] = (128, 256, 512, 1024),
    layers: int = 1,
    batch: int = 64,
    time: int = 100,
    recipe: str = "shakespeare-15m",
    megabytes: float = MEGABYTES,
    rounds: int = 3,
    say: Callable[[str], object] = lambda _: None,
    effort: Effort | None = None,
) -> Benchmark:
    """Return a benchmark of some parts of charlm; nothing is measured before its `results` are iterated over.

    PyTorch is measured if it is installed, bfloat16 if the processor multiplies it.

    Args:
        parts: training, profile, sampling, start or tokenize; none = all of them.
        units: The widths of the networks, 1 or more each.
        layers: Layers of each network, 1 or more.
        batch: Windows in a training step, 1 or more.
        time: Characters in a window, 1 or more.
        recipe: The recipe whose step is profiled: a name in configs/, or a YAML file.
        megabytes: The size of the text to tokenize.
        rounds: How often each workload is measured, 1 or more.
        say: Takes a line for each workload that fails.
        effort: How long each workload is measured; None = 3 repetitions of 0.2 s.

    Raises:
        CharlmError: TensorFlow is not installed, which training and profile need; there is no such part or recipe, a
            key or a value of the recipe is not right, or a number is less than 1.

    """
    for part in parts:
        check_name("parts", part, PARTS)
    numbers = {"units": min(units, default=0), "layers": layers, "batch": batch, "time": time, "rounds": rounds}
    for name, number in numbers.items():
        if number < 1:
            raise CharlmError(f"{name}: found {number}; must be 1 or more")
    settings = Settings(
        units=tuple(units),
        layers=layers,
        batch=batch,
        time=time,
        megabytes=megabytes,
        recipe=recipe,
        precision=usable_precision(load_config(find_recipe(recipe)).training.precision)[0],
        has_torch=importlib.util.find_spec("torch") is not None,
        has_bfloat16=multiplies_bfloat16(),
    )
    chosen = {name: PARTS[name](settings) for name in PARTS if name in parts or not parts}
    if {"training", "profile"} & chosen.keys():
        check_tensorflow()
    return Benchmark(chosen, rounds=rounds, say=say, effort=effort)
