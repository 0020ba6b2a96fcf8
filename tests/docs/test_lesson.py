"""The lesson and docs/understanding.md: their numbers agree with the outputs.

The stored notebook is read; nothing is trained.
"""

import hashlib
import json
import re

import pytest
from pages import text_of

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.inspection.style import FLOOR
from charlm.inspection.usable_context import USED

CELLS = json.loads(text_of("docs/lesson.ipynb"))["cells"]
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")
READ = "d23db414189568de"
"""Start of the SHA-256 of the outputs with which somebody last checked the claims."""
NOT_A_RESULT = re.compile(
    r"""
    \$\$?[^$]+\$\$? | `[^`]+` | \]\([^)]*\)            # equations, code, addresses
    | \b(?:19|20)\d\d\b | Python\ [\d.]+\ to\ [\d.]+   # years, versions
    | [Ss]ections?\ \d+(?:\ and\ \d+)? | [Ee]xercise\ \d+
    | ^\#+\ \d+ | ^\d+\. | \*\*\d+\.\*\*               # headings, exercises, solutions
    """,
    re.MULTILINE | re.VERBOSE,
)


def printed_by(cell: dict[str, list[dict[str, list[str]]]]) -> str:
    """Return what a code cell printed."""
    return "".join("".join(output.get("text", ())) for output in cell["outputs"])


def lesson_sections() -> dict[str, tuple[str, str]]:
    """Return the prose of each section by its heading, and its code with what it printed."""
    sections: dict[str, tuple[str, str]] = {}
    heading = ""
    for cell in CELLS:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            prose, evidence = sections[heading]
            sections[heading] = prose, f"{evidence}{source}\n{printed_by(cell)}\n"
            continue
        for part in re.split(r"^(?=##? )", source, flags=re.MULTILINE):
            heading = (
                part.splitlines()[0]
                if part.startswith("#") and not part.startswith("###")
                else heading
            )
            prose, evidence = sections.get(heading, ("", ""))
            sections[heading] = f"{prose}{part}\n\n", evidence
    return sections


SECTIONS = lesson_sections()
ALL_EVIDENCE = "".join(evidence for _, evidence in SECTIONS.values())
USES_ALL = {"## Exercises", "## Solutions"}
"""Sections about the cells of all sections."""


def numbers_in(text: str) -> set[float]:
    """Return the numbers of a text."""
    return {float(number.replace(",", "")) for number in NUMBER.findall(text)}


@pytest.mark.parametrize("heading", SECTIONS)
def test_numbers_in_the_prose_of_the_lesson_are_in_its_cells(heading: str) -> None:
    prose, evidence = SECTIONS[heading]
    known = numbers_in(ALL_EVIDENCE if heading in USES_ALL else evidence)
    assert numbers_in(NOT_A_RESULT.sub(" ", prose)) <= known | {0, 1}


def test_the_claims_of_the_lesson_were_read_with_its_outputs() -> None:
    outputs = "".join(printed_by(cell) for cell in CELLS if cell["cell_type"] == "code")
    advice = (
        "other outputs: check every claim of sections 7 to 11 and the solutions, then change READ"
    )
    assert hashlib.sha256(outputs.encode()).hexdigest().startswith(READ), advice


BODY, _, SOURCES = text_of("docs/understanding.md").partition("\n## Sources\n")
PAGES = {"the lesson": "".join(prose for prose, _ in SECTIONS.values()), "the page": BODY}


@pytest.mark.parametrize("page", PAGES)
def test_cited_works_are_in_the_sources(page: str) -> None:
    authors = r"([A-Z][\w-]+)(?:(?:, [A-Z][\w-]+)*,? and [A-Z][\w-]+|\s+et al\.)?"
    cited = {*re.findall(authors + r"\s+\(?((?:19|20)\d\d)\b", PAGES[page])}
    assert len(cited) > 5
    for author, year in cited:
        work = rf"- {author}\b[^:]* {year}: "
        assert re.search(work, " ".join(SOURCES.split())), f"{author} {year}"


def test_numbers_of_the_understanding_page_are_those_of_the_code() -> None:
    page = " ".join(BODY.split())
    layers = load_config(find_recipe("default")).model.layers
    assert f"a *stack* of {['no', 'one', 'two', 'three', 'four'][layers]}" in page
    assert f"the gain is at most {USED} nats per character" in page
    assert f"The axes end at {FLOOR}:" in page
