"""`charlm export`: a model as files of other programs."""

from pathlib import Path
from typing import get_args

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER, json_option, run_argument
from charlm.cli.output import print_result, say
from charlm.formats import FormatName

EXAMPLES = {
    "charlm export --format html --out model.html": "the newest run as a page for writing in a browser",
    "charlm export tiny --format onnx --out model.onnx --check": "a run for ONNX, compared with charlm first",
    "charlm export --format c --out model-c": "weights and a C program, with a model card",
}


@click.command(cls=Command, examples=EXAMPLES)
@run_argument
@click.option(
    "--format",
    "format_name",
    type=click.Choice(get_args(FormatName)),
    required=True,
    help="html: a page for writing in a browser; onnx: ONNX; torch: PyTorch; keras: Keras; c: weights and a C program.",
)
@click.option(
    "--out",
    type=FOLDER,
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
def export(
    *,
    run: Path | None,
    format_name: FormatName,
    out: Path,
    check: bool,
    as_json: bool,
) -> None:
    """Write a model for another program.

    The folder that is written also has a model card, a license and the model file, which charlm reads.
    """
    from dataclasses import asdict

    from charlm.api.exporting import export
    from charlm.api.model import load

    written = export(load(run, say=say), out, format=format_name, check=check)
    if as_json:
        import json

        print_result(json.dumps({**asdict(written), "path": str(written.path)}))
        return
    is_folder = written.path.is_dir()
    sizes = [f"{name} {size:,} bytes" if is_folder else f"{size:,} bytes" for name, size in written.files.items()]
    print_result(f"{written.path}: {', '.join(sizes)}")
    if (found := written.check) is not None:
        print_result(
            f"{found.program}: the largest difference of a logit over {found.characters:,} characters is "
            f"{found.largest_difference:.2g}; at most {found.tolerance:g} is allowed"
        )
