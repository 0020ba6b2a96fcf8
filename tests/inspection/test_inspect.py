"""Reports through the library."""

import shutil
from pathlib import Path

import pytest

import charlm
from charlm.errors import CharlmError
from charlm.inspection.inspecting import SECTIONS, inspect_runs, to_json

TEXT = "abba\nab\n" * 12


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text that the random trained knows all characters of."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_one_report_is_an_object_in_json_and_several_are_a_list(model_file: Path, text: Path) -> None:
    (report,) = inspect_runs([model_file], text=text)
    assert to_json([report])["name"] == str(model_file)
    assert [run["name"] for run in to_json([report, report])["runs"]] == [str(model_file)] * 2


def test_a_loaded_model_is_read_and_only_the_parts_that_are_asked_for(model_file: Path, text: Path) -> None:
    model = charlm.load(model_file)
    whole, part = (charlm.inspect(model, text=text, only=only) for only in ((), ("loss_by_class", "spectrum")))
    assert [one["nats"] for one in whole.data["surprise"]] == pytest.approx(model.score(TEXT).tolist(), rel=1e-4)
    made = {name for name in SECTIONS if part.data[name] is not None}
    assert made == {"loss_by_class", "spectrum"}
    assert all(part.data[name] == whole.data[name] for name in (*made, "name", "spectral_radius"))
    assert [*part.figures] == ["loss_by_class", "spectrum"]
    frame = part._repr_html_()  # of a notebook
    assert frame.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert str(model_file) in frame


def test_a_part_that_does_not_exist_is_refused(model_file: Path, text: Path) -> None:
    with pytest.raises(CharlmError, match=r"^only: found 'spektrum'; must be .*, spectrum, "):
        charlm.inspect(model_file, text=text, only=["spektrum"])
    with pytest.raises(CharlmError, match=r"^section: found 'spektrum'; must be "):
        charlm.inspect(model_file, text=text, only=["spectrum"]).get("spektrum")


@pytest.mark.parametrize("out", ["", "missing/report.html", "text"])
def test_a_page_that_cannot_be_written_or_would_replace_the_text_is_refused(
    out: str, model_file: Path, text: Path
) -> None:
    place = text if out == "text" else text.parent / out
    with pytest.raises(CharlmError, match=r"must be the name of a file|is the text that is read"):
        inspect_runs([model_file], text=text, out=place)
    assert text.read_text(encoding="utf-8") == TEXT


def test_without_a_name_the_newest_run_is_read(trained_run: Path, text: Path) -> None:
    shutil.copytree(trained_run, "runs/plays", ignore=shutil.ignore_patterns("checkpoints"))
    (report,) = inspect_runs([], text=text)
    assert to_json([report])["name"] == "runs/plays"
