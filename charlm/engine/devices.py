"""The devices of this machine that compute the parts of a batch."""

import tensorflow as tf

from charlm.errors import CharlmError


def devices_for(setting: str) -> tuple[str, ...]:
    """Return the names of the devices that compute the parts: all graphics cards, or none for the processor.

    Args:
        setting: cpu or gpu, as `training.device` has it.

    Raises:
        CharlmError: TensorFlow has no graphics card; or it has some, and they would compute in place of the processor.

    """
    cards = tuple(card.name for card in tf.config.list_logical_devices("GPU"))
    if setting == "gpu" and not cards:
        raise CharlmError(
            "training.device: found gpu; must be cpu, as TensorFlow has no graphics card in this process: there is "
            "none, its driver or CUDA is missing, or the process has trained on the processor before"
        )
    if setting == "cpu" and cards:
        raise CharlmError("training.device: found cpu; must be gpu in this process, which has trained on gpu before")
    return cards
