"""`charlm completion`: the script with which a shell completes commands, options and values."""

import click

from charlm.cli.command import Command
from charlm.cli.output import print_result

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = {
    "charlm completion bash >> ~/.bashrc": "for every bash that starts from now on",
    "charlm completion zsh >> ~/.zshrc": "for zsh, after the line with compinit",
    "charlm completion fish > ~/.config/fish/completions/charlm.fish": "for fish",
}


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS), help="bash (4.4 or newer), zsh or fish.")
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the script with which a shell completes charlm.

    It completes commands, options, recipes, the keys of settings after -s, and runs. A key takes a tenth of a second:
    nothing heavy is imported.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    print_result(*found(context.find_root().command, {}, "charlm", "_CHARLM_COMPLETE").source().splitlines())
