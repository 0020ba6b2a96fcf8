"""`charlm serve`: an OpenAI-compatible endpoint and pages for writing."""

import os
from collections.abc import Sequence
from typing import Any

import click

from charlm.cli.command import Command
from charlm.cli.options import host_option, models_argument, port_option
from charlm.cli.output import print_result, say
from charlm.errors import CharlmError


@click.command(cls=Command)
@models_argument
@host_option
@port_option(8000)
@click.option(
    *("--allow-host", "allowed_hosts"),
    multiple=True,
    metavar="NAME",
    help="Name by which the server may be reached, besides localhost and addresses; can be repeated.",
)
def serve(**options: Any) -> None:
    """Serve models at an OpenAI-compatible endpoint, and at / the page that `charlm export --format html` writes.

    The pages of further models are at /NAME. The URL is printed when the server listens. Requests must carry the key in
    the variable CHARLM_API_KEY, if there is one. Ctrl-C or SIGTERM ends it, after the answers that were begun.

    Examples:
      charlm serve
        the newest run at http://127.0.0.1:8000
      charlm serve small large --port 0
        two models, at any free port
      charlm serve --host 0.0.0.0
        open to the network, for those who have the key in the variable CHARLM_API_KEY

    """
    from charlm.hardware import limit_product_threads

    limit_product_threads(1)  # before NumPy is imported; the other cores have the HTTP work
    try:
        from charlm.serving import server
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise CharlmError(f"charlm serve needs {package}, which is not installed: pip install '.[serve]'") from None
    key = os.environ.get("CHARLM_API_KEY") or None

    def announce(url: str, models: Sequence[str]) -> None:
        """Say where the server listens; a browser cannot send a key."""
        page = "" if key else f" and, for a browser, at {url}"
        say(f"serving {', '.join(models)} at {url}/v1{page}; Ctrl-C ends it")
        print_result(url)

    server.serve(**options, key=key, say=say, announce=announce)
