"""An HTTP endpoint for trained models, as the OpenAI API has it, and their pages for writing."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from charlm.api.model import Model, load
from charlm.errors import CharlmError
from charlm.formats.web_page import export_html
from charlm.network.architecture import MODEL
from charlm.runs.folder import model_name
from charlm.sampling.batch import Batch
from charlm.sampling.generation import forbidden_ids
from charlm.serving.jobs import ServedModel
from charlm.serving.requests import ServerLimits

INSTALL = "pip install '.[serve]'"
Announce = Callable[[str, Sequence[str]], object]


def serve(
    runs: Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServerLimits | None = None,
    allowed_hosts: Sequence[str] = (),
    key: str | None = None,
    say: Callable[[str], object] = lambda _: None,
    announce: Announce = lambda url, models: None,
) -> None:
    """Answer requests until Ctrl-C or SIGTERM, then finish those that were begun. Must be called in the main thread.

    Models are read once, at the start.

    Args:
        runs: Runs or bundle folders, or parts of the names of runs; none = the newest run under runs/.
        host: The address to listen at; anything but loopback is open to the network.
        port: 0 to 65535; 0 = any free one.
        limits: What is bounded; None = the defaults.
        allowed_hosts: Names by which the server may be reached, besides localhost and addresses.
        key: What requests must carry, as the key of OpenAI's clients; None = nothing.
        say: Takes a line for the user, from any thread: a warning if the address is open to the network and there is
            no key, and errors in requests that were not expected.
        announce: Called with the URL and the names of the models when the server listens.

    Raises:
        CharlmError: starlette or uvicorn is missing, an event loop is running in this thread, the key or an allowed
            name cannot occur in a request, there is no model, one is damaged, two have the same name, or the address is
            taken; or writing has failed later.

    """
    bounds = limits or ServerLimits()
    models = _load_models(runs)
    try:
        from charlm.serving.guard import check_allowed, usable_key
        from charlm.serving.server import is_loopback, listen, run_server, url_of
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise CharlmError(f"charlm serve needs {package}, which is not installed: {INSTALL}") from None
    if asyncio._get_running_loop() is not None:
        raise CharlmError("serve: an event loop is running here, as in a notebook; use charlm serve in a terminal")
    key = None if key is None else usable_key(key)
    hosts = [host.lower(), *map(check_allowed, allowed_hosts)]
    served = {
        name: ServedModel(
            name,
            model.vocabulary,
            created=int((model.folder / MODEL).stat().st_mtime),
            page=export_html(model.bundle, title=name)["index.html"],
        )
        for name, model in models.items()
    }
    batches = {name: _batch(model, bounds.slots) for name, model in models.items()}
    listener = listen(host, port)
    with listener:
        listener.listen(2048)
        if key is None and not is_loopback(listener):
            say(f"--host {host}: open to the network without a key; set CHARLM_API_KEY")
        announce(url_of(listener), tuple(served))
        run_server(served, batches, listener, limits=bounds, allowed_hosts=hosts, key=key, say=say)


def _load_models(runs: Sequence[str | Path]) -> dict[str, Model]:
    models: dict[str, Model] = {}
    for run in runs or (None,):
        model = load(run)
        name = model_name(model.folder)
        if name in models:
            raise CharlmError(f"{model.folder}: another model is called {name} too; rename one of the folders")
        models[name] = model
    return models


def _batch(model: Model, slots: int) -> Batch:
    try:
        return Batch(
            model.bundle.parameters,
            slots=slots,
            forbidden=forbidden_ids(model.vocabulary),
            end_id=model.vocabulary.end_of_text_id,
        )
    except CharlmError as error:
        raise CharlmError(f"{model.folder}: {error}") from None
