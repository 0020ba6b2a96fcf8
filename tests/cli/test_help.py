"""The layout of help: sections, numbers, examples."""

import click
from click.testing import CliRunner

from charlm.cli.command import Command, Commands


@click.command(
    cls=Command,
    sections={"Size": "width height"},
    examples={"draw --width 3 --height 4 --colour red --colour blue --title 'A long title of a picture'": "draw it"},
)
@click.option("--colour", multiple=True, help="Colours of the picture.")
@click.option("--height", type=float, help="Height of the picture.")
@click.option("--width", type=click.IntRange(1, 9), help="Width of the picture.")
def draw(**_: object) -> None:
    """Draw a picture."""


def help_of(command: click.Command, *arguments: str) -> list[str]:
    return CliRunner().invoke(command, [*arguments, "--help"]).stdout.splitlines()


def test_options_are_in_their_sections_in_the_order_of_the_section_and_the_rest_comes_last() -> None:
    lines = help_of(draw)
    firsts = [line.split()[0] for line in lines if line.startswith(("Size:", "Other options:", "  --", "  -h"))]
    assert firsts == ["Size:", "--width", "--height", "Other", "--colour", "-h,"]


def test_a_command_without_sections_has_one_list_of_options() -> None:
    assert "Options:" in help_of(Command("call", params=[click.Option(["--x"], help="Some value.")]))


def test_numbers_are_called_n_and_x() -> None:
    text = "\n".join(help_of(draw))
    assert "--width N " in text
    assert "--height X " in text
    assert "--colour TEXT " in text


def test_an_example_is_one_line_however_long_and_what_it_does_is_below() -> None:
    lines = help_of(draw)
    (example,) = draw.examples
    place = lines.index(f"  {example}")
    assert lines[place - 1 : place + 2] == ["Examples:", f"  {example}", "    draw it"]


def test_the_help_of_a_group_lists_its_commands_before_its_options() -> None:
    lines = help_of(Commands("group", commands={"draw": draw}))
    assert lines.index("Commands:") < lines.index("Options:")
    assert "  draw  Draw a picture." in lines


def test_an_unknown_command_is_answered_with_similar_ones() -> None:
    command = CliRunner().invoke(Commands("group", commands={"draw": draw}), ["drew"])
    assert command.stderr.endswith("Error: No such command 'drew'. Did you mean 'draw'?\n")
