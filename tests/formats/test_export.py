"""Exports as the library does them: what is written, what is refused, and that nothing is half written."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from models import make_random_model
from run_folders import names

from charlm.api.model import Model, load
from charlm.errors import CharlmError
from charlm.formats.exporting import export, text_to_check
from charlm.network.model_file import TrainedModel

HUB = {"README.md", "LICENSE", "model.safetensors"}


@pytest.fixture
def model(model_file: Path) -> Model:
    """Return a model, which has no run."""
    return load(model_file)


def test_a_folder_has_the_export_the_card_and_the_model_file(model: Model, tmp_path: Path) -> None:
    written = export(model, tmp_path / "out", format="c")
    assert names(tmp_path / "out") == sorted(HUB | {"run.c", "model.bin"})
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in ("run.c", "model.bin")}
    assert (written.path, written.files, written.check) == (tmp_path / "out", sizes, None)


def test_charlm_reads_the_model_file_beside_an_export(model: Model, tmp_path: Path) -> None:
    export(model, tmp_path / "out", format="torch")
    assert str(load(tmp_path / "out/model.safetensors").generate("a", seed=1)) == str(model.generate("a", seed=1))


def test_a_file_name_of_the_format_gives_that_file_alone_under_its_name(model: Model, tmp_path: Path) -> None:
    written = export(model, tmp_path / "page.html", format="html")
    assert names(tmp_path) == ["model.safetensors", "page.html"]
    assert written.files == {"page.html": (tmp_path / "page.html").stat().st_size}


def test_a_single_file_is_replaced(model: Model, tmp_path: Path) -> None:
    for earlier in ("", "mine"):
        (tmp_path / "page.html").write_text(earlier, encoding="utf-8")
        export(model, tmp_path / "page.html", format="html")
        assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_where_a_folder_is_to_be_what_exists_is_left_as_it_is(model: Model, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
        (out / "mine").touch()
    else:
        out.write_text("mine", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CharlmError, match="out: exists already"):
        export(model, out, format="c")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_that_is_refused_leaves_nothing_behind(model: Model, tmp_path: Path) -> None:
    shape = replace(model.trained.architecture, activation="sigmoid")
    sigmoid = replace(
        model.trained, architecture=shape, parameters=replace(model.trained.parameters, activation="sigmoid")
    )
    with pytest.raises(CharlmError, match=r"torch.nn.RNN has no activation sigmoid"):
        export(Model(model.path, sigmoid), tmp_path / "out", format="torch")
    assert names(tmp_path) == ["model.safetensors"]


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
    assert names(tmp_path) == ["cc", "model.safetensors"]


@pytest.mark.slow
def test_a_model_without_its_run_is_checked_on_a_text_of_its_own(model: Model, tmp_path: Path) -> None:
    check = export(model, tmp_path / "out", format="c", check=True).check
    assert check is not None
    assert (check.program, check.characters) == ("C", 10_000)


def test_a_name_that_is_not_utf8_or_controls_a_terminal_is_escaped(trained: TrainedModel, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff\x1b")
    model = Model(folder, trained)
    export(model, tmp_path / "out", format="c")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "xff" in card
    assert "\x1b" not in card


def test_the_card_does_not_say_where_the_text_lay(trained_run: Path, tmp_path: Path) -> None:
    export(load(trained_run), tmp_path / "out", format="c")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "on the validation text." in card
    assert str(trained_run.parent) not in card


def test_the_text_of_a_check_is_shorter_for_a_large_vocabulary() -> None:
    trained = make_random_model([*map(chr, range(100, 5100))])
    ids = text_to_check(Model(Path("m"), trained), None)
    assert len(ids) == 838  # of 5,000 logits each: 4,190,000, at most 2^22
