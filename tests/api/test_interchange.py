"""Exports and imports as the library does them: what is written, what is refused, and that nothing is half written."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from charlm.api.interchange import export, import_model
from charlm.api.model import Model, load
from charlm.errors import CharlmError
from charlm.formats.torch import to_state_dict
from charlm.network.bundle import Bundle

HUB = {"README.md", "LICENSE", "config.yaml", "model.json", "vocabulary.json", "weights.safetensors"}


@pytest.fixture
def model(bundle_folder: Path) -> Model:
    """Return the model of the bundle, which has no run."""
    return load(bundle_folder)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_has_the_export_the_card_and_the_bundle(model: Model, tmp_path: Path) -> None:
    written = export(model, tmp_path / "out", format="c")
    assert names_in(tmp_path / "out") == HUB | {"run.c", "model.bin"}
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in ("run.c", "model.bin")}
    assert (written.path, written.files, written.check) == (tmp_path / "out", sizes, None)


def test_charlm_reads_the_folder_of_an_export(model: Model, tmp_path: Path) -> None:
    export(model, tmp_path / "out", format="torch")
    assert str(load(tmp_path / "out").generate("a", seed=1)) == str(model.generate("a", seed=1))


def test_a_file_name_of_the_format_gives_that_file_alone(model: Model, tmp_path: Path) -> None:
    written = export(model, tmp_path / "page.html", format="html")
    assert names_in(tmp_path) == {"bundle", "page.html"}
    assert written.files == {"index.html": (tmp_path / "page.html").stat().st_size}


@pytest.mark.parametrize("kind", ["folder", "file", "link", "page"])
def test_what_exists_is_left_as_it_is(model: Model, tmp_path: Path, kind: str) -> None:
    out = tmp_path / ("out.html" if kind == "page" else "out")
    if kind == "folder":
        out.mkdir()
        (out / "mine").touch()
    elif kind == "link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.write_text("mine", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CharlmError, match=r"out(\.html)?: exists already"):
        export(model, out, format="html" if kind == "page" else "c")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_that_is_refused_leaves_nothing_behind(model: Model, tmp_path: Path) -> None:
    shape = replace(model.bundle.architecture, activation="softsign")
    softsign = replace(
        model.bundle, architecture=shape, parameters=replace(model.bundle.parameters, activation="softsign")
    )
    with pytest.raises(CharlmError, match=r"torch.nn.RNN has no activation softsign"):
        export(Model(model.folder, softsign), tmp_path / "out", format="torch")
    assert names_in(tmp_path) == {"bundle"}


def test_a_check_that_fails_leaves_nothing_behind(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PATH has a C compiler whose program writes zeros."""
    compiler = tmp_path / "cc"
    program = "#!/bin/sh\\nhead -c 200000 /dev/zero"
    compiler.write_text(
        f'#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nprintf "{program}" > "$1"\nchmod +x "$1"\n', encoding="utf-8"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(
        CharlmError, match=r"--check: a logit of C differs by .* over 10,000 characters; .* nothing was"
    ):
        export(model, tmp_path / "out", format="c", check=True)
    assert names_in(tmp_path) == {"bundle", "cc"}


@pytest.mark.slow
def test_a_bundle_without_its_run_is_checked_on_a_text_of_its_own(model: Model, tmp_path: Path) -> None:
    check = export(model, tmp_path / "out", format="c", check=True).check
    assert check is not None
    assert check.has_passed
    assert (check.program, check.characters) == ("C", 10_000)


def test_a_name_that_is_not_utf8_or_controls_a_terminal_is_escaped(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff\x1b")
    model = Model(folder, bundle)
    export(model, tmp_path / "out", format="c")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "udcff" in card
    assert "\x1b" not in card


def test_the_card_does_not_say_where_the_text_lay(trained_run: Path, tmp_path: Path) -> None:
    export(load(trained_run), tmp_path / "out", format="c")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "on the validation text." in card
    assert str(trained_run.parent) not in card


# Import


@pytest.fixture
def state_dict(bundle: Bundle, tmp_path: Path) -> Path:
    """Write the weights of the bundle as PyTorch would, and its vocabulary beside them."""
    (tmp_path / "x.safetensors").write_bytes(safetensors.numpy.save(to_state_dict(bundle.parameters)))
    (tmp_path / "vocabulary.json").write_text(bundle.vocabulary.to_json(), encoding="utf-8")
    return tmp_path / "x.safetensors"


def test_an_imported_network_is_a_bundle_that_says_what_it_is(bundle: Bundle, state_dict: Path, tmp_path: Path) -> None:
    model = import_model(state_dict, tmp_path / "out", vocabulary=tmp_path / "vocabulary.json", activation="relu")
    assert model.bundle.architecture == replace(bundle.architecture, activation="relu")
    assert (model.config.model.layers, model.config.model.units, model.config.model.rnn.activation) == (2, 4, "relu")
    assert model.vocabulary == bundle.vocabulary
    for name, tensor in bundle.parameters.tensors().items():
        np.testing.assert_array_equal(model.bundle.parameters.tensors()[name], tensor)
    assert model.logits("ab").shape == (2, 5)
