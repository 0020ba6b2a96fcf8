"""The state after a text, and the value of one unit after each of its characters: what the page colours the text by."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Parameters, State, read_outputs
from charlm.sampling.generation import encode_prompt
from charlm.serving.requests import RequestError, StatesRequest
from charlm.text.vocabulary import Vocabulary

SLICE_CHARACTERS = 256  # are read at once, before another request has its turn


async def read_states(
    parameters: Parameters, ids: NDArray[np.int64], wanted: StatesRequest, vocabulary: Vocabulary, *, turn: asyncio.Lock
) -> dict[str, Any]:
    """Read a text from the zero state, in a thread.

    Args:
        parameters: The weights.
        ids: The prompt of the request, [T]; T may be 0: then the state is that before a new text.
        wanted: Names the unit.
        vocabulary: The characters by id.
        turn: Held while a part of the text is read, so that all requests together take one thread.

    Returns:
        `state`, a list of the values of the units for each layer, and `values`, T numbers; none if no unit is wanted.

    Raises:
        RequestError: there is no such unit (400), or the weights are not usable (422).

    """
    sizes = [layer.units for layer in parameters.layers]
    if wanted.layer >= len(sizes) or (wanted.unit or 0) >= sizes[wanted.layer]:
        message = f"found layer {wanted.layer}, unit {wanted.unit or 0}; must be below {len(sizes)} and {sizes[0]}"
        raise RequestError(400, f"unit: {message}", param="unit")
    read = ids if len(ids) else encode_prompt(vocabulary, "")
    state: State = tuple(output[0] for output in parameters.zero_state(1))
    values: list[float] = []
    for start in range(0, len(read), SLICE_CHARACTERS):
        async with turn:
            part = read[start : start + SLICE_CHARACTERS]
            outputs = await asyncio.to_thread(_read, parameters, part, state, off=wanted.units_off)
        state = tuple(output[-1] for output in outputs)
        if not all(np.isfinite(output).all() for output in outputs):
            raise RequestError(422, "the outputs of the network are not finite here", code="not_finite")
        if wanted.unit is not None:
            values += outputs[wanted.layer][:, wanted.unit].tolist()
    return {"state": [output.tolist() for output in state], "values": values[: len(ids)]}


def _read(parameters: Parameters, ids: NDArray[np.int64], state: State, *, off: Sequence[int]) -> State:
    """Return the outputs of each layer, [T, H], 0 for the units that are off."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not off:
            return read_outputs(parameters, ids, state)
        outputs = read_outputs(parameters.without_units(off), ids, state)
        return tuple(np.where(on, output, 0) for output, on in zip(outputs, parameters.units_on(off), strict=True))
