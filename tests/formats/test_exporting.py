"""The formats, what `export` writes and refuses, and the page for writing."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from formats.networks import STRANGE, make_model
from models import make_random_model
from run_folders import names

from charlm.api.model import Model, load
from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS, export, export_html, hub_files, text_to_check
from charlm.network.model_file import TrainedModel


@pytest.mark.parametrize("temperature", ["0.5", "0.0", "0.25"])
@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_card_writes_at_the_temperature_of_the_recipe(
    trained: TrainedModel, name: FormatName, temperature: str
) -> None:
    own = replace(trained, config={"sampling": {"temperature": float(temperature)}})
    card = hub_files(own, FORMATS[name], {"x": b""}, title="plays")["README.md"].decode()
    usage = card[card.index("## Use") : card.index("## Score")]
    shown = "0.01" if temperature == "0.0" else temperature  # the programs divide by it
    assert f'"The " 500 {shown}\n' in usage or f"/ {shown}" in usage


# What export writes


@pytest.fixture
def model(model_file: Path) -> Model:
    """Return a model, which has no run."""
    return load(model_file)


def test_a_folder_has_the_export_the_card_and_the_model_file(model: Model, tmp_path: Path) -> None:
    assert tuple(FORMATS) == get_args(FormatName)
    written = export(model, tmp_path / "out", format="c")
    assert names(tmp_path / "out") == sorted(["README.md", "LICENSE", "model.safetensors", "run.c", "model.bin"])
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in ("run.c", "model.bin")}
    assert (written.path, written.files, written.check) == (tmp_path / "out", sizes, None)
    assert str(load(tmp_path / "out/model.safetensors").generate("a", seed=1)) == str(model.generate("a", seed=1))


def test_a_file_name_of_the_format_gives_that_file_alone_which_is_replaced(model: Model, tmp_path: Path) -> None:
    for earlier in ("", "mine"):
        (tmp_path / "page.html").write_text(earlier, encoding="utf-8")
        written = export(model, tmp_path / "page.html", format="html")
        assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert names(tmp_path) == ["model.safetensors", "page.html"]
    assert written.files == {"page.html": (tmp_path / "page.html").stat().st_size}


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
    message = r"torch.nn.RNN has no activation sigmoid, only tanh and relu; the formats html, onnx, keras and c"
    with pytest.raises(CharlmError, match=message):
        export(Model(model.path, make_model(activation="sigmoid")), tmp_path / "out", format="torch")
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


def test_the_card_shows_a_strange_name_escaped_and_not_where_the_text_lay(
    trained: TrainedModel, trained_run: Path, tmp_path: Path
) -> None:
    export(Model(tmp_path / os.fsdecode(b"a\xff\x1b"), trained), tmp_path / "strange", format="c")
    card = (tmp_path / "strange/README.md").read_text(encoding="utf-8")
    assert "xff" in card
    assert "\x1b" not in card
    export(load(trained_run), tmp_path / "out", format="c")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "on the validation text." in card
    assert str(trained_run.parent) not in card


def test_the_text_of_a_check_is_shorter_for_a_large_vocabulary() -> None:
    trained = make_random_model([*map(chr, range(100, 5100))])
    ids = text_to_check(Model(Path("m"), trained), None)
    assert len(ids) == 838  # of 5,000 logits each: 4,190,000, at most 2^22


# The page for writing

HOSTILE = '</title><script>alert("x")</script>'


def page_of(trained: TrainedModel, *, title: str = "plays") -> str:
    return export_html(trained, title=title)["index.html"].decode()


def elements(page: str, name: str) -> list[str]:
    return re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)


def block(page: str, name: str) -> str:
    (found,) = re.findall(rf'<script type="text/plain" id="{name}">(.*?)</script>', page, re.DOTALL)
    return str(found)


def test_the_page_names_no_other_place_and_its_policy_allows_none() -> None:
    page = page_of(make_model())
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives.pop("script-src").count("sha256-") == len(elements(page, "script"))
    assert directives.pop("style-src").count("sha256-") == len(elements(page, "style"))
    assert "unsafe" not in policy
    assert directives.pop("img-src") == "data:"
    assert set(directives) == {"default-src", "base-uri", "form-action"}
    assert set(directives.values()) == {"'none'"}
    assert "://" not in page
    assert re.findall(r"""(?:src|href)=["']?([^"'>]*)""", page) == ["data:,"]


def test_nothing_in_a_model_or_a_title_becomes_markup() -> None:
    plain = page_of(make_model(characters="abcdefghijklmnopq"[: len(STRANGE)]))
    hostile = page_of(make_model(characters=STRANGE), title=HOSTILE)
    for page in (plain, hostile):
        assert len(re.findall(r"<[a-zA-Z/!]", page)) == len(re.findall(r"<[a-zA-Z/!]", plain))
        assert "alert(" not in "".join(elements(page, "script"))
    assert json.loads(block(hostile, "network"))["vocabulary"]["characters"] == [*STRANGE]
    assert json.loads(block(hostile, "network"))["title"] == HOSTILE


def test_only_a_score_on_unseen_text_is_called_so() -> None:
    trained = make_model()
    summaries = []
    for split in ("validation", "train"):
        scored = replace(trained, facts={"score": {"split": split, "nats_per_char": 1.5}})
        summaries.append(json.loads(block(page_of(scored), "network"))["about"]["summary"])
    assert summaries[0].endswith("1.50 nats (2.16 bits) per character on unseen text.")
    assert "bits" not in summaries[1]
