"""The script with which a shell completes charlm: click's own, and what KEY=VALUE needs.

No blank may follow `KEY=`, and bash takes the equals sign for a word of its own. fish adds no blank there by itself.
"""

import click
from click.shell_completion import get_completion_class

_BASH = {
    '    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD ': """    local -a words=()
    local word before=""
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if ((${#words[@]})) && [[ $word == =* || ${words[-1]} == *= ]]; then
            words[-1]+=$word
            before="${words[-1]%%=*}="
        else
            words+=("$word")
            before=""
        fi
    done
    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) """,
    "COMPREPLY+=($value)": 'COMPREPLY+=("${value#"$before"}")',
    "    return 0\n": "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n    return 0\n",
}
_ZSH = {
    "in ${response}": 'in "${(@)response}"',  # the value beside files is empty, and would be left out
    "    if [ -n ": """    local -a suffix
    [[ "${response[2]}" == *= ]] && suffix=(-S '')
    if [ -n """,
    "completions_with_descriptions -U": 'completions_with_descriptions -U "${suffix[@]}"',
}


def completion_script(command: click.Command, *, shell: str) -> str:
    """Return the script for a shell: bash, zsh or fish."""
    found = get_completion_class(shell)
    assert found is not None
    script = found(command, {}, "charlm", "_CHARLM_COMPLETE").source()
    for part, own in {"bash": _BASH, "zsh": _ZSH}.get(shell, {}).items():
        assert part in script, "another version of click"
        script = script.replace(part, own, 1)
    return script
