"""The README.md of an export.

A model file is untrusted, so nothing in it may become Markdown or HTML: its texts and its name are
in a code block whose fence is longer than any row of backticks in them.
"""

import re

from charlm import __version__
from charlm.config.file import dump_yaml
from charlm.evaluation.scoring import bits
from charlm.network.model_file import TrainedModel
from charlm.runs.summary import known_score, scored_characters
from charlm.wording import escape_controls

LICENSE = "LICENSE"
MODEL_FILE = "model.safetensors"
"""Name of the model file in an export, so that charlm can read the folder too."""


def summarize(model: TrainedModel) -> str:
    """Return a description of a model in one sentence."""
    shape = model.architecture
    layers = "layer" if shape.layers == 1 else "layers"
    parts = [
        f"A SimpleRNN of {shape.layers} {layers} of {shape.units} units",
        f"{shape.size:,} weights",
        f"{len(model.vocabulary):,} characters",
    ]
    description = ", ".join(parts)
    nats = known_score(model.facts)
    if nats is None:
        return f"{description}."
    score = f"{nats:.2f} nats ({bits(nats):.2f} bits) per character"
    return f"{description}; {score} on {_measured_on(model)}."


def _measured_on(model: TrainedModel) -> str:
    """Return the text on which the score in a model file was measured."""
    characters = scored_characters(model.facts)
    return "unseen text" if characters is None else f"{characters:,} characters of unseen text"


def readme(model: TrainedModel, *, title: str, usage: str) -> str:
    """Return the README.md of an export.

    Args:
        model: The model.
        title: Name of the model, for the user.
        usage: Instructions in Markdown.

    """
    settings = f"# {title}\n{dump_yaml(model.config)}"
    return f"""# A character-level language model

{summarize(model)} Exported by charlm {__version__}.

## Use

{usage}
`charlm sample {MODEL_FILE}` also generates text, and `charlm.load` loads the model in Python.

## Settings

{fenced(settings, "yaml")}

## License

The code in this folder is under the MIT license, see `{LICENSE}`. The training text may have other
terms: if you publish the model, state its license here.
"""


def fenced(text: str, language: str) -> str:
    """Return a code block with a fence that is longer than any row of backticks in the text."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    shown = escape_controls(text, keep="\n").rstrip("\n")
    return f"{fence}{language}\n{shown}\n{fence}"
