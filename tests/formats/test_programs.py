"""Every format in the program it is made for gives the logits of the reference, for every kind of network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from formats.networks import IDS, NETWORKS, make_model, write_export
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS
from charlm.formats.programs import Check, check_export, run_browser, run_c, run_python
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import ACTIVATIONS, Floats


def check_logits(folder: Path, name: FormatName, network: dict[str, Any]) -> None:
    trained = make_model(**network)
    found = FORMATS[name]
    logits = found.read_logits(write_export(folder, trained, found.export(trained, "x")), IDS)
    expected, _ = reference.read(trained.parameters, IDS.tolist())
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "network"),
    [
        (name, network)
        for name in FORMATS
        for network in (
            NETWORKS[2:4] if name in {"keras", "torch"} else NETWORKS
        )  # slow to start: test_trained has two
    ],
    ids=str,
)
def test_a_format_has_the_logits_of_the_reference(tmp_path: Path, name: FormatName, network: dict[str, Any]) -> None:
    check_logits(tmp_path / "export", name, network)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["html", "onnx", "c"])
def test_a_format_has_every_activation(tmp_path: Path, name: FormatName, activation: str) -> None:
    check_logits(tmp_path / "export", name, {"layers": 2, "activation": activation})


@pytest.mark.slow
def test_why_a_program_failed_is_said_in_a_line(tmp_path: Path) -> None:
    for body, message in (
        ("raise ValueError('broken')", "the program failed: ValueError: broken"),
        ("import nothing_such", "needs nothing_such, which is not installed: pip install onnx nothing_such$"),
        ("import charlm.api", "the program failed: .*charlm"),
    ):
        with pytest.raises(CharlmError, match=message):
            run_python(tmp_path, IDS, body=body, needs=["onnx", "nothing_such"])
    (tmp_path / "run.c").write_text("int main(void) { return }", encoding="utf-8")
    with pytest.raises(CharlmError, match=r"--check: g?cc failed"):
        run_c(tmp_path, IDS)
    (tmp_path / "index.html").write_text('<script type="text/plain" id="network">{}</script>', encoding="utf-8")
    with pytest.raises(CharlmError, match="--check: chrom"):
        run_browser(tmp_path, IDS)


# The check


def check(trained: TrainedModel, *, error: float, time: int | None = None) -> Check:
    """Check an export whose program errs in one logit by `error`, and returns the logits of `time` ids."""

    def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
        assert (folder / "model").read_bytes() == b"weights"
        assert (folder / "model.safetensors").is_file()
        parameters = trained.parameters
        logits = parameters.unroll(ids[:time, None], parameters.zero_state(1))[0][:, 0]
        logits[1, 2] += error
        return logits

    ids, files = np.arange(5), {"model": b"weights"}
    return check_export(files, ids, model=trained, program="another program", read_logits=read_logits)


def test_the_largest_difference_of_a_logit_is_found_and_must_be_within_the_tolerance(trained: TrainedModel) -> None:
    found = check(trained, error=-0.9e-4)
    assert found.largest_difference == pytest.approx(0.9e-4, rel=1e-2)
    assert (found.program, found.characters) == ("another program", 5)
    for error in (1.1e-4, np.nan, np.inf):
        with pytest.raises(CharlmError, match=r"a logit of another program differs by .*; must be 0\.0001 at most"):
            check(trained, error=error)
    with pytest.raises(CharlmError, match=r"another program computes logits of shape \(4, 5\); must be \(5, 5\)"):
        check(trained, error=0, time=4)
