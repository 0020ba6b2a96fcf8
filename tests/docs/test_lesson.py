"""The lesson runs from its first cell to its last, and is kept with its outputs."""

import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

LESSON = Path(__file__).parents[2] / "docs/lesson.ipynb"
MAX_BYTES = 1_500_000
MAX_SECONDS = 900
"""For a cell: a processor without bfloat16 trains the recipe `default` for five minutes beside another test."""


def test_the_lesson_is_kept_with_its_outputs_and_is_small() -> None:
    cells = [cell for cell in json.loads(LESSON.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    assert sum(bool(cell["outputs"]) for cell in cells) > len(cells) / 2
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert LESSON.stat().st_size < MAX_BYTES


@pytest.mark.nightly
def test_the_lesson_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="missing: nbclient")
    nbformat = pytest.importorskip("nbformat", reason="missing: nbformat")
    pytest.importorskip("ipykernel", reason="missing: ipykernel")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lesson = nbformat.read(shutil.copy(LESSON, tmp_path), 4)
    try:
        nbclient.NotebookClient(lesson, timeout=MAX_SECONDS, kernel_name="python3").execute()
    finally:
        for info in tmp_path.glob(".tensorboard-info/pid-*.info"):  # TensorBoard outlives the notebook
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(info.read_text(encoding="utf-8"))["pid"], signal.SIGTERM)
    printed = "".join(output.get("text", "") for cell in lesson.cells for output in cell.get("outputs", ()))
    assert "[0.75582339 0.92270988]" in printed, "the numbers of the recurrence by hand"
    assert "step 2,560 of 2,560" in printed
