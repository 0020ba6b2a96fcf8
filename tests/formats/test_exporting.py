"""The files of an export: formats, refusals, the model card, and the web page."""

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

# The card


def card_of(trained: TrainedModel, score: Any) -> str:
    scored = replace(trained, facts={"score": score})
    files = ["charlm.h", "charlm.c", "model.bin"]
    return model_card(scored, title="plays", program="C", usage="./run", names=files)


@pytest.fixture
def card(trained: TrainedModel) -> str:
    """Return the card of a model with a validation loss."""
    return card_of(trained, {"split": "validation", "nats_per_char": 1.5})


def test_the_card_starts_with_metadata_without_a_license(card: str) -> None:
    assert card.startswith("---\nlibrary_name: charlm\n")
    metadata, _, _ = card.partition("\n---\n")
    assert "license:" not in metadata  # the text is not ours


@pytest.mark.parametrize(
    "part",
    [
        "1.5000 nats per character (2.1640 bits) on unseen text.",
        "charlm train TEXT -c settings.yaml",
        "## Use\n\n./run\n\nThe export is `charlm.h`, `charlm.c` and `model.bin`.",
    ],
    ids=["score", "command", "files"],
)
def test_the_card_has_a_part(part: str, card: str) -> None:
    assert part in card


def test_the_card_has_the_settings(card: str, trained: TrainedModel) -> None:
    assert f"```yaml\n{dump_yaml(trained.config)}```" in card


def test_the_card_says_that_a_score_is_unknown(trained: TrainedModel) -> None:
    assert card_of(trained, "good").count("Unknown") == 1


def test_the_markup_of_a_name_is_escaped() -> None:
    assert escape_markdown("<b>[x](y)\n|`") == r"\<b\>\[x\]\(y\)\\n\|\`"


def test_a_text_cannot_end_its_code_block() -> None:
    assert fenced("a\n````\n# b", "text") == "`````text\na\n````\n# b\n`````"


@pytest.mark.parametrize(
    ("temperature", "shown"),
    [(0.5, "0.5"), (0.25, "0.25"), (0.0, "0.01")],  # the programs divide by it
)
@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_program_in_the_card_has_the_temperature_of_the_model(
    name: FormatName, temperature: float, shown: str, trained: TrainedModel
) -> None:
    model = replace(trained, config={"sampling": {"temperature": temperature}})
    card = hub_files(model, FORMATS[name], {"x": b""}, title="plays")["README.md"].decode()
    usage = card[card.index("## Use") : card.index("## Score")]
    assert f'"The " 500 {shown}\n' in usage or f"/ {shown}" in usage


# What export writes


@pytest.fixture
def model(model_file: Path) -> Model:
    """Return a model, which has no run."""
    return load(model_file)


def test_every_name_of_a_format_has_a_format() -> None:
    assert tuple(FORMATS) == get_args(FormatName)


C_EXPORT = ["charlm.h", "charlm.c", "main.c", "model.bin"]


def test_an_exported_folder_also_has_card_license_or_model_file(
    model: Model, tmp_path: Path
) -> None:
    export(model, tmp_path / "out", format="c")
    others = ["README.md", "LICENSE", "model.safetensors"]
    assert names(tmp_path / "out") == sorted([*C_EXPORT, *others])


def test_the_result_has_the_sizes_of_the_files_of_the_format(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = export(model, folder, format="c")
    sizes = {name: (folder / name).stat().st_size for name in C_EXPORT}
    assert (result.path, result.files, result.check) == (folder, sizes, None)


def test_the_exported_model_file_is_the_model(model: Model, tmp_path: Path) -> None:
    export(model, tmp_path / "out", format="c")
    exported = load(tmp_path / "out/model.safetensors")
    assert str(exported.generate("a", seed=1)) == str(model.generate("a", seed=1))


def test_a_single_file_of_a_format_is_replaced(model: Model, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine", encoding="utf-8")
    result = export(model, page, format="html")
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


COMPILER = """#!/bin/sh
while [ $# -gt 1 ]; do shift; done
printf "#!/bin/sh\\nhead -c 200000 /dev/zero" > "$1"
chmod +x "$1"
"""
"""A C compiler whose program writes zeros."""


def test_a_failed_check_leaves_nothing_behind(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cc").write_text(COMPILER, encoding="utf-8")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CC", raising=False)
    message = r"check: a logit of C differs by .* over 10,000 characters; .* nothing was"
    with pytest.raises(CharlmError, match=message):
        export(model, tmp_path / "out", format="c", check=True)
    assert names(tmp_path) == ["cc", "model.safetensors"]


def exported_card(model: Model, folder: Path) -> str:
    export(model, folder, format="c")
    return (folder / "README.md").read_text(encoding="utf-8")


def test_an_unprintable_name_is_escaped_in_the_card(trained: TrainedModel, tmp_path: Path) -> None:
    card = exported_card(Model(tmp_path / os.fsdecode(b"a\xff\x1b"), trained), tmp_path / "out")
    assert "xff" in card
    assert "\x1b" not in card


def test_the_command_in_the_card_names_initial_weights(
    trained: TrainedModel, tmp_path: Path
) -> None:
    trained.config["training"]["initial_weights"] = 64 * "1"
    card = exported_card(Model(tmp_path / "m", trained), tmp_path / "out")
    assert "charlm train TEXT -c settings.yaml --init MODEL\n" in card


def test_the_card_of_a_run_has_no_path(trained_run: Path, tmp_path: Path) -> None:
    card = exported_card(load(trained_run), tmp_path / "out")
    assert "on 1,999 characters of unseen text." in card
    assert "charlm train TEXT -c settings.yaml\n" in card
    assert str(trained_run.parent) not in card


def test_the_text_of_a_check_is_shorter_for_a_large_vocabulary() -> None:
    trained = make_random_model([*map(chr, range(100, 5100))])
    ids = text_to_check(Model(Path("m"), trained), None)
    assert len(ids) == 838  # of 5,000 logits each: 4,190,000, at most 2^22


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
    assert directives.pop("script-src").count("sha256-") == len(elements(page, "script"))
    assert directives.pop("style-src").count("sha256-") == len(elements(page, "style"))
    assert directives.pop("img-src") == "data:"
    assert directives == dict.fromkeys(["default-src", "base-uri", "form-action"], "'none'")


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


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_page_lists_its_tensors_in_the_order_of_its_weights(network: dict[str, Any]) -> None:
    trained = make_model(**network)
    page = page_of(trained)
    (encoded,) = re.findall(r'<script type="text/plain" id="weights">(.*?)</script>', page)
    weights = np.frombuffer(base64.b64decode(encoded), "<f4")
    names, sizes = zip(*network_of(page)["tensors"], strict=True)
    parts = np.split(weights, np.cumsum(sizes)[:-1])
    assert names == tuple(trained.parameters.tensors)
    for part, tensor in zip(parts, trained.parameters.tensors.values(), strict=True):
        np.testing.assert_array_equal(part, tensor.ravel())


@pytest.mark.parametrize(
    ("split", "end"),
    [
        ("train", "5 characters."),
        (
            "validation",
            "1.50 nats (2.16 bits) per character on unseen text.",
        ),
    ],
)
def test_the_page_has_a_score_only_on_unseen_text(split: str, end: str) -> None:
    scored = replace(make_model(), facts={"score": {"split": split, "nats_per_char": 1.5}})
    assert network_of(page_of(scored))["about"]["summary"].endswith(end)
