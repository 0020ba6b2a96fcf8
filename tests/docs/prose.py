"""Find phrases that a reader has to decode, and measure how dense the code is.

    PYTHONPATH=tests python -m docs.prose     print every phrase with a suggestion, and the totals

Prose is docstrings, comments, messages (strings with a space) and pages without code blocks. The
phrases are patterns, not errors: rewrite the sentence as you would say it to a colleague.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pages import PAGES, ROOT

SUGGESTIONS = {
    r"\b(that|those|the ones?) (of|in|with|from)\b": "repeat the noun",
    r"\b(of|in|by|from|at|to|with|for|on|after|through) (which|whom|whose|what)\b": "start again",
    r"\bwhat (is|it|a|an|the|they|was|has|comes|makes|takes|others|does)\b": "use a noun",
    r"\bso (many|much|long|far|large)\b": "name the number or the limit",
    r"\b(besides?|anew|hardly|afar|therein|as a rule|of its own|at its end)\b": "use a common word",
    r"\bin place of\b": "instead of",
    r"\bat once\b": "immediately, or at the same time",
    r"\b(rooms?|strangers?|lives? in|on its way|goes on)\b": "say it without the metaphor",
}
"""Advice by pattern."""
LEANING = re.compile(
    r"^\s*(Of|The same|As|What|Which|That|Those|By which|In|On|With|Like|Beyond)\b"
)
"""Start of a docstring that makes sense only together with the name of its field."""
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Place:
    """A phrase in a file."""

    file: Path
    line: int
    phrase: str
    suggestion: str

    def __str__(self) -> str:
        file = self.file.relative_to(ROOT)
        return f"{file}:{self.line}: {self.phrase.strip()}: {self.suggestion}"


@dataclass(frozen=True)
class Density:
    """Size of the code of a folder, without docstrings, comments and blank lines."""

    tokens: int
    lines: int

    @property
    def tokens_per_line(self) -> float:
        """Mean number of tokens in a line of code."""
        return self.tokens / self.lines


def docstrings(tree: ast.AST) -> list[ast.Constant]:
    """Return the docstrings of modules, classes, functions and fields."""
    found = []
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.append(value)
    return found


def prose_of_module(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line, text, and whether it is a docstring, for each text in a module."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    documented = {id(node) for node in docstrings(tree)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if " " in node.value.strip():
            yield node.lineno, node.value, id(node) in documented
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.removeprefix("#"), False


def prose_of_page(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line and text for each line of a page outside of code blocks."""
    is_code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line, False


def find_phrases() -> tuple[list[Place], int]:
    """Return all phrases in charlm/ and in the pages, and the number of words."""
    places = []
    words = 0
    modules = sorted((ROOT / "charlm").rglob("*.py"))
    for path in [*modules, *PAGES]:
        prose = prose_of_module(path) if path.suffix == ".py" else prose_of_page(path)
        for line, text, is_docstring in prose:
            words += len(text.split())
            places += phrases_in(text, path, line, is_docstring=is_docstring)
    return places, words


def phrases_in(
    text: str,
    path: Path,
    line: int,
    *,
    is_docstring: bool,
) -> list[Place]:
    """Return the phrases in a text."""
    places = []
    for pattern, suggestion in SUGGESTIONS.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            at = line + text.count("\n", 0, match.start())
            places.append(Place(path, at, match[0], suggestion))
    start = LEANING.match(text) if is_docstring else None
    if start is not None:
        places.append(Place(path, line, start[0], "start with a noun or a verb"))
    return places


def density(folder: str) -> Density:
    """Return the size of the code in a folder of the checkout."""
    tokens = 0
    lines = 0
    for path in (ROOT / folder).rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        documented: set[int] = set()
        for node in docstrings(ast.parse(source)):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        depth = 0  # in f-strings, which are single tokens before Python 3.12
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            name = tokenize.tok_name[token.type]
            is_counted = token.type not in LAYOUT and token.start[0] not in documented
            tokens += is_counted and not depth
            depth += (name == "FSTRING_START") - (name == "FSTRING_END")
        for number, line in enumerate(source.splitlines(), start=1):
            is_code = bool(line.strip()) and not line.lstrip().startswith("#")
            lines += is_code and number not in documented
    return Density(tokens, lines)


def main() -> None:
    """Print all phrases and the totals."""
    places, words = find_phrases()
    for place in places:
        print(place)
    print(f"{len(places)} phrases in {words:,} words, {1000 * len(places) / words:.1f} per 1,000")
    for folder in ("charlm", "tests"):
        size = density(folder)
        print(f"{folder}/: {size.tokens:,} tokens, {size.tokens_per_line:.1f} per line of code")


if __name__ == "__main__":
    main()
