"""An HTTP endpoint for trained models, as the OpenAI API has it, and their pages for writing."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from charlm.api.model import load
from charlm.errors import CharlmError, short_repr
from charlm.formats.web_page import export_html
from charlm.runs.folder import model_name
from charlm.serving.app import make_app
from charlm.serving.guard import check_allowed, usable_key
from charlm.serving.writing import ServedModel

DRAIN_SECONDS = 5
"""How long the server waits in the end for requests that were begun."""
BACKLOG = 2048
MAX_HEAD_BYTES = 16_384


def serve(
    runs: Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allowed_hosts: Sequence[str] = (),
    key: str | None = None,
    say: Callable[[str], object] = lambda _: None,
    announce: Callable[[str, Sequence[str]], object] = lambda url, models: None,
) -> None:
    """Answer requests until Ctrl-C or SIGTERM, then finish those that were begun. Must be called in the main thread.

    Models are read once, at the start.

    Args:
        runs: Runs or model files, or parts of the names of runs; none = the newest run under runs/.
        host: The address to listen at; anything but loopback is open to the network.
        port: 0 to 65535; 0 = any free one.
        allowed_hosts: Names by which the server may be reached, besides localhost and addresses.
        key: What requests must carry, as the key of OpenAI's clients; None = nothing.
        say: Takes a line for the user: a warning if the address is open to the network and there is no key, and errors
            in requests that were not expected.
        announce: Called with the URL and the names of the models when the server listens.

    Raises:
        CharlmError: an event loop is running in this thread, the key or an allowed name cannot occur in a request,
            there is no model, one is damaged, two have the same name, or the address is taken.

    """
    models = _load_models(runs)
    if asyncio._get_running_loop() is not None:
        raise CharlmError("serve: an event loop is running here, as in a notebook; use charlm serve in a terminal")
    key = None if key is None else usable_key(key)
    hosts = [host.lower(), *map(check_allowed, allowed_hosts)]
    with listen(host, port) as listener:
        listener.listen(BACKLOG)
        address, bound_port = listener.getsockname()[:2]
        if key is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            say(f"--host {host}: open to the network without a key; set CHARLM_API_KEY")
        announce(f"http://{f'[{address}]' if ':' in address else address}:{bound_port}", tuple(models))
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # not a line for each client that leaves
        config = uvicorn.Config(
            make_app(models, allowed_hosts=hosts, key=key, say=say),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _load_models(runs: Sequence[str | Path]) -> dict[str, ServedModel]:
    models: dict[str, ServedModel] = {}
    for run in runs or (None,):
        model = load(run)
        name = model_name(model.path)
        if name in models:
            raise CharlmError(f"{model.path}: another model is called {name} too; rename one of them")
        created = int(model.path.stat().st_mtime)
        models[name] = ServedModel(name, model.trained, created, export_html(model.trained, title=name)["index.html"])
    return models


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Args:
        host: A name or an address.
        port: 0 to 65535; 0 = any free one.

    Raises:
        CharlmError: the address does not exist on this machine, or is taken.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sends small answers at once only if a socket names its protocol; else each waits 40 ms for the client.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except UnicodeError:
        raise CharlmError(
            f"--host {short_repr(host)}: must be an address, or a name with at most 63 characters between two dots"
        ) from None
    except OSError as error:
        raise CharlmError(f"--host {host}, --port {port}: cannot listen there: {error.strerror or error}") from None
    return listener
