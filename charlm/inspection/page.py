"""A page as a file, or as a folder with every figure beside it."""

import re
from collections.abc import Sequence
from pathlib import Path

from charlm.errors import CharlmError
from charlm.inspection.document import MARK, draw_charts, render_page
from charlm.inspection.figures.look import look
from charlm.inspection.figures.svg import png_file, svg_file
from charlm.inspection.report import Report
from charlm.inspection.sections.order import SECTIONS
from charlm.storage.atomic import write_file, write_folder

PAGE = "index.html"
_CHARTS = "|".join(chart.name for section in SECTIONS for chart in section.charts)
_OURS = re.compile(rf"{re.escape(PAGE)}|(?:{_CHARTS})(?:-\d+)?\.(?:svg|png)")
PAGE_ENDINGS = {".html", ".htm"}


def write_page(reports: Sequence[Report], out: Path) -> None:
    """Write a page on some runs, whole or not at all.

    Args:
        reports: One or more; they stand side by side.
        out: A file that ends in .html or .htm; or a folder, which gets the page as index.html and every figure as SVG
            and PNG. A folder of an earlier report is replaced in a single step.

    Raises:
        CharlmError: the file or folder cannot be written, or the folder holds something else than a report.

    """
    check_place(out)
    page = render_page(reports).encode()
    if _is_file_name(out):
        write_file(out, page)
        return
    write_folder(out, {PAGE: page, **_figure_files(reports)})


def check_place(out: Path) -> None:
    """Raise CharlmError if `write_page` would refuse a place because of what is there, or is not."""
    if not _is_file_name(out):
        _check_is_report(out)
    elif not out.parent.is_dir():
        raise CharlmError(f"{out}: there is no folder {out.parent}; make it first")


def _is_file_name(out: Path) -> bool:
    return out.suffix.lower() in PAGE_ENDINGS and not out.is_dir()


def _figure_files(reports: Sequence[Report]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    with look():
        for name, (chart, figure) in draw_charts(reports).items():
            contents[f"{name}.svg"] = svg_file(figure, name=name, label=chart.label)
            contents[f"{name}.png"] = png_file(figure)
    return contents


def _check_is_report(folder: Path) -> None:
    """Refuse a folder whose contents a report must not replace."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CharlmError(f"{folder}: neither a folder nor a name that ends in .html; name one of these")
    names = {path.name for path in folder.iterdir()}
    if names and not (PAGE in names and all(map(_OURS.fullmatch, names)) and _is_page(folder / PAGE)):
        raise CharlmError(f"{folder}: holds files that are not a report; name a new folder, or a file FILE.html")


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()
