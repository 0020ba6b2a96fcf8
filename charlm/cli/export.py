"""`charlm export` and `charlm import`: a model as files of other programs, and back."""

from pathlib import Path
from typing import Literal

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER, checkpoint_option, json_option, run_argument
from charlm.cli.output import print_result

EXAMPLES = {
    "charlm export --format html --out model.html": "the newest run as a page that writes text in a browser",
    "charlm export tiny --format onnx --out model.onnx --check": "a run for ONNX, compared with charlm first",
    "charlm export --format c --out model-c": "weights and a C program, with a model card",
}


@click.command(cls=Command, examples=EXAMPLES)
@run_argument
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["html", "onnx", "torch", "keras", "c"]),
    required=True,
    help="html: a page that writes text in a browser; onnx: ONNX; torch: PyTorch; keras: Keras; c: weights and a C "
    "program.",
)
@click.option(
    "--out",
    type=FOLDER,
    required=True,
    help="Folder to write, missing or empty; or one file, FILE.html, FILE.onnx or FILE.keras.",
)
@click.option(
    "--check",
    is_flag=True,
    help="First let the other program, which must be installed, read a text; fail if its logits differ from those of "
    "charlm by more than 1e-4.",
)
@checkpoint_option
@json_option
def export(
    *,
    run: Path | None,
    format_name: Literal["html", "onnx", "torch", "keras", "c"],
    out: Path,
    check: bool,
    checkpoint: Literal["best", "last"],
    as_json: bool,
) -> None:
    """Write a model for another program.

    The folder that is written also has a model card, a license and the bundle, so that charlm can read it.
    """
    from dataclasses import asdict

    from charlm.api.interchange import export
    from charlm.api.model import load

    written = export(load(run, checkpoint=checkpoint), out, format=format_name, check=check)
    if as_json:
        import json

        print_result(json.dumps({**asdict(written), "path": str(written.path)}))
        return
    sizes = ", ".join(f"{name} {size:,} bytes" for name, size in written.files.items())
    print_result(f"{written.path}: {sizes}")
    if (found := written.check) is not None:
        print_result(
            f"{found.program}: the largest difference of a logit over {found.characters:,} characters is "
            f"{found.largest_difference:.2g}; at most {found.tolerance:g} is allowed"
        )


IMPORT_EXAMPLES = {
    "charlm import model.keras --vocabulary characters.json --out model": "a network of Keras",
    "charlm import rnn.safetensors --vocabulary characters.json --out model --activation relu": "one of PyTorch",
    "charlm sample model": "write text from it",
}


@click.command("import", cls=Command, examples=IMPORT_EXAMPLES)
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
