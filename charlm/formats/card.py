"""The model card of an export.

A model file is untrusted, so nothing in it may become Markdown or HTML: texts are in code blocks
with fences longer than any row of backticks in them, and names are escaped.
"""

import re
from collections.abc import Iterable

from charlm import __version__
from charlm.config.file import dump_yaml
from charlm.evaluation.scoring import bits
from charlm.network.model_file import TrainedModel
from charlm.runs.summary import known_score, scored_characters
from charlm.wording import escape_controls, listed

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


def model_card(
    model: TrainedModel, *, title: str, program: str, usage: str, names: Iterable[str]
) -> str:
    """Return the README.md of an export, starting with metadata for model hubs.

    Args:
        model: The model.
        title: Name of the model, for the user.
        program: Program that reads the export.
        usage: Instructions in Markdown.
        names: Names of the files of the export.

    """
    files = listed((f"`{name}`" for name in names), "and")
    nats = known_score(model.facts)
    if nats is None:
        score = "Unknown: the model file has no score on a validation text."
    else:
        score = f"{nats:.4f} nats per character ({bits(nats):.4f} bits) on {_measured_on(model)}."
    settings = dump_yaml(model.config)
    command = "charlm train TEXT -c settings.yaml"
    if re.search(r"^  initial_weights: '?\w{64}", settings, re.MULTILINE):
        command += " --init MODEL"
    exported = f"exported by charlm {__version__} for {program}"
    parts = [
        _HEAD,
        f"# {escape_markdown(title)}",
        f"A character-level language model, {exported}. {summarize(model)}",
        "## Use",
        usage,
        f"The export is {files}. `{MODEL_FILE}` is the model file of charlm: `charlm sample "
        f"{MODEL_FILE}` generates text, and `charlm.load` loads it in Python.",
        "## Score",
        score,
        "## Training",
        f"```sh\n{command}\n```",
        "The settings, `settings.yaml`:",
        fenced(settings, "yaml"),
        "## License",
        f"The code in this folder is under the MIT license, see `{LICENSE}`. The training text may "
        "have other terms: if you publish the model, state its license at the top of this page.",
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = (
    "---\nlibrary_name: charlm\npipeline_tag: text-generation\ntags:\n- rnn\n- character-level\n---"
)


def escape_markdown(text: str) -> str:
    """Return a text for a line of Markdown, with markup and control characters escaped."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|&~$-])", r"\\\1", escape_controls(text))


def fenced(text: str, language: str) -> str:
    """Return a code block with a fence that is longer than any row of backticks in the text."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{escape_controls(text, keep=chr(10)).rstrip(chr(10))}\n{fence}"
