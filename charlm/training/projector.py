"""The files that TensorBoard's projector reads: a point for each character, with a label that can be read."""

from collections.abc import Sequence
from pathlib import Path

from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from charlm.network.rnn import Floats
from charlm.storage.atomic import write_file
from charlm.text.vocabulary import Vocabulary

CONFIG, LABELS, POINTS = "projector_config.pbtxt", "characters.labels.tsv", "characters.points.tsv"
MAX_POINTS = 2000
"""The projector becomes slow with more; the first ids are shown."""
READABLE = {
    " ": "\N{OPEN BOX}",
    "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
    "\t": "\N{RIGHTWARDS ARROW TO BAR}",
    "\r": "\N{LEFTWARDS ARROW}",
}
"""Labels of characters that would not be seen."""


def label_characters(vocabulary: Vocabulary) -> list[str]:
    """Return a label for each id, none of them blank: a space is an open box, a line break an arrow."""
    reserved = {vocabulary.unknown_id: "unknown", vocabulary.end_of_text_id: "end of text"}
    return [
        reserved.get(index, "reserved") if character is None else _label(character)
        for index, character in enumerate(vocabulary.characters)
    ]


def _label(character: str) -> str:
    if character in READABLE:
        return READABLE[character]
    return character if character.isprintable() and character.strip() else f"U+{ord(character):04X}"


def write_config(folder: Path, vocabulary: Vocabulary, *, name: str, width: int) -> None:
    """Write the labels, and the file that tells the projector where everything is.

    Args:
        folder: The folder of the event files, which exists.
        vocabulary: The characters.
        name: What the points are called.
        width: The number of coordinates of each.

    Raises:
        CharlmError: a file cannot be written, or is a link.

    """
    labels = label_characters(vocabulary)[:MAX_POINTS]
    config = ProjectorConfig()
    config.embeddings.add(tensor_name=name, tensor_path=POINTS, tensor_shape=[len(labels), width], metadata_path=LABELS)
    write_file(folder / LABELS, "".join(f"{label}\n" for label in labels).encode())
    write_file(folder / CONFIG, str(config).encode())  # the text form of the message


def write_points(folder: Path, rows: Floats) -> None:
    """Write the points, replacing those before.

    Args:
        folder: The folder of the event files.
        rows: float32 [V, width].

    Raises:
        CharlmError: the file cannot be written, or is a link.

    """
    lines: Sequence[Sequence[float]] = rows[:MAX_POINTS].tolist()
    write_file(folder / POINTS, "".join("\t".join(map("{:.5g}".format, line)) + "\n" for line in lines).encode())
