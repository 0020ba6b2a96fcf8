"""How `charlm bench` measures: charlm beside other programs and the limit of the machine.

* A workload is whatever is measured: charlm, Keras, PyTorch, a bare product. Each runs in its own process, since they
  need different threads and settings; there it is warmed up, and the best of several repetitions counts.
* Workloads take turns, round by round (A B C A B C ...), so that all are measured under the same load.
* Ratios are formed within a round. The median of the rounds is reported, of ratios and of figures.
* If the processor multiplies bfloat16, charlm runs a second time with the factors of products in bfloat16.
* The peak is the speed of a product of 4096 x 4096 matrices on all cores, in float32 and in bfloat16, measured in the
  same round. A share of it counts the operations of a step as `charlm.bench.cases.count_operations` does.
* The limit is the speed of a network of this size if every operation ran at the speed of one float32 product of
  [batch, H] x [H, H] on all cores, NumPy's or TensorFlow's, measured in the same round. Sampling has streams instead of
  a batch, and NumPy alone; for a single stream the limit is the speed at which the weights can be read.

This process only plans, waits and compares. It imports neither NumPy nor TensorFlow: it leaves the cores to the
workloads, and stays small, since on Linux the peak memory of a process starts from that of its parent. What is
compared is decided in `charlm.bench.cases`.
"""

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from charlm.bench.cases import Case, Part, Workload
from charlm.bench.timing import Figures
from charlm.errors import CharlmError

PEERS = ("keras", "torch", "numpy")
PEAKS = ("peak", "peak_bfloat16")
PRODUCTS = ("numpy_product", "tensorflow_product")


@dataclass(frozen=True)
class Effort:
    """How long a workload is measured: the best of `repetitions` of at least `seconds` each."""

    repetitions: int = 3
    seconds: float = 0.2


def measure(workload: Workload, effort: Effort, *, python: str = sys.executable) -> Figures:
    """Run a workload in its own process and return its figures.

    Args:
        workload: What to run.
        effort: How long.
        python: The interpreter that runs it.

    Raises:
        CharlmError: the process failed or was ended by a signal.

    """
    arguments = {"repetitions": effort.repetitions, "seconds": effort.seconds, **workload.arguments}
    command = [python, "-m", "charlm.bench.workloads", workload.name, json.dumps(arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode < 0:
        raise CharlmError(f"ended by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise CharlmError(process.stderr.strip().rpartition("\n")[2])
    figures: Figures = json.loads(process.stdout.splitlines()[-1])
    return figures


class Benchmark:
    """Measures parts of charlm, one after the other."""

    def __init__(
        self,
        parts: Mapping[str, Part],
        *,
        rounds: int,
        say: Callable[[str], object],
        effort: Effort | None = None,
        measure: Callable[[Workload, Effort], Figures] = measure,
    ) -> None:
        """Plan a benchmark.

        Args:
            parts: What is measured, by name.
            rounds: How often each workload is measured, 1 or more.
            say: Takes a line for each workload that fails.
            effort: How long each workload is measured; None = the default.
            measure: Measures a workload, or raises CharlmError.

        """
        self.parts, self.rounds, self.say, self.effort = parts, rounds, say, effort or Effort()
        self.failures: list[str] = []
        """What was said of workloads that failed, each line once."""
        self._measure = measure

    def results(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Measure, with a bar on standard error; yield the name of each part and the summary of each of its cases."""
        turns = self.rounds * sum(len(case.workloads) for part in self.parts.values() for case in part.cases)
        with tqdm(total=turns, unit="run", dynamic_ncols=True, leave=False, disable=None) as bar:
            for name, part in self.parts.items():
                rounds: list[list[Figures]] = [[] for _ in part.cases]
                for _ in range(self.rounds):
                    for case, figures in zip(part.cases, rounds, strict=True):
                        figures.append(self._round(name, case, bar))
                yield name, [summarize(case, figures) for case, figures in zip(part.cases, rounds, strict=True)]

    def _round(self, name: str, case: Case, bar: "tqdm[Any]") -> Figures:
        figures: Figures = {}
        label = ", ".join([name, *(f"{fact} {value}" for fact, value in case.facts.items())])
        for workload in case.workloads:
            bar.set_description(f"{label}: {workload.name}")
            try:
                figures |= self._measure(workload, self.effort)
            except CharlmError as error:
                self._note(f"{label}: {workload.name} failed: {error}")
            bar.update()
        return compare(figures, operations=case.operations)

    def _note(self, failure: str) -> None:
        if failure not in self.failures:
            self.failures.append(failure)
            with tqdm.external_write_mode(sys.stderr):
                self.say(failure)


def compare(figures: Figures, *, operations: int) -> Figures:
    """Add the limit and the ratios to the figures of a round, as far as there are figures for them.

    Args:
        figures: Characters per second of charlm and its peers, operations per second of the products and of the peak.
        operations: Operations for each character.

    Returns:
        The figures with `limit`, in characters per second, and the ratios: `charlm_to_peer` and `bfloat16_to_peer`,
        relative to the faster peer; `charlm_to_limit`; and the shares of the peak, `charlm_to_peak`, `bfloat16_to_peak`
        and `of_peak`, that of a part of a step.

    """
    figures = dict(figures)
    products = [figures[name] for name in PRODUCTS if name in figures]
    if products:
        figures["limit"] = max(products) / operations
    peers = [figures[name] for name in PEERS if name in figures]
    for name, speed, peak in (("charlm", "charlm", "peak"), ("bfloat16", "charlm_bfloat16", "peak_bfloat16")):
        if speed in figures and peers:
            figures[f"{name}_to_peer"] = figures[speed] / max(peers)
        if speed in figures and peak in figures:
            figures[f"{name}_to_peak"] = figures[speed] * operations / figures[peak]
    peaks = [figures[name] for name in PEAKS if name in figures]
    if "operations_per_second" in figures and peaks:
        figures["of_peak"] = figures["operations_per_second"] / max(peaks)
    if "charlm" in figures and "limit" in figures:
        figures["charlm_to_limit"] = figures["charlm"] / figures["limit"]
    return figures


def summarize(case: Case, rounds: Sequence[Figures]) -> dict[str, Any]:
    """Summarize the rounds of a case.

    Args:
        case: What was measured.
        rounds: The figures of each round.

    Returns:
        The facts of the case; `median`, the median of each figure over the rounds that have it; `limit_by`, the product
        that is faster by the median, None if no product was measured; and `rounds`.

    """
    names = dict.fromkeys(name for figures in rounds for name in figures)
    median = {name: statistics.median(f[name] for f in rounds if name in f) for name in names}
    products = [name for name in PRODUCTS if name in median]
    limit_by = max(products, key=median.__getitem__, default=None)
    return {**case.facts, "median": median, "limit_by": limit_by, "rounds": list(rounds)}
