"""`charlm import`: a network of Keras or PyTorch as a bundle. The module cannot have the name of the keyword."""

from pathlib import Path
from typing import Literal

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER
from charlm.cli.output import print_result

EXAMPLES = {
    "charlm import model.keras --vocabulary characters.json --out model": "a network of Keras",
    "charlm import rnn.safetensors --vocabulary characters.json --out model --activation relu": "one of PyTorch",
    "charlm sample model": "write text from it",
}


@click.command("import", cls=Command, examples=EXAMPLES)
@click.argument(
    "file",
    type=FOLDER,
    help="A .keras file of SimpleRNN layers, or a .safetensors file with the weights of a torch.nn.RNN, an output "
    "layer and, if there is one, an embedding.",
)
@click.option(
    "--vocabulary",
    type=FOLDER,
    required=True,
    help="JSON file with the characters: a vocabulary.json, a list in the order of the ids, or ids by character.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder of the bundle to write; it must be missing or empty.")
@click.option(
    "--activation",
    type=click.Choice(["tanh", "relu"]),
    default="tanh",
    help="The nonlinearity of a torch.nn.RNN, which its weights do not tell. A .keras file does.",
)
def import_(*, file: Path, vocabulary: Path, out: Path, activation: Literal["tanh", "relu"]) -> None:
    """Turn a network of another program into a bundle.

    Nothing in the file is run; pickles (.pt, .pth) are refused.
    """
    import shlex

    from charlm.api.interchange import import_model

    model = import_model(file, out, vocabulary=vocabulary, activation=activation)
    shape = model.bundle.architecture
    size = f"{shape.layers} x {shape.units} units, {shape.vocabulary_size} ids"
    print_result(f"{out}: {size}; write text with: charlm sample {shlex.quote(str(out))}")
