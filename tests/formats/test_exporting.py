"""The formats, what `export` writes and refuses, the model card, and the page for writing."""

import base64
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from formats.networks import NETWORKS, STRANGE, make_model
from models import make_random_model
from run_folders import contents, names

from charlm.api.model import Model, load
from charlm.config.file import dump_yaml
from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.card import escape_markdown, fenced, model_card
from charlm.formats.exporting import FORMATS, export, export_html, hub_files, text_to_check
from charlm.network.model_file import TrainedModel
from charlm.training.evaluating import EVALUATED_CHARACTERS

# The card


def card_of(trained: TrainedModel, score: Any) -> str:
    known = replace(trained, facts={"score": score})
    return model_card(
        known,
        title="plays",
        program="C",
        usage="./run",
        names=["charlm.h", "charlm.c", "model.bin"],
    )


def test_the_card_has_the_score_if_it_is_known_the_settings_and_the_command(
    trained: TrainedModel,
) -> None:
    card = card_of(trained, {"split": "validation", "nats_per_char": 1.5})
    assert card.startswith("---\nlibrary_name: charlm\n")
    assert "license:" not in card.partition("\n---\n")[0]  # the text is not ours
    assert (
        "1.5000 nats per character (2.1640 bits) on at most 200,000 characters of unseen text."
        in card
    )
    assert f"```yaml\n{dump_yaml(trained.config)}```" in card
    assert "charlm train TEXT -c settings.yaml" in card
    assert "## Use\n\n./run\n\nThe export is `charlm.h`, `charlm.c` and `model.bin`." in card
    assert card_of(trained, "good").count("Unknown") == 1


def test_names_become_no_markdown_and_no_html_and_a_text_cannot_end_its_code_block() -> None:
    assert escape_markdown("<b>[x](y)\n|`") == r"\<b\>\[x\]\(y\)\\n\|\`"
    assert fenced("a\n````\n# b", "text") == "`````text\na\n````\n# b\n`````"


@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_card_writes_at_the_temperature_of_the_recipe(
    trained: TrainedModel, name: FormatName
) -> None:
    for temperature, shown in (
        (0.5, "0.5"),
        (0.0, "0.01"),
        (0.25, "0.25"),
    ):  # the programs divide by it
        own = replace(trained, config={"sampling": {"temperature": temperature}})
        card = hub_files(own, FORMATS[name], {"x": b""}, title="plays")["README.md"].decode()
        usage = card[card.index("## Use") : card.index("## Score")]
        assert f'"The " 500 {shown}\n' in usage or f"/ {shown}" in usage


# What export writes


@pytest.fixture
def model(model_file: Path) -> Model:
    """Return a model, which has no run."""
    return load(model_file)


def test_a_folder_has_the_export_the_card_and_the_model_file(model: Model, tmp_path: Path) -> None:
    assert tuple(FORMATS) == get_args(FormatName)
    written = export(model, tmp_path / "out", format="c")
    of_the_format = ["charlm.h", "charlm.c", "main.c", "model.bin"]
    assert names(tmp_path / "out") == sorted(
        ["README.md", "LICENSE", "model.safetensors", *of_the_format]
    )
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in of_the_format}
    assert (written.path, written.files, written.check) == (tmp_path / "out", sizes, None)
    assert str(load(tmp_path / "out/model.safetensors").generate("a", seed=1)) == str(
        model.generate("a", seed=1)
    )


def test_a_file_name_of_the_format_gives_that_file_alone_which_is_replaced(
    model: Model, tmp_path: Path
) -> None:
    for earlier in ("", "mine"):
        (tmp_path / "page.html").write_text(earlier, encoding="utf-8")
        written = export(model, tmp_path / "page.html", format="html")
        assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert names(tmp_path) == ["model.safetensors", "page.html"]
    assert written.files == {"page.html": (tmp_path / "page.html").stat().st_size}


def test_where_a_folder_is_to_be_what_exists_is_left_as_it_is(model: Model, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder/mine", tmp_path / "file"):
        path.write_text("mine", encoding="utf-8")
    before = contents(tmp_path)
    for name in ("folder", "file"):
        with pytest.raises(CharlmError, match=f"{name}: exists already"):
            export(model, tmp_path / name, format="c")
    assert contents(tmp_path) == before


def test_an_export_that_is_refused_leaves_nothing_behind(model: Model, tmp_path: Path) -> None:
    message = r"torch.nn.RNN has no activation sigmoid, only tanh and relu; html, onnx, keras and c"
    with pytest.raises(CharlmError, match=message):
        export(
            Model(model.path, make_model(activation="sigmoid")), tmp_path / "out", format="torch"
        )
    assert names(tmp_path) == ["model.safetensors"]


def test_a_failed_check_leaves_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PATH has a C compiler whose program writes zeros."""
    program, compiler = "#!/bin/sh\\nhead -c 200000 /dev/zero", tmp_path / "cc"
    script = f'while [ $# -gt 1 ]; do shift; done\nprintf "{program}" > "$1"\nchmod +x "$1"\n'
    compiler.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CC", raising=False)
    message = r"check: a logit of C differs by .* over 10,000 characters; .* nothing was"
    with pytest.raises(CharlmError, match=message):
        export(model, tmp_path / "out", format="c", check=True)
    assert names(tmp_path) == ["cc", "model.safetensors"]


def test_the_card_has_names_escaped_and_no_paths(
    trained: TrainedModel, trained_run: Path, tmp_path: Path
) -> None:
    trained.config["training"]["initial_weights"] = 64 * "1"
    export(Model(tmp_path / os.fsdecode(b"a\xff\x1b"), trained), tmp_path / "strange", format="c")
    card = (tmp_path / "strange/README.md").read_text(encoding="utf-8")
    assert "xff" in card
    assert "charlm train TEXT -c settings.yaml --init MODEL\n" in card
    assert "\x1b" not in card
    export(load(trained_run), tmp_path / "out", format="c")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"on at most {EVALUATED_CHARACTERS:,} characters of unseen text." in card
    assert "charlm train TEXT -c settings.yaml\n" in card
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


def network_of(page: str) -> Any:
    (found,) = re.findall(r'<script type="text/plain" id="network">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


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
    network = network_of(hostile)
    assert (network["vocabulary"]["characters"], network["title"]) == ([*STRANGE], HOSTILE)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_page_lists_its_tensors_in_the_order_of_its_weights(network: dict[str, Any]) -> None:
    trained = make_model(**network)
    page = page_of(trained)
    (weights,) = re.findall(r'<script type="text/plain" id="weights">(.*?)</script>', page)
    names, sizes = zip(*network_of(page)["tensors"], strict=True)
    parts = np.split(np.frombuffer(base64.b64decode(weights), "<f4"), np.cumsum(sizes)[:-1])
    found = {name: part.tolist() for name, part in zip(names, parts, strict=True)}
    assert found == {
        name: tensor.ravel().tolist() for name, tensor in trained.parameters.tensors.items()
    }


def test_only_a_score_on_unseen_text_is_called_so() -> None:
    for split, score in (
        (
            "validation",
            "1.50 nats (2.16 bits) per character on at most 200,000 characters of unseen text.",
        ),
        ("train", ""),
    ):
        scored = replace(make_model(), facts={"score": {"split": split, "nats_per_char": 1.5}})
        summary = network_of(page_of(scored))["about"]["summary"]
        assert summary.endswith(score)
        assert ("bits" in summary) == bool(score)
