"""Meanings of unknown names of settings and options."""

from pydantic import BaseModel

from charlm.config.schema import Config, section_of, walk
from charlm.wording import nearest

NO_GPU = "there is no training on a graphics card"
NO_GATES = "gated cells are not included"
ALIASES = {
    "lr": "training.optimizer.learning_rate",
    "hidden": "model.units",
    "block_size": "training.sequence_length",
    "iters": "training.steps",
    "dropout": "model.layer_dropout",
    "temp": "sampling.temperature",
    "output": "--run",
    "recipe": "--config",
    "generate": "charlm sample",
    "gpu": NO_GPU,
    "lstm": NO_GATES,
    "cell": NO_GATES,
}
"""Names in other programs: the setting, option or command that they mean, or why there is none."""


def meaning(name: str, model: type[BaseModel] = Config, *, similarity: float = 0.63) -> str | None:
    """Return the meaning of an unknown name: a key, a value of ALIASES, or None if none is near.

    Args:
        name: The unknown dotted key, or the last part of a key.
        model: The config or section without this key.
        similarity: Minimum similarity of the last part, from 0 to 1; 1 = equal.

    """
    word = name.rpartition(".")[2].lower()
    if word in ALIASES:
        return ALIASES[word]
    fields = dict(walk(model))
    by_last_name = {key.rpartition(".")[2]: key for key in reversed(fields)}
    by_last_name |= {alias: meant for alias, meant in ALIASES.items() if meant in fields}
    near = nearest(word, by_last_name, similarity=similarity)
    meant = nearest(name, fields, similarity=0.85) or by_last_name.get(near or "")
    section = section_of(fields[meant]) if meant else None
    if section is not None and "name" in section.model_fields:
        return f"{meant}.name"
    return meant


def as_hint(meant: str) -> str:
    """Return the meaning of an unknown name as the end of a message."""
    return meant if meant in {NO_GPU, NO_GATES} else f"did you mean {meant}?"
