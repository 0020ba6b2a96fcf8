"""The speed of charlm on this machine, beside that of other programs."""

import importlib.util
from collections.abc import Callable, Sequence

from charlm.api.arguments import check_name
from charlm.bench.cases import MEGABYTES, PARTS, Settings
from charlm.bench.measure import Benchmark, Effort
from charlm.errors import CharlmError
from charlm.hardware import multiplies_bfloat16


def plan_benchmark(
    parts: Sequence[str] = (),
    *,
    units: Sequence[int] = (128, 256, 512, 1024),
    layers: int = 1,
    batch: int = 64,
    time: int = 100,
    megabytes: float = MEGABYTES,
    rounds: int = 3,
    say: Callable[[str], object] = lambda _: None,
    effort: Effort | None = None,
) -> Benchmark:
    """Return a benchmark of some parts of charlm; nothing is measured before its `results` are iterated over.

    PyTorch is measured if it is installed, bfloat16 if the processor multiplies it.

    Args:
        parts: training, sampling, start or tokenize; none = all of them.
        units: The widths of the networks, 1 or more each.
        layers: Layers of each network, 1 or more.
        batch: Windows in a training step, 1 or more.
        time: Characters in a window, 1 or more.
        megabytes: The size of the text to tokenize.
        rounds: How often each workload is measured, 1 or more.
        say: Takes a line for each workload that fails.
        effort: How long each workload is measured; None = 3 repetitions of 0.2 s.

    Raises:
        CharlmError: there is no such part, or a number is less than 1.

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
        has_torch=importlib.util.find_spec("torch") is not None,
        has_bfloat16=multiplies_bfloat16(),
    )
    chosen = {name: PARTS[name](settings) for name in PARTS if name in parts or not parts}
    return Benchmark(chosen, rounds=rounds, say=say, effort=effort)
