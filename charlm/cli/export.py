"""`charlm export`: a model as files of other programs."""

from dataclasses import asdict
from typing import Any, get_args

import click

from charlm.cli.command import Command
from charlm.cli.options import PATH, json_option, model_argument
from charlm.cli.output import print_json, print_result, say
from charlm.formats import FormatName


@click.command(cls=Command)
@model_argument
@click.option(
    "--format",
    type=click.Choice(get_args(FormatName)),
    required=True,
    help="html: a page for writing in a browser; onnx: ONNX; torch: PyTorch; keras: Keras; c: weights and a C program.",
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="Folder to write, missing or empty; or one file, FILE.html, FILE.onnx or FILE.keras, which is replaced.",
)
@click.option(
    "--check",
    is_flag=True,
    help="First let the other program, which must be installed, read a text; fail if its logits differ from those of "
    "charlm by more than 1e-4.",
)
@json_option
def export(*, as_json: bool, **options: Any) -> None:
    """Write a model for another program.

    The folder that is written also has a model card, a license and the model file, which charlm reads.

    Examples:
      charlm export --format html --out model.html
        the newest run as a page for writing in a browser
      charlm export tiny --format onnx --out model.onnx --check
        a run for ONNX, compared with charlm first
      charlm export --format c --out model-c
        weights and a C program, with a model card

    """
    from charlm.api.exporting import export

    written = export(**options, say=say)
    if as_json:
        print_json(asdict(written))
        return
    is_folder = written.path.is_dir()
    sizes = [f"{name} {size:,} bytes" if is_folder else f"{size:,} bytes" for name, size in written.files.items()]
    print_result(f"{written.path}: {', '.join(sizes)}")
    if (found := written.check) is not None:
        print_result(
            f"{found.program}: the largest difference of a logit over {found.characters:,} characters is "
            f"{found.largest_difference:.2g}; at most {found.tolerance:g} is allowed"
        )
