"""A page as a file or a folder: whole or not at all, and nothing of the user's is replaced."""

from pathlib import Path

import pytest
from inspection.reports import report, text_report

from charlm.errors import CharlmError
from charlm.inspection.page import write_page


def test_a_name_that_ends_in_html_gets_the_page(tmp_path: Path) -> None:
    write_page([text_report()], tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_gets_the_page_and_every_figure_as_svg_and_png(tmp_path: Path) -> None:
    write_page([text_report(truncation=report().truncation)], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "index.html",
        "truncation.png",
        "truncation.svg",
    ]
    assert (tmp_path / "out" / "truncation.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "truncation.svg").read_bytes().startswith(b"<?xml")


def test_the_folder_of_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    write_page([text_report(truncation=report().truncation)], tmp_path / "out")
    write_page([text_report()], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]


@pytest.mark.parametrize("name", ["letter.txt", "network.txt", "index.html"])
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CharlmError, match="holds files that are not a report"):
        write_page([text_report()], tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_report_to_which_the_user_has_added_a_file_is_refused(tmp_path: Path) -> None:
    write_page([text_report()], tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(CharlmError, match="holds files that are not a report"):
        write_page([text_report()], tmp_path / "out")


def test_a_file_with_another_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("mine")
    with pytest.raises(CharlmError, match=r"out\.txt: neither a folder nor a name that ends in \.html"):
        write_page([text_report()], tmp_path / "out.txt")


def test_a_page_in_a_folder_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"report\.html: there is no folder .*none"):
        write_page([text_report()], tmp_path / "none" / "report.html")
