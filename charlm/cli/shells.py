"""The scripts for bash and zsh that know settings; those of click serve fish and PowerShell.

A value such as `model.units=` is not followed by a space. bash splits the word before the cursor at `=`, zsh does not.
"""

import os
from typing import Any

import click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

PROGRAM = "charlm"
VARIABLE = "_CHARLM_COMPLETE"
"""The environment variable by which click knows that a shell asks for completions."""

BASH = """\
%(complete_func)s() {
    local answer
    COMPREPLY=()
    while IFS= read -r answer; do
        case $answer in
            '') ;;
            file) compopt -o default ;;
            *=) compopt -o nospace; COMPREPLY+=("$answer") ;;
            *) COMPREPLY+=("$answer") ;;
        esac
    done < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" %(complete_var)s=bash_complete "$1" 2> /dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local kind value help
    local -a plain described open opened
    while IFS= read -r kind && IFS= read -r value && IFS= read -r help; do
        case $kind:$value in
            file:*) _files ;;
            *=) open+=("$value"); opened+=("$value  -- $help") ;;
            *) plain+=("$value"); described+=("$value  -- $help") ;;
        esac
    done < <(COMP_WORDS="${(F)words[1,CURRENT]}" COMP_CWORD=$((CURRENT - 1)) \\
        %(complete_var)s=zsh_complete ${words[1]} 2> /dev/null)
    (( $#open )) && compadd -l -S '' -d opened -a open
    (( $#plain )) && compadd -l -d described -a plain
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class Bash(ShellComplete):
    """bash, which gives the whole line, and takes what replaces the word after the last `=` or `:`."""

    name = "bash"
    source_template = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, without the name of the program, and the one at the cursor."""
        line = os.fsencode(os.environ["COMP_LINE"])[: int(os.environ["COMP_POINT"])].decode("utf-8", "replace")
        words = split_arg_string(line)
        self.incomplete = words.pop() if words and not line[-1].isspace() else ""
        return words[1:], self.incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a line for the script: a value, or the word file."""
        if item.type == "file":
            return "file"
        kept = max(self.incomplete.rfind(mark) for mark in "=:") + 1
        return str(item.value)[kept:]


class Zsh(ZshComplete):
    """zsh, with the help of each value beside it."""

    source_template = ZSH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return three lines for the script: what the value is, the value and its help."""
        return f"{item.type}\n{item.value}\n{(item.help or '').partition('.')[0]}"


def register_shells() -> None:
    """Put the classes for bash and zsh in the place of click's."""
    for shell in (Bash, Zsh):
        add_completion_class(shell)


def completion_script(group: click.Command, shell: str) -> str:
    """Return the script with which a shell completes the commands of a group.

    Args:
        group: The group of all commands.
        shell: bash, zsh, fish or powershell.

    """
    register_shells()
    found = get_completion_class(shell)
    assert found is not None
    return found(group, {}, PROGRAM, VARIABLE).source()
