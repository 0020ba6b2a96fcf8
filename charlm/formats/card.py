"""The model card of an export: what a model is, how it is used, its score, its settings, and the files beside it.

The card says what the model file says, which may be untrusted. So nothing in it may become Markdown or HTML:
texts are in code blocks with fences longer than any row of backticks in them, names are escaped.
"""

import re
from collections.abc import Iterable

from charlm import __version__
from charlm.config.file import dump_yaml
from charlm.evaluation.scoring import bits
from charlm.network.model_file import TrainedModel
from charlm.runs.summary import known_score
from charlm.wording import escape_controls, listed

LICENSE = "LICENSE"
MEASURED_ON = "at most 200,000 characters of unseen text"
"""What the score in a model file is of, see `charlm.training.evaluating`."""
MODEL_FILE = "model.safetensors"
"""The model itself, which lies beside every export, so that charlm reads it too."""


def summarize(model: TrainedModel) -> str:
    """Return what a model is, in a sentence."""
    shape = model.architecture
    layers = f"{shape.layers} {'layer' if shape.layers == 1 else 'layers'} of {shape.units} units"
    nats = known_score(model.facts)
    tail = (
        ""
        if nats is None
        else f"; {nats:.2f} nats ({bits(nats):.2f} bits) per character on {MEASURED_ON}"
    )
    return f"A SimpleRNN of {layers}, {shape.size:,} weights, {len(model.vocabulary):,} characters{tail}."


def model_card(
    model: TrainedModel, *, title: str, program: str, usage: str, names: Iterable[str]
) -> str:
    """Return the README.md of an export, with the metadata that hubs read at its head.

    Args:
        model: The model.
        title: Its name, for the user; any text.
        program: What reads the export.
        usage: How to use it, in Markdown.
        names: The names of the files of the export.

    """
    nats, settings = known_score(model.facts), dump_yaml(model.config)
    files = listed((f"`{name}`" for name in names), "and")
    has_initial_weights = re.search(r"^  initial_weights: '?\w{64}", settings, re.MULTILINE)
    parts = [
        _HEAD,
        f"# {escape_markdown(title)}",
        f"A character-level language model, exported by charlm {__version__} for {program}. {summarize(model)}",
        "## Use",
        usage,
        f"The export is {files}. `{MODEL_FILE}` is the model as charlm keeps it: "
        f"`charlm sample {MODEL_FILE}` writes text, `charlm.load` loads it in Python.",
        "## Score",
        "Not known: the model file has none of a validation text."
        if nats is None
        else f"{nats:.4f} nats per character ({bits(nats):.4f} bits) on {MEASURED_ON}.",
        "## How it was trained",
        f"```sh\ncharlm train TEXT -c settings.yaml{' --init MODEL' if has_initial_weights else ''}\n```",
        "The settings, `settings.yaml`:",
        fenced(settings, "yaml"),
        "## License",
        f"The code in this folder is under the MIT license in `{LICENSE}`. The text that the model was trained on may "
        "have terms of its own: whoever publishes the model names its license at the head of this page.",
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = (
    "---\nlibrary_name: charlm\npipeline_tag: text-generation\ntags:\n- rnn\n- character-level\n---"
)


def escape_markdown(text: str) -> str:
    """Return a text for one line of Markdown: control characters as escapes, its markup as plain characters."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|&~$-])", r"\\\1", escape_controls(text))


def fenced(text: str, language: str) -> str:
    """Return a code block whose fence is longer than every row of backticks in the text."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{escape_controls(text, keep=chr(10)).rstrip(chr(10))}\n{fence}"
