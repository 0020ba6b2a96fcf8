"""The page that `charlm export --format html` writes, opened in Node, and the actions of a user."""

from pathlib import Path
from typing import Any

from javascript import Node

from charlm.api.model import Model
from charlm.core.model_file import TrainedModel
from charlm.exports.exporting import export_html


def shown_number(value: float) -> str:
    """Return a number as the page writes it, with a minus sign instead of a hyphen."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


SETTLE = """
let job;
do {
  job = page.job;
  await job.done;
  await new Promise((resolve) => setTimeout(resolve, 0));
} while (page.job !== job);
"""
"""Waits until the page has read its prompt and written its text."""


class HtmlPage:
    """A page in Node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.run = node.run

    def open(self, trained: TrainedModel, *, title: str = "plays") -> Model:
        """Open the page of a model, and return the model."""
        page = export_html(trained, title=title)["index.html"]
        self.node.open(page.decode())
        self.run(SETTLE)
        return Model(Path("model.safetensors"), trained)

    def act(self, body: str, **values: Any) -> Any:
        """Run statements in the page, wait, and return the value of the variable `result`."""
        return self.run(f"let result; {body}; {SETTLE} return result;", **values)

    def fill(self, **fields: Any) -> None:
        """Set fields as a user would; an underscore in a name represents a hyphen."""
        script = """
            for (const [name, value] of Object.entries(values)) {
              const field = page.on[name.replace("_", "-")];
              field.value = value;
              field.dispatch("input");
            }
        """
        self.act(script, **{name: str(value) for name, value in fields.items()})

    def click(self, name: str) -> None:
        """Click an element by its id."""
        self.act("page.on[values.name].click()", name=name)

    def write(self, **fields: Any) -> str:
        """Fill in fields, write, and return the text."""
        self.fill(**fields)
        self.click("write")
        return self.text_of("text")

    def press(self, key: str, *, on: str = "", **modifiers: bool) -> bool:
        """Press a key, and return whether the page used it; `on`: id of the focused element."""
        script = """
            const target = page.on[values.on] ?? document.body;
            result = target.dispatch("keydown", {key: values.key, ...values.modifiers}).isPrevented;
        """
        return bool(self.act(script, key=key, on=on, modifiers=modifiers))

    def on_character(self, event: str, index: int) -> None:
        """Send an event to a character of the text."""
        script = "page.on.text.children[values.index].dispatch(values.event)"
        self.act(script, index=index, event=event)

    def on_cell(self, event: str, x: float, y: float) -> None:
        """Send an event to a place on the picture of the state."""
        script = "page.on.state.dispatch(values.event, {offsetX: values.x, offsetY: values.y})"
        self.act(script, event=event, x=x, y=y)

    def get(self, expression: str) -> Any:
        """Return the value of an expression."""
        return self.run(f"return {expression}")

    def text_of(self, name: str) -> str:
        """Return the text of an element by its id."""
        return str(self.run("return page.on[values.name].textContent", name=name))

    def spans(self, attribute: str) -> list[Any]:
        """Return an attribute of each character of the text."""
        return list(self.get(f"page.on.text.children.map((span) => span.{attribute} ?? null)"))

    @property
    def choices(self) -> list[str]:
        """The characters on the buttons, the most probable first."""
        buttons = 'page.on.next.querySelectorAll("button")'
        return list(self.get(f"{buttons}.map((button) => button.dataset.text)"))
