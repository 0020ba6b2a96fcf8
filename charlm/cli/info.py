"""`charlm info`: versions, machine and paths, to paste into an issue."""

import json

import click

from charlm.cli.command import Command
from charlm.cli.options import json_option
from charlm.cli.output import print_result
from charlm.cli.table import align

EXAMPLES = {
    "charlm info": "what a report of a problem should have",
    "charlm info --json": "the same for a script, the memory in bytes",
}


@click.command(cls=Command, examples=EXAMPLES)
@json_option
def info(*, as_json: bool) -> None:
    """Show versions, machine and paths, to paste into an issue.

    Nothing is sent anywhere, and TensorFlow is not imported. A package that is not installed is shown as a dash.
    """
    from charlm.api.installation import describe_installation

    facts = describe_installation()
    if as_json:
        print_result(json.dumps(facts))
    else:
        rows = [(name.replace("_", " "), _show(name, value)) for name, value in facts.items()]
        print_result(*align(rows, text_columns={0, 1}))


def _show(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name == "memory_bytes":
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
