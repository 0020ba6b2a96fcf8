"""Pages in Node, whose document is played by dom.js."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any

import pytest

VOID = {"meta", "link", "input", "img", "source", "br"}
"""Elements without an end tag."""


class Tree(HTMLParser):
    """The elements of a page as [name, attributes, children], and its scripts in their order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[list[Any]] = [["", {}, []]]
        self.scripts: list[str] = []
        self.feed(page)
        self.close()
        self.nodes = self.open[0][2]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        element: list[Any] = [tag, attributes, []]
        self.open[-1][2].append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        name, attributes, children = self.open.pop()
        assert name == tag
        if tag == "script" and "type" not in attributes:
            self.scripts.append("".join(children))

    def handle_data(self, data: str) -> None:
        self.open[-1][2].append(data)


def elements_of(nodes: list[Any]) -> Iterator[tuple[str, dict[str, str], list[Any]]]:
    """Yield the name, the attributes and the children of each element, in their order."""
    for node in nodes:
        if not isinstance(node, str):
            name, attributes, children = node
            yield name, attributes, children
            yield from elements_of(children)


class Node:
    """A Node process that shows one page at a time."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self.requests = requests
        self.answers = answers

    def open(self, page: str) -> None:
        """Show a page, and run its scripts."""
        tree = Tree(page)
        self._ask({"page": tree.nodes, "scripts": tree.scripts})

    def run(self, body: str, **values: Any) -> Any:
        """Run the body of an async function in the page; it finds the values in `values`."""
        return self._ask({"body": body, "values": values})

    def _ask(self, request: Mapping[str, Any]) -> Any:
        self.requests.write(json.dumps(request) + "\n")
        self.requests.flush()
        reply = json.loads(self.answers.readline())
        assert "error" not in reply, reply["error"]
        return reply["value"]


@contextmanager
def start_node() -> Iterator[Node]:
    """Start Node, or skip the test."""
    if shutil.which("node") is None:
        pytest.skip("missing: node")
    program = Path(__file__).with_name("node.js")
    with subprocess.Popen(
        ["node", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin
        assert process.stdout
        yield Node(process.stdin, process.stdout)
