"""The page that writes text, as one file of HTML: the interface of page.js with a source of characters of one's own.

The HTML export gives it the network in the browser; a server can give it another source.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

from charlm.formats.shipped import read_shipped


def render_page(
    *, title: str, scripts: Sequence[str], data: Mapping[str, str] | None = None, connect: str = "'none'"
) -> str:
    """Return the page. It loads nothing; its content policy allows only its own scripts and style.

    Args:
        title: The name of the model; any text.
        scripts: JavaScript, run in this order; the last one calls `startPage` of page.js with a source of characters.
        data: Texts by the id of their element, for the scripts; none may contain `<`.
        connect: What the scripts may connect to, as the policy has it: 'none' or 'self'.

    """
    style = read_shipped("page.css")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
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
