"""The files beside each export that make its folder a model for a hub: the model card, the license, the bundle.

The card says what the bundle and its run say. They may come from strangers, so nothing in them may become Markdown or
HTML: texts are in code blocks with fences longer than any row of backticks in them, names are escaped. A score that is
not possible is none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charlm import __version__
from charlm.errors import harmless
from charlm.formats.programs import read_shipped
from charlm.network.architecture import CONFIG_FILE
from charlm.network.bundle import Bundle, bundle_files
from charlm.network.rnn import bits
from charlm.runs.metrics import to_number

CARD, LICENSE = "README.md", "LICENSE"


@dataclass(frozen=True)
class CardFacts:
    """What the card says beyond the bundle."""

    title: str
    """The name of the model."""
    program: str
    """What reads the export."""
    usage: str
    """How to use the export, in Markdown."""
    files: tuple[str, ...]
    """The names of the files of the export."""


def hub_files(bundle: Bundle, facts: CardFacts) -> dict[str, bytes]:
    """Return the files beside an export: the bundle, so that charlm can read the folder too, the card, the license."""
    return {
        **bundle_files(bundle),
        CARD: model_card(bundle, facts).encode(),
        LICENSE: read_shipped(LICENSE).encode(),
    }


def model_card(bundle: Bundle, facts: CardFacts) -> str:
    """Return the README.md of a model, with the metadata that hubs read at its head."""
    shape = bundle.architecture
    parts = [
        _HEAD,
        f"# {escape_markdown(facts.title)}",
        _introduction(bundle, facts.program),
        "## Use",
        facts.usage.format(layers=shape.layers, units=shape.units),
        _others(facts.files),
        "## Score",
        _score(bundle.facts),
        "## How it was trained",
        f"```sh\ncharlm train TEXT -c {CONFIG_FILE}\n```",
        f"The settings, {CONFIG_FILE}:",
        fenced(bundle.config, "yaml"),
        "## License",
        f"The code in this folder is under the MIT license in `{LICENSE}`. The text that the model was trained on may "
        "have terms of its own; if it has, change the license at the head of this page.",
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = "---\nlicense: mit\nlibrary_name: charlm\npipeline_tag: text-generation\ntags:\n- rnn\n- character-level\n---"


def _introduction(bundle: Bundle, program: str) -> str:
    shape = bundle.architecture
    inputs = "one-hot characters" if shape.embedding is None else f"an embedding of {shape.embedding}"
    skips = ", skip connections" if shape.skip_connections else ""
    kind = "bytes" if bundle.vocabulary.level == "byte" else "characters"
    return (
        f"A character-level SimpleRNN language model, exported by charlm {__version__} for {program}: {shape.layers} x "
        f"{shape.units} units, {shape.activation}, {inputs}{skips}; {bundle.parameters.size:,} weights; "
        f"{len(bundle.vocabulary):,} {kind}."
    )


def escape_markdown(text: str) -> str:
    """Return a text for one line of Markdown: control characters as escapes, its markup as plain characters."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|&~$-])", r"\\\1", harmless(text))


def fenced(text: str, language: str) -> str:
    """Return a code block whose fence is longer than every row of backticks in the text."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{harmless(text, keep=chr(10)).rstrip(chr(10))}\n{fence}"


def _others(files: tuple[str, ...]) -> str:
    names = " and ".join(f"`{name}`" for name in files)
    return (
        f"The export is {names}. The other files are a bundle of charlm, the weights in `weights.safetensors`: "
        "`charlm sample .` writes text from this folder, `charlm.load` loads it in Python."
    )


def _score(facts: Mapping[str, Any]) -> str:
    score = known_score(facts)
    if score is None:
        return "Not known: the bundle has none."
    text = "validation" if score.is_on_unseen_text else "training"
    after = "" if score.step is None else f", after {score.step:,} steps"
    nats = score.nats_per_char
    return f"{nats:.4f} nats per character ({bits(nats):.4f} bits) on the {text} text{after}."


@dataclass(frozen=True)
class KnownScore:
    """A score in model.json."""

    nats_per_char: float
    is_on_unseen_text: bool
    """Whether it is that of the validation text, and not of the training text."""
    step: int | None


def known_score(facts: Mapping[str, Any]) -> KnownScore | None:
    """Return the score in the facts of a bundle, or None if there is none or a value of it is not possible."""
    score = facts.get("score")
    if not isinstance(score, dict) or score.get("split") not in ("validation", "train"):
        return None
    nats, step = to_number(score.get("nats_per_char")), to_number(facts.get("step"))
    if nats is None:
        return None
    return KnownScore(nats, score["split"] == "validation", step if isinstance(step, int) else None)
