"""What `charlm.api.serving` checks before it listens."""

from pathlib import Path

import pytest
from run_folders import make_scored_run

from charlm.api.serving import serve
from charlm.errors import CharlmError
from charlm.network.bundle import Bundle, write_bundle
from charlm.runs.folder import model_name


def test_a_model_has_the_name_of_its_run_or_of_its_folder(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "mine", bundle, 1.0)
    write_bundle(tmp_path / "elsewhere" / "best", bundle)
    assert model_name(run / "best") == "mine"
    assert model_name(tmp_path / "elsewhere" / "best") == "best"


def test_an_unknown_choice_is_refused(bundle_folder: Path) -> None:
    with pytest.raises(CharlmError, match="unknown: found 'ignore'"):
        serve([bundle_folder], unknown="ignore")  # type: ignore[arg-type]
    with pytest.raises(CharlmError, match="checkpoint: found 'first'"):
        serve([bundle_folder], checkpoint="first")  # type: ignore[arg-type]
