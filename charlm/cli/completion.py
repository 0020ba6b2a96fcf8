"""`charlm completion`: the script with which a shell completes commands, options and values."""

import click

from charlm.cli.command import Command
from charlm.cli.output import print_result

SHELLS = ("bash", "zsh", "fish", "powershell")
EXAMPLES = {
    "charlm completion bash >> ~/.bashrc": "for every bash that starts from now on",
    "charlm completion zsh >> ~/.zshrc": "for zsh, after the line with compinit",
    "charlm completion fish > ~/.config/fish/completions/charlm.fish": "for fish",
    "charlm completion powershell >> $PROFILE": "for PowerShell",
}


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS), help="bash (4.4 or newer), zsh, fish or powershell.")
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the script with which a shell completes charlm.

    It completes commands, options, recipes, settings after -s, their values, and runs. A key takes a tenth of a second:
    nothing heavy is imported.
    """
    from charlm.cli.shells import completion_script

    print_result(*completion_script(context.find_root().command, shell).splitlines())
