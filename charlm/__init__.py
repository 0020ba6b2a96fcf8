"""Character-level SimpleRNN language models: from a text file to a trained model and new text.

    import charlm

    outcome = charlm.train("mytext.txt")
    model = charlm.load(outcome.folder)
    print(model.generate("Once upon a time", length=200))

`import charlm` is fast, because each name is imported on first use. Every error that a caller can
fix is a `CharlmError`.
"""

from typing import TYPE_CHECKING, Any

from charlm.errors import CharlmError
from charlm.version import __version__

if TYPE_CHECKING:
    from charlm import events
    from charlm.api.evaluation import evaluate, score_lines
    from charlm.api.model import Model, load
    from charlm.api.training import plan, resume, tokenize, train
    from charlm.exports.exporting import export
    from charlm.inspection.inspecting import inspect, inspect_runs
    from charlm.runs.summary import list_runs
    from charlm.serving.server import serve


__all__ = [
    "CharlmError",
    "Model",
    "__version__",
    "evaluate",
    "events",
    "export",
    "inspect",
    "inspect_runs",
    "list_runs",
    "load",
    "plan",
    "resume",
    "score_lines",
    "serve",
    "tokenize",
    "train",
]

_MODULES = {
    **dict.fromkeys(("Model", "load"), "charlm.api.model"),
    **dict.fromkeys(("evaluate", "score_lines"), "charlm.api.evaluation"),
    **dict.fromkeys(("plan", "resume", "tokenize", "train"), "charlm.api.training"),
    "export": "charlm.exports.exporting",
    **dict.fromkeys(("inspect", "inspect_runs"), "charlm.inspection.inspecting"),
    "list_runs": "charlm.runs.summary",
    "serve": "charlm.serving.server",
}

if not TYPE_CHECKING:  # with it, a type checker would accept every name

    def __getattr__(name: str) -> Any:
        """Return a name of the library, imported on first use."""
        from importlib import import_module

        if name == "events":
            return import_module("charlm.events")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        """Return all names, including names that are not imported yet."""
        return sorted({*globals(), *__all__})
