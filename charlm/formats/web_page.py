"""HTML: one file that writes text in a browser, without a network or a server.

The weights are float32 in base64, in the order of `Parameters.tensors`; model.js computes, page.js is the
interface.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

from charlm.formats.card import summarize
from charlm.formats.programs import read_shipped
from charlm.network.model_file import TrainedModel

_START = """
const take = (id) => {
  const element = document.getElementById(id);
  element.remove();
  return element.textContent;
};
globalThis.page = startPage(new LocalSource(JSON.parse(take("network")), take("weights")));
"""


def export_html(model: TrainedModel, *, title: str) -> dict[str, bytes]:
    """Return index.html, the page of a model with a title."""
    scripts = [*map(read_shipped, ("model.js", "state.js", "page.js")), _START]
    weights = b"".join(tensor.astype("<f4").tobytes() for tensor in model.parameters.tensors().values())
    data = {"network": json_for_page(_spec(model, title)), "weights": base64.b64encode(weights).decode()}
    return {"index.html": render_page(title=title, scripts=scripts, data=data).encode()}


def _spec(model: TrainedModel, title: str) -> dict[str, Any]:
    shape = model.architecture
    about = {"summary": summarize(model), "temperature": model.sampling_temperature}
    return {
        "title": title,
        "about": {**about, "layers": shape.layers, "units": shape.units},
        "architecture": {name: getattr(shape, name) for name in shape.__dataclass_fields__},
        "tensors": [[name, tensor.size] for name, tensor in model.parameters.tensors().items()],
        "vocabulary": model.vocabulary.to_fields(),
    }


def render_page(*, title: str, scripts: Sequence[str], data: Mapping[str, str] | None = None) -> str:
    """Return the page. It loads nothing; its content policy allows only its own scripts and style.

    Args:
        title: The name of the model; any text.
        scripts: JavaScript, run in this order; the last one calls `startPage` of page.js with a source of characters.
        data: Texts by the id of their element, for the scripts; none may contain `<`.

    """
    style = read_shipped("page.css")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; img-src data:; "
        f"connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    blocks = [f'<script type="text/plain" id="{name}">{text}</script>' for name, text in (data or {}).items()]
    return Template(read_shipped("page.html")).substitute(
        policy=policy,
        title=html.escape(title),
        style=style,
        data="\n".join(blocks),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def json_for_page(value: Any) -> str:
    """Return JSON that can stand in any element of a page: ASCII, with `<`, `>` and `&` as escapes."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _hash(text: str) -> str:
    """Return the hash by which a content policy allows a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
