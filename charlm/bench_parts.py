"""What `charlm bench` compares: a table for each part of charlm, a line for each case, and who takes turns in it.

How they are measured and what is made of the figures is left to `charlm.bench`.

Axes: V vocabulary, H units.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VOCABULARY = 65
STREAMS = (1, 64)
MEGABYTES = 100.0
SPEEDS = {"limit": "limit", "charlm_to_peer": "charlm/peer", "charlm_to_limit": "charlm/limit"}
HALF_SPEEDS = {"charlm_bfloat16": "bfloat16", "bfloat16_to_peer": "bfloat16/peer"}


@dataclass(frozen=True)
class Settings:
    """What a user can choose."""

    units: tuple[int, ...]
    layers: int
    batch: int
    time: int
    rounds: int


@dataclass(frozen=True)
class Contender:
    """One function of a module of contenders, and what it is called with."""

    name: str
    arguments: Mapping[str, Any]
    module: str = "charlm.contenders"


@dataclass(frozen=True)
class Case:
    """One line of a table: what tells it from the others, and whom it compares."""

    facts: Mapping[str, int | str]
    contenders: Sequence[Contender]
    operations: int = 0
    """Operations a character, where there is a limit."""


@dataclass(frozen=True)
class Part:
    """One table."""

    title: str
    columns: Mapping[str, str]
    """The heading of each figure that is shown."""
    cases: Sequence[Case]


def count_operations(units: int, layers: int) -> int:
    """Return the operations that a character takes to predict: two for each weight of a product it goes through.

    They are the recurrent kernel of each layer [H, H], the kernel of each layer but the first [H, H], where a
    character is looked up, and that of the logits [H, V]. Training takes as many again for the gradient of what
    goes into a product, and for that of its weights.
    """
    return 2 * ((2 * layers - 1) * units**2 + units * VOCABULARY)


def _training(settings: Settings) -> Part:
    from charlm.training.runtime import multiplies_bfloat16

    shape = {"layers": settings.layers, "batch": settings.batch, "time": settings.time, "vocabulary": VOCABULARY}
    names = ["charlm", "keras", "torch"] if _has_torch() else ["charlm", "keras"]
    module = "charlm.training.contenders"
    has_bfloat16 = multiplies_bfloat16()

    def case(units: int) -> Case:
        """Compare the trainers at one width."""
        product = {"rows": settings.batch, "units": units}
        contenders = [Contender(name, {"units": units, **shape}, module) for name in names]
        if has_bfloat16:
            contenders.insert(1, Contender("charlm", {"units": units, **shape, "precision": "bfloat16"}, module))
        contenders += [Contender("tensorflow_product", product, module), Contender("numpy_product", product)]
        return Case({"units": units}, contenders, 3 * count_operations(units, settings.layers))

    return Part(
        "training, characters/s: " + ", ".join(f"{name} {value}" for name, value in shape.items()),
        {"charlm": "charlm", "keras": "Keras", "torch": "PyTorch", **SPEEDS, **HALF_SPEEDS},
        [case(units) for units in settings.units],
    )


def _sampling(settings: Settings) -> Part:
    def case(units: int, streams: int) -> Case:
        """Compare the samplers at one width, for so many texts at once."""
        network = {**_network(units, settings), "streams": streams}
        contenders = [
            Contender("generate", network),
            Contender("numpy_loop", network),
            Contender("numpy_product", {"rows": streams, "units": units}),
        ]
        return Case({"units": units, "streams": streams}, contenders, count_operations(units, settings.layers))

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
                [Contender(name, _network(units, settings)) for name in ("first_character", "first_step")],
            )
            for units in settings.units
        ],
    )


def _tokenize(settings: Settings) -> Part:
    return Part(
        f"tokenize, {MEGABYTES:g} MB of text",
        {"megabytes_per_second": "MB/s", "peak_megabytes": "peak memory, MB"},
        [
            Case({"text": text}, [Contender("tokenize", {"text": text, "megabytes": MEGABYTES})])
            for text in ("ascii", "mixed")
        ],
    )


PARTS: Mapping[str, Callable[[Settings], Part]] = {
    "training": _training,
    "sampling": _sampling,
    "start": _start,
    "tokenize": _tokenize,
}


def _network(units: int, settings: Settings) -> dict[str, int]:
    return {"units": units, "layers": settings.layers, "vocabulary": VOCABULARY}


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None
