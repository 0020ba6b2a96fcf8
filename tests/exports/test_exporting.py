"""The files of an export: formats, refusals, README.md, and the web page."""

import json
import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports.networks import STRANGE, make_model
from run_folders import contents, names

from charlm.api.model import Model, load
from charlm.config.file import dump_yaml
from charlm.core.model_file import TrainedModel
from charlm.errors import CharlmError
from charlm.exports import FormatName
from charlm.exports.exporting import export, export_html, folder_files

# The README.md


def text_of(trained: TrainedModel, *, title: str = "plays", name: FormatName = "c") -> str:
    """Return the README.md of an export."""
    files = folder_files(trained, name, {}, title=title)
    return files["README.md"].decode()


@pytest.mark.parametrize(
    ("facts", "described"),
    [
        pytest.param({}, "5 characters. Exported by charlm ", id="no score"),
        pytest.param(
            {"score": {"split": "train", "nats_per_char": 1.5, "characters": 2000}},
            "5 characters. Exported by charlm ",
            id="training loss",
        ),
        pytest.param(
            {"score": {"split": "validation", "nats_per_char": 1.5, "characters": 2000}},
            "; 1.50 nats (2.16 bits) per character on 2,000 validation characters. Exported by ",
            id="score",
        ),
    ],
)
def test_the_readme_describes_the_model(facts: dict[str, Any], described: str) -> None:
    assert described in text_of(replace(make_model(), facts=facts))


def test_the_readme_has_name_and_settings_in_a_block(trained: TrainedModel) -> None:
    settings = textwrap.indent(f"# plays\n{dump_yaml(trained.config)}", "    ")
    assert f"\n\n{settings}\n" in text_of(trained)


def test_a_hostile_name_cannot_end_its_block(trained: TrainedModel) -> None:
    text = text_of(trained, title="a````\x1b<b>\n# c")
    assert "\n    # a````\\x1b<b>\n    # c\n" in text


@pytest.mark.parametrize(
    ("temperature", "shown"),
    [(0.25, "0.25"), (0.0, "0.01")],  # the programs divide by it
)
@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_program_in_the_readme_has_the_temperature_of_the_model(
    name: FormatName, temperature: float, shown: str, trained: TrainedModel
) -> None:
    model = replace(trained, config={"sampling": {"temperature": temperature}})
    usage, _, _ = text_of(model, name=name).partition("## Settings")
    assert f'"The " 500 {shown}\n' in usage or f"/ {shown}" in usage


# What export writes


@pytest.fixture
def model(model_file: Path) -> Model:
    """Return a model, which has no run."""
    return load(model_file)


def test_the_result_has_the_size_of_every_file_in_the_folder(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = export(model, folder, format="torch")
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes.keys() == {"torch_network.py", "model.safetensors", "README.md", "LICENSE"}
    assert (result.path, result.files) == (folder, sizes)


def test_the_exported_model_file_is_the_model(model: Model, tmp_path: Path) -> None:
    export(model, tmp_path / "out", format="c")
    exported = load(tmp_path / "out/model.safetensors")
    assert str(exported.generate("a", seed=1)) == str(model.generate("a", seed=1))


def test_a_single_file_of_a_format_is_replaced(model: Model, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine", encoding="utf-8")
    result = export(model, page, format="html")
    assert network_of(page.read_text(encoding="utf-8"))["title"] == "model"
    assert "<html" in page.read_text(encoding="utf-8")
    assert names(tmp_path) == ["model.safetensors", "page.html"]
    assert result.files == {"page.html": page.stat().st_size}


@pytest.mark.parametrize("name", ["folder", "file"])
def test_an_existing_path_is_not_replaced_by_a_folder(
    name: str, model: Model, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder/mine", tmp_path / "file"):
        path.write_text("mine", encoding="utf-8")
    before = contents(tmp_path)
    with pytest.raises(CharlmError, match=f"{name}: already exists"):
        export(model, tmp_path / name, format="c")
    assert contents(tmp_path) == before


def test_a_refused_export_leaves_nothing_behind(model: Model, tmp_path: Path) -> None:
    sigmoid = Model(model.path, make_model(activation="sigmoid"))
    message = r"torch.nn.RNN has no activation sigmoid, only tanh and relu; html, onnx, keras and c"
    with pytest.raises(CharlmError, match=message):
        export(sigmoid, tmp_path / "out", format="torch")
    assert names(tmp_path) == ["model.safetensors"]


# The web page

HOSTILE = '</title><script>alert("x")</script>'


def page_of(trained: TrainedModel, *, title: str = "plays") -> str:
    return export_html(trained, title=title)["index.html"].decode()


def elements(page: str, name: str) -> list[str]:
    return re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)


def network_of(page: str) -> Any:
    (text,) = re.findall(r'<script type="text/plain" id="network">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_the_page_names_no_other_address() -> None:
    page = page_of(make_model())
    assert "://" not in page
    assert re.findall(r"""(?:src|href)=["']?([^"'>]*)""", page) == ["data:,"]


def test_the_policy_of_the_page_allows_only_its_own_scripts_with_their_styles() -> None:
    page = page_of(make_model())
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["script-src"].count("sha256-") == len(elements(page, "script"))
    assert directives["style-src"].count("sha256-") == len(elements(page, "style"))
    assert directives["default-src"] == directives["base-uri"] == "'none'"


@pytest.fixture
def hostile() -> str:
    """Return the page of a model with hostile characters under a hostile title."""
    return page_of(make_model(characters=STRANGE), title=HOSTILE)


def test_hostile_names_become_no_markup(hostile: str) -> None:
    plain = page_of(make_model(characters="abcdefghijklmnopq"[: len(STRANGE)]))
    tags = re.compile(r"<[a-zA-Z/!]")
    assert len(tags.findall(hostile)) == len(tags.findall(plain))
    assert "alert(" not in "".join(elements(hostile, "script"))


def test_hostile_names_are_unchanged_in_the_data(hostile: str) -> None:
    network = network_of(hostile)
    assert network["vocabulary"]["characters"] == [*STRANGE]
    assert network["title"] == HOSTILE
