"""How the scripts of this folder measure.

* Each workload runs in a process of its own, since workloads want different threads and settings. There it is warmed
  up, and the best of several repetitions counts.
* Workloads take turns, round by round (A B C A B C ...), so that all are measured under the same load.
* Ratios are formed within a round. The median of the rounds is reported, of ratios and of figures.

The process that waits imports neither NumPy nor TensorFlow: it leaves the cores to the workloads, and stays small.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Figures = dict[str, float]
"""What a workload measures, by name."""
Workloads = Sequence[tuple[Callable[..., Figures], Mapping[str, Any]]]
"""Functions, and the arguments that each is called with; all together give the figures of one line."""
REPETITIONS = 3


def per_second(run: Callable[[int], object], *, seconds: float = 0.2, min_turns: int = 5) -> float:
    """Measure the turns per second of the fastest repetition, after a warm-up of one turn.

    Args:
        run: Takes a number of turns.
        seconds: The least length of a repetition.
        min_turns: The turns of a repetition, which are doubled until they last for `seconds`.

    """

    def elapsed_seconds(turns: int) -> float:
        start = time.perf_counter()
        run(turns)
        return time.perf_counter() - start

    run(1)  # builds graphs and takes memory, once
    turns = min_turns
    while (elapsed := elapsed_seconds(turns)) < seconds:
        turns *= 2
    return turns / min([elapsed, *(elapsed_seconds(turns) for _ in range(REPETITIONS - 1))])


def parser(description: str | None, *workloads: Callable[..., Figures]) -> argparse.ArgumentParser:
    """Return a parser with the option --rounds; in the process of a workload, run that and exit.

    Args:
        description: The docstring of the script.
        workloads: Every function that its lines call.

    """
    if sys.argv[1:2] == ["--workload"]:
        (function,) = (workload for workload in workloads if workload.__name__ == sys.argv[2])
        print(json.dumps(function(**json.loads(sys.argv[3]))))
        sys.exit()
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=3, metavar="N")
    return made


def numbers(text: str) -> list[int]:
    """Return the numbers of an option, such as 128,512."""
    return [int(number) for number in text.split(",")]


def print_table(
    lines: Mapping[str, Workloads],
    *,
    columns: Mapping[str, str],
    rounds: int,
    derive: Callable[[str, Figures], Figures] = lambda _label, figures: figures,
) -> None:
    """Measure, and print a table: a line for each label, and in it the median of each figure over the rounds.

    Args:
        lines: The workloads of each line, by its label.
        columns: The format of each figure that is shown, by its name.
        rounds: How often each workload runs, 1 or more.
        derive: Adds ratios to the figures of one round of a line.

    """
    found: dict[str, list[Figures]] = {label: [] for label in lines}
    for _ in range(rounds):
        for label, workloads in lines.items():
            figures: Figures = {}
            for function, arguments in workloads:
                figures |= measure(function, arguments)
            found[label].append(derive(label, figures))
    print("| |", " | ".join(columns), "|")
    print("|---" * (1 + len(columns)) + "|")
    for label, results in found.items():
        cells = []
        for name, form in columns.items():
            values = [figures[name] for figures in results if name in figures]
            cells.append(format(statistics.median(values), form) if values else "")
        print("|", " | ".join([label, *cells]), "|", flush=True)


def measure(function: Callable[..., Figures], arguments: Mapping[str, Any]) -> Figures:
    """Run a workload of the running script in its own process; one that fails is named, and has no figures."""
    command = [sys.executable, sys.argv[0], "--workload", function.__name__, json.dumps(arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        last_line = process.stderr.strip().rpartition("\n")[2]
        print(f"{function.__name__}: exit code {process.returncode}: {last_line}", file=sys.stderr)
        return {}
    figures: Figures = json.loads(process.stdout.splitlines()[-1])
    return figures
