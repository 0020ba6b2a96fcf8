"""HTML: one file that writes text in a browser, without a network or a server.

The weights are float32 in base64, in the order of `Parameters.tensors`; model.js computes, page.js is the
interface.
"""

import base64
import html
from string import Template
from typing import Any

from charlm.formats.card import summarize
from charlm.formats.programs import read_shipped
from charlm.network.model_file import TrainedModel
from charlm.text.markup import content_policy, script_json


def export_html(model: TrainedModel, *, title: str) -> dict[str, bytes]:
    """Return index.html, the page of a model with a title.

    It loads nothing; its content policy allows only its own scripts and style.
    """
    style, *scripts = map(read_shipped, ("page.css", "model.js", "state.js", "page.js", "start.js"))
    weights = b"".join(tensor.astype("<f4").tobytes() for tensor in model.parameters.tensors().values())
    data = {"network": script_json(_spec(model, title)), "weights": base64.b64encode(weights).decode()}
    page = Template(read_shipped("page.html")).substitute(
        policy=content_policy(style, *scripts),
        title=html.escape(title),
        style=style,
        data="\n".join(f'<script type="text/plain" id="{name}">{text}</script>' for name, text in data.items()),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )
    return {"index.html": page.encode()}


def _spec(model: TrainedModel, title: str) -> dict[str, Any]:
    shape = model.architecture
    about = {"summary": summarize(model), "temperature": model.sampling_temperature}
    return {
        "title": title,
        "about": {**about, "layers": shape.layers, "units": shape.units},
        "architecture": vars(shape),
        "tensors": [[name, tensor.size] for name, tensor in model.parameters.tensors().items()],
        "vocabulary": model.vocabulary.to_fields(),
    }
