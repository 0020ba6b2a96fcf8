"""What `charlm bench` compares: a table for each part of charlm, a case for each line, and the workloads of each case.

How workloads are measured and what is derived from their figures is left to `charlm.bench.measure`.

Axes: V vocabulary, H units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VOCABULARY = 65
"""The distinct characters of the tiny Shakespeare text."""
STREAMS = (1, 64)
MEGABYTES = 100.0
SPEEDS = {"limit": "limit", "charlm_to_peer": "charlm/peer", "charlm_to_limit": "charlm/limit"}
PEAKS = {"charlm_to_peak": "charlm/peak"}
HALF_SPEEDS = {
    "charlm_bfloat16": "bfloat16",
    "bfloat16_to_peer": "bfloat16/peer",
    "bfloat16_to_peak": "bfloat16/peak",
}


PARTS_OF_STEP = {
    "step": ("step",),
    "forward": ("forward",),
    "logits and loss": ("loss", "forward"),
    "backward": ("gradients_without_dropout", "loss"),
    "dropout": ("gradients", "gradients_without_dropout"),
    "optimizer": ("optimizer",),
    "average": ("average",),
    "rest": ("step", "gradients", "optimizer", "average"),
}
"""Each part of a step: a piece of `charlm.engine.profile.StepPieces`, and the pieces to subtract from it."""


@dataclass(frozen=True)
class Settings:
    """What the user chooses, and what this machine has."""

    units: tuple[int, ...]
    layers: int
    batch: int
    time: int
    megabytes: float = MEGABYTES
    """The size of the text to tokenize."""
    recipe: str = "shakespeare-15m"
    """The recipe whose step is profiled."""
    precision: str = "float32"
    """The precision in which this machine trains with the recipe."""
    has_torch: bool = False
    """Whether PyTorch is installed."""
    has_bfloat16: bool = False
    """Whether the processor multiplies bfloat16."""


@dataclass(frozen=True)
class Workload:
    """One function of `charlm.bench.workloads`, and the arguments it is called with."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One line of a table: the workloads that are compared under the same conditions."""

    facts: Mapping[str, int | str]
    """What distinguishes the case from the others of its table."""
    workloads: Sequence[Workload]
    operations: int = 0
    """Operations for each character, if there is a limit."""


@dataclass(frozen=True)
class Part:
    """One table."""

    title: str
    columns: Mapping[str, str]
    """The heading of each figure that is shown."""
    cases: Sequence[Case]


def count_operations(units: int, layers: int) -> int:
    """Return the number of operations that predicting a character takes: two for each weight of a product.

    The products are those with the recurrent kernel of each layer [H, H], the kernel of each layer but the first
    [H, H], where a character is looked up, and the kernel of the logits [H, V]. Training takes as many again for the
    gradient of the inputs of the products, and as many again for the gradient of their weights.

    Args:
        units: H.
        layers: The number of layers, 1 or more.

    """
    return 2 * ((2 * layers - 1) * units**2 + units * VOCABULARY)


def _training(settings: Settings) -> Part:
    shape = {"layers": settings.layers, "batch": settings.batch, "time": settings.time, "vocabulary": VOCABULARY}
    names = ["charlm", "keras", "torch"] if settings.has_torch else ["charlm", "keras"]

    def case(units: int) -> Case:
        """Compare the trainers at one width."""
        product = {"rows": settings.batch, "units": units}
        workloads = [Workload(name, {"units": units, **shape}) for name in names]
        workloads.append(_peak("float32"))
        if settings.has_bfloat16:
            half = Workload("charlm", {"units": units, **shape, "precision": "bfloat16"})
            workloads[1:1] = [half, _peak("bfloat16")]
        workloads += [Workload("tensorflow_product", product), Workload("numpy_product", product)]
        return Case({"units": units}, workloads, 3 * count_operations(units, settings.layers))

    return Part(
        "training, characters/s: " + ", ".join(f"{name} {value}" for name, value in shape.items()),
        {"charlm": "charlm", "keras": "Keras", "torch": "PyTorch", **SPEEDS, **PEAKS, **HALF_SPEEDS},
        [case(units) for units in settings.units],
    )


def _profile(settings: Settings) -> Part:
    def case(part: str) -> Case:
        """Compare a part of the step with the step and the peak."""
        arguments = {"recipe": settings.recipe, "part": part, "vocabulary": VOCABULARY}
        return Case({"part": part}, [Workload("step_part", arguments), _peak(settings.precision)])

    return Part(
        f"profile of a step: {settings.recipe}, {settings.precision}, vocabulary {VOCABULARY}",
        {"milliseconds": "ms", "of_step": "of the step", "of_peak": "of the peak"},
        [case(part) for part in PARTS_OF_STEP],
    )


def _sampling(settings: Settings) -> Part:
    def case(units: int, streams: int) -> Case:
        """Compare the samplers at one width, for a number of texts at once."""
        network = {**_network(units, settings), "streams": streams}
        workloads = [
            Workload("generate", network),
            Workload("numpy_loop", network),
            Workload("numpy_product", {"rows": streams, "units": units}),
        ]
        return Case({"units": units, "streams": streams}, workloads, count_operations(units, settings.layers))

    return Part(
        f"sampling, characters/s of all streams: layers {settings.layers}, vocabulary {VOCABULARY}",
        {"charlm": "charlm", "numpy": "bare loop", **SPEEDS},
        [case(units, streams) for units in settings.units for streams in STREAMS],
    )


def _start(settings: Settings) -> Part:
    return Part(
        f"start of a process, ms: layers {settings.layers}, vocabulary {VOCABULARY}",
        {"milliseconds": "sample, to a character", "first_step_milliseconds": "train, to a step"},
        [
            Case(
                {"units": units},
                [Workload(name, _network(units, settings)) for name in ("first_character", "first_step")],
            )
            for units in settings.units
        ],
    )


def _tokenize(settings: Settings) -> Part:
    return Part(
        f"tokenize, {settings.megabytes:g} MB of text",
        {"megabytes_per_second": "MB/s", "peak_megabytes": "peak memory, MB"},
        [
            Case({"text": text}, [Workload("tokenize", {"text": text, "megabytes": settings.megabytes})])
            for text in ("ascii", "mixed")
        ],
    )


PARTS: Mapping[str, Callable[[Settings], Part]] = {
    "training": _training,
    "profile": _profile,
    "sampling": _sampling,
    "start": _start,
    "tokenize": _tokenize,
}


def _peak(precision: str) -> Workload:
    return Workload("peak_product", {"precision": precision})


def _network(units: int, settings: Settings) -> dict[str, int]:
    return {"units": units, "layers": settings.layers, "vocabulary": VOCABULARY}
