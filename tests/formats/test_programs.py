"""Every format in the program it is made for gives the logits of the reference, for every kind of network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from formats.networks import IDS, NETWORKS, BundleMaker, write_export

from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS
from charlm.formats.programs import run_browser, run_c, run_python
from charlm.network.rnn import ACTIVATIONS

pytestmark = pytest.mark.slow


def check_logits(make_bundle: BundleMaker, folder: Path, name: FormatName, network: dict[str, Any]) -> None:
    bundle = make_bundle(**network)
    found = FORMATS[name]
    logits = found.read_logits(write_export(folder, bundle, found.export(bundle, "x")), IDS)
    expected, _ = reference.read(bundle.parameters, IDS.tolist())
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_the_logits_of_the_reference(
    make_bundle: BundleMaker, tmp_path: Path, name: FormatName, network: dict[str, Any]
) -> None:
    check_logits(make_bundle, tmp_path / "export", name, network)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["html", "onnx", "c"])
def test_a_format_has_every_activation(
    make_bundle: BundleMaker, tmp_path: Path, name: FormatName, activation: str
) -> None:
    check_logits(make_bundle, tmp_path / "export", name, {"layers": 2, "activation": activation})


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise ValueError('broken')", "the program failed: ValueError: broken"),
        ("import nothing_such", "needs nothing_such, which is not installed: pip install onnx nothing_such$"),
        ("import charlm.api", "the program failed: .*charlm"),
    ],
)
def test_why_a_python_program_failed_is_said_in_a_line(tmp_path: Path, program: str, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        run_python(tmp_path, IDS, body=program, needs=["onnx", "nothing_such"])


def test_c_that_cannot_be_built_is_explained(tmp_path: Path) -> None:
    (tmp_path / "run.c").write_text("int main(void) { return }", encoding="utf-8")
    with pytest.raises(CharlmError, match=r"--check: g?cc failed"):
        run_c(tmp_path, IDS)


def test_scripts_that_fail_in_the_browser_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script type="text/plain" id="network">{}</script>', encoding="utf-8")
    with pytest.raises(CharlmError, match="--check: chrom"):
        run_browser(tmp_path, IDS)
