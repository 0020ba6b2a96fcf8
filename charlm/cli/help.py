"""The layout of help: options in sections, numbers as N and X, and examples at the end."""

from collections.abc import Mapping
from typing import Any

import click
from click.types import FloatParamType, IntParamType


class HelpPage(click.Command):
    """A command whose help has its options in sections and ends with examples.

    Args:
        sections: The names of parameters, separated by spaces, by the title of their section. Options that no section
            names come last.
        examples: What a command line does, by the command line.

    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, str] | None = None,
        examples: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self.sections, self.examples = sections or {}, examples or {}
        for option in self.params:
            if isinstance(option.type, IntParamType):
                option.metavar = option.metavar or "N"
            elif isinstance(option.type, FloatParamType):
                option.metavar = option.metavar or "X"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each section under its title."""
        rest = {option.name: option for option in self.get_params(ctx) if isinstance(option, click.Option)}
        sections = {title: [rest.pop(name) for name in names.split()] for title, names in self.sections.items()}
        sections["Other options" if sections else "Options"] = list(rest.values())
        for title, options in sections.items():
            records = [option.get_help_record(ctx) for option in options]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each command line unbroken above what it does."""
        if self.examples:
            with formatter.section("Examples"):
                for command, meaning in self.examples.items():
                    formatter.write(f"{'':>{formatter.current_indent}}{command}\n")
                    with formatter.indentation():
                        formatter.write_text(meaning)
