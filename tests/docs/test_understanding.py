"""docs/understanding.md: its code prints what the page says, and its pictures are figures of a report."""

import re

import pytest
from pages import ROOT, code_blocks, text_of

PAGE = text_of("docs/understanding.md")


def test_the_worked_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = code_blocks(PAGE, "python")
    exec(code, {})
    printed = "".join(f"    {line}\n" for line in capsys.readouterr().out.splitlines())
    assert printed
    assert f"```\n\n{printed}" in PAGE


def test_every_picture_is_used_and_follows_the_theme_of_the_reader() -> None:
    names = re.findall(r"\]\((pictures/[^)]+)\)", PAGE)
    assert names
    for name in names:
        assert "prefers-color-scheme" in (ROOT / "docs" / name).read_text(encoding="utf-8")
    pages = PAGE + text_of("README.md") + text_of("docs/lesson.ipynb")
    used = {name.rpartition("/")[2] for name in re.findall(r"\]\(((?:docs/)?pictures/[^)]+)\)", pages)}
    assert used == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
