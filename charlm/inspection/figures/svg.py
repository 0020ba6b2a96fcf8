"""Figures as SVG, to be part of a page or a file of its own, and as PNG; the same figure gives the same bytes.

The style attributes that matplotlib writes are turned into plain attributes and classes: a content policy forbids the
former, and the latter follow the theme of the page.
"""

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from charlm.errors import harmless
from charlm.inspection.figures.look import COLOURS, PAPER

SVG = "http://www.w3.org/2000/svg"
PNG_DOTS_PER_INCH = 160
_CLASSES = {light: name for name, (light, _) in COLOURS.items()}
_FONT = re.compile(r"(?P<style>italic |oblique )?.*?(?P<weight>bold |[1-9]00 )?(?P<size>[\d.]+)px ")
_DROPPED = {"metadata", "style", "title"}


def inline_svg(figure: Figure, *, name: str, label: str) -> str:
    """Return a figure as an <svg> element for a page of HTML.

    Args:
        figure: Drawn in the colours of `look.COLOURS`.
        name: Unique in the page: every id in the element begins with it.
        label: What the figure shows, for a screen reader.

    Returns:
        XML, without a style attribute and without a namespace prefix; colours are classes, see `theme_css`.

    """
    root = _plain_svg(figure, name)
    root.attrib.update({"class": "chart", "role": "img", "aria-label": harmless(label)})
    for size in ("width", "height"):
        root.attrib.pop(size)
    return _serialise(root)


def svg_file(figure: Figure, *, name: str, label: str) -> bytes:
    """Return a figure as a file: an SVG that follows the theme of the viewer, UTF-8."""
    root = _plain_svg(figure, name)
    root.attrib.update({"role": "img", "aria-label": label})
    style = ElementTree.Element("style")
    style.text = theme_css("svg") + "svg{background:var(--paper);font-family:sans-serif}"
    root.insert(0, style)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + _serialise(root).encode() + b"\n"


def png_file(figure: Figure) -> bytes:
    """Return a figure as a file: a PNG in the light theme."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=PNG_DOTS_PER_INCH, facecolor=PAPER, metadata={"Software": None})
    return file.getvalue()


def theme_css(root: str) -> str:
    """Return the colours as CSS variables of a selector, light and dark, and the classes that use them."""
    light, dark = (";".join(f"--{name}:{pair[index]}" for name, pair in COLOURS.items()) for index in (0, 1))
    classes = "".join(f".fill-{name}{{fill:var(--{name})}}.stroke-{name}{{stroke:var(--{name})}}" for name in COLOURS)
    return f"{root}{{{light}}}@media(prefers-color-scheme:dark){{{root}{{{dark}}}}}{classes}"


def _plain_svg(figure: Figure, name: str) -> ElementTree.Element:
    """Return the figure as XML without namespaces, style attributes and metadata."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(file.getvalue())
    for parent in root.iter():
        for child in [child for child in parent if child.tag.rpartition("}")[2] in _DROPPED]:
            parent.remove(child)
    for element in root.iter():
        _simplify(element, name)
    root.set("xmlns", SVG)
    root.set("stroke-linejoin", "round")
    return root


def _simplify(element: ElementTree.Element, name: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    declarations = attributes.pop("style", "")
    element.attrib.clear()
    for key, value in attributes.items():
        element.set(key, _rename(key, value, name))
    classes = []
    for declaration in filter(None, (part.strip() for part in declarations.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key in {"fill", "stroke"} and value in _CLASSES:
            classes.append(f"{key}-{_CLASSES[value]}")
        elif key == "font":  # as matplotlib 3.10 writes it
            element.attrib.update(_font(value))
        elif key == "font-family":
            continue  # the page's own
        else:
            element.set(key, _rename(key, value, name))
    if classes:
        element.set("class", " ".join(classes))


def _font(value: str) -> dict[str, str]:
    found = _FONT.match(value)
    if found is None:
        return {}
    weight = {"font-weight": found["weight"].strip()} if found["weight"] else {}
    return {"font-size": found["size"], **weight, **({"font-style": "italic"} if found["style"] else {})}


def _rename(key: str, value: str, name: str) -> str:
    """Return the value of an attribute, with ids and references to ids made unique in the page."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href" or value.startswith("url(#"):
        return value.replace("#", f"#{name}-", 1)
    return value


def _serialise(root: ElementTree.Element) -> str:
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
