"""The speed of charlm beside that of others and of the machine: `charlm bench`.

How it is measured:

* A contender is whatever is measured: charlm, Keras, PyTorch, a bare product. Each runs in a process of its own,
  since they want other threads and settings; there it is warmed up, and the best of several repetitions counts.
* Contenders take turns, round by round (A B C A B C ...), so that all meet the same moods of a shared machine.
* Ratios are formed within a round. The median of the rounds is quoted, of ratios and of figures.
* Where the processor multiplies bfloat16, charlm runs a second time with the factors of products in it.
* The limit is what a network of this size could do if every operation ran at the speed of one float32 product of
  [batch, H] x [H, H] on all cores, NumPy's or TensorFlow's, measured in the same round. Sampling has streams for
  a batch, and NumPy alone; for a single stream this is the speed at which the weights can be read.

This process only plans, waits and compares. It imports neither NumPy nor TensorFlow: it leaves the cores to the
contenders, and stays small, since on Linux the peak memory of a process starts from that of its parent. Who
takes part in what is decided in `charlm.bench_parts`.
"""

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from charlm.bench_parts import PARTS, Case, Contender, Part, Settings
from charlm.errors import CharlmError
from charlm.machine import machine

Figures = dict[str, float]

EFFORT = {"repetitions": 3, "seconds": 0.2}
"""What every contender takes: the best of so many repetitions of at least that length."""

PEERS = ("keras", "torch", "numpy")
PRODUCTS = ("numpy_product", "tensorflow_product")


def print_bench(parts: Sequence[str], *, as_json: bool, **settings: Any) -> None:
    """Measure some PARTS, or all if none is named, and write tables or one JSON object; `settings` are Settings.

    Raises CharlmError at the end if a contender failed; a line on standard error has then said which, and why.
    """
    chosen = Settings(**settings)
    plan = {name: PARTS[name](chosen) for name in PARTS if name in parts or not parts}
    host = machine()
    if not as_json:
        print(", ".join(f"{name} {value or '-'}" for name, value in host.items()))
    results: dict[str, Any] = {}
    runs = chosen.rounds * sum(len(case.contenders) for part in plan.values() for case in part.cases)
    with tqdm(total=runs, unit="run", dynamic_ncols=True, leave=False, disable=None) as bar:
        referee = _Referee(bar)
        for name, part in plan.items():
            results[name] = referee.hold(name, part, rounds=chosen.rounds)
            if not as_json:
                bar.write(f"\n{table(part, results[name])}", file=sys.stdout)
    if as_json:
        print(json.dumps({"machine": host, "settings": asdict(chosen), **results, "failures": referee.failures}))
    if referee.failures:
        raise CharlmError(f"{len(referee.failures)} of the contenders failed; the other figures stand")


class _Referee:
    """Lets contenders take turns and keeps a list of those that failed."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self.failures: list[str] = []
        self._bar = bar

    def hold(self, name: str, part: Part, *, rounds: int) -> list[dict[str, Any]]:
        """Return the summary of each case."""
        taken: list[list[Figures]] = [[] for _ in part.cases]
        for _ in range(rounds):
            for case, figures in zip(part.cases, taken, strict=True):
                figures.append(self._round(name, case))
        return [summary(case, figures) for case, figures in zip(part.cases, taken, strict=True)]

    def _round(self, name: str, case: Case) -> Figures:
        figures: Figures = {}
        label = ", ".join([name, *(f"{fact} {value}" for fact, value in case.facts.items())])
        for contender in case.contenders:
            self._bar.set_description(f"{label}: {contender.name}")
            try:
                figures |= measure(contender)
            except CharlmError as error:
                self._note(f"{label}: {contender.name} failed: {error}")
            self._bar.update()
        return compare(figures, operations=case.operations)

    def _note(self, failure: str) -> None:
        if failure not in self.failures:
            self.failures.append(failure)
            self._bar.write(f"charlm: {failure}", file=sys.stderr)


def measure(contender: Contender) -> Figures:
    """Return the figures of a contender, run in a process of its own; raises CharlmError if it fails."""
    arguments = json.dumps({**EFFORT, **contender.arguments})
    command = [sys.executable, "-m", contender.module, contender.name, arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode < 0:
        raise CharlmError(f"ended by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise CharlmError(process.stderr.strip().rpartition("\n")[2])
    figures: Figures = json.loads(process.stdout.splitlines()[-1])
    return figures


def compare(figures: Figures, *, operations: int) -> Figures:
    """Return the figures of a round with the limit in characters per second, and the ratios, as far as they go."""
    figures = dict(figures)
    products = [figures[name] for name in PRODUCTS if name in figures]
    if products:
        figures["limit"] = max(products) / operations
    peers = [figures[name] for name in PEERS if name in figures]
    if "charlm" in figures and peers:
        figures["charlm_to_peer"] = figures["charlm"] / max(peers)
    if "charlm_bfloat16" in figures and peers:
        figures["bfloat16_to_peer"] = figures["charlm_bfloat16"] / max(peers)
    if "charlm" in figures and "limit" in figures:
        figures["charlm_to_limit"] = figures["charlm"] / figures["limit"]
    return figures


def summary(case: Case, rounds: Sequence[Figures]) -> dict[str, Any]:
    """Return the facts of a case, the median of each figure over the rounds that have it, and the rounds.

    `limit_by` names the product that is the faster one by the median, None where no product was measured.
    """
    names = dict.fromkeys(name for figures in rounds for name in figures)
    median = {name: statistics.median(f[name] for f in rounds if name in f) for name in names}
    products = [name for name in PRODUCTS if name in median]
    limit_by = max(products, key=median.__getitem__, default=None)
    return {**case.facts, "median": median, "limit_by": limit_by, "rounds": list(rounds)}


def table(part: Part, results: Sequence[Mapping[str, Any]]) -> str:
    """Return a part as text: a line for each case, with the facts and the medians of the figures."""
    facts = list(part.cases[0].facts)
    rows = [[*facts, *part.columns.values()]]
    for result in results:
        figures = [_shown(result["median"].get(name)) for name in part.columns]
        rows.append([*(str(result[fact]) for fact in facts), *figures])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([part.title, *lines])


def _shown(figure: float | None) -> str:
    """Return a figure with three digits that count, or a dash where there is none."""
    if figure is None:
        return "-"
    rounded = float(f"{figure:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:#.3g}"
