"""`charlm bench`: speeds in tables, or as one JSON object."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.command import Command
from charlm.cli.options import json_option, refuse_empty
from charlm.cli.output import print_result, say
from charlm.cli.table import align
from charlm.errors import CharlmError, shorten

if TYPE_CHECKING:
    from charlm.bench.cases import Part
    from charlm.bench.measure import Benchmark

MAX_DIGITS = 10
"""Python refuses to convert thousands of digits."""


def _sizes(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    sizes = value.split(",")
    if not all(size.isdecimal() and len(size) <= MAX_DIGITS and 1 <= int(size) <= 65536 for size in sizes):
        raise click.BadParameter(f"{shorten(value)[1:-1]}: must be numbers from 1 to 65536, for instance 128,256")
    return tuple(map(int, sizes))


SECTIONS = {"The networks": "units layers batch time", "Results": "rounds as_json"}
EXAMPLES = {
    "charlm bench": "everything, which takes minutes",
    "charlm bench training --units 512 --rounds 5": "training alone, one width, more rounds",
}


@click.command(cls=Command, sections=SECTIONS, examples=EXAMPLES)
@click.argument(
    "parts",
    nargs=-1,
    type=click.Choice(["training", "profile", "sampling", "start", "tokenize"]),
    metavar="[PART]...",
    help="training (beside Keras, and PyTorch if it is installed), profile (where the time of a step goes), sampling, "
    "start (of charlm sample and of charlm train), or tokenize.  [default: all of them]",
)
@click.option(
    "--units",
    default="128,256,512,1024",
    callback=_sizes,
    show_default=True,
    metavar="N,...",
    help="Widths of the networks, in units, separated by commas.",
)
@click.option(
    "--layers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Number of layers of each network.",
)
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Windows in a training step.")
@click.option("--time", type=click.IntRange(min=1), default=100, show_default=True, help="Characters in a window.")
@click.option(
    "-c",
    "--config",
    "recipe",
    default="shakespeare-15m",
    callback=refuse_empty,
    show_default=True,
    metavar="NAME|FILE",
    help="Recipe whose step is profiled.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of times to measure everything; the median is reported.",
)
@json_option
def bench(
    *,
    parts: tuple[str, ...],
    units: tuple[int, ...],
    layers: int,
    batch: int,
    time: int,
    recipe: str,
    rounds: int,
    as_json: bool,
) -> None:
    """Measure the speed of charlm beside that of other programs and of this machine.

    Nothing else should run meanwhile.
    """
    from charlm.api.benchmark import plan_benchmark
    from charlm.hardware import describe_machine

    benchmark = plan_benchmark(
        parts, units=units, layers=layers, batch=batch, time=time, recipe=recipe, rounds=rounds, say=say
    )
    settings = {"units": units, "layers": layers, "batch": batch, "time": time, "recipe": recipe, "rounds": rounds}
    report(benchmark, describe_machine(), settings, as_json=as_json)


def report(
    benchmark: "Benchmark", machine: Mapping[str, object], settings: Mapping[str, object], *, as_json: bool
) -> None:
    """Run a benchmark and print its results: each table as soon as it is measured, or JSON at the end.

    Args:
        benchmark: What to measure.
        machine: What is told of the machine, by name.
        settings: What the user chose, for the JSON object.
        as_json: Whether to print one JSON object instead of tables.

    Raises:
        CharlmError: a measurement failed; the results are printed all the same.

    """
    from tqdm import tqdm

    if not as_json:
        print_result(", ".join(f"{name} {value or '-'}" for name, value in machine.items()))
    results: dict[str, Any] = {}
    for name, cases in benchmark.results():
        results[name] = cases
        if not as_json:
            with tqdm.external_write_mode(sys.stdout):
                print_result("", *part_lines(benchmark.parts[name], cases))
    if as_json:
        print_result(json.dumps({"machine": machine, "settings": settings, **results, "failures": benchmark.failures}))
    if benchmark.failures:
        raise CharlmError(f"measurements that failed: {len(benchmark.failures)}; the other figures are valid")


def part_lines(part: "Part", results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of a part as lines: its title, the headings, and a line with the medians of each case.

    Args:
        part: The title and the columns.
        results: The summary of each case, as `Benchmark.results` yields them.

    """
    facts = list(part.cases[0].facts)
    rows = [[*facts, *part.columns.values()]]
    for result in results:
        figures = [_format(result["median"].get(name)) for name in part.columns]
        rows.append([*(str(result[fact]) for fact in facts), *figures])
    return [part.title, *align(rows)]


def _format(figure: float | None) -> str:
    """Return a figure with three significant digits, or a dash if there is none."""
    if figure is None:
        return "-"
    rounded = float(f"{figure:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:#.3g}"
