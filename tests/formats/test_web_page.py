"""The page as a file: its weights, its content policy, and that nothing in a trained becomes HTML or JavaScript."""

import json
import re
from dataclasses import replace

from formats.networks import STRANGE, make_model

from charlm.formats.exporting import export_html
from charlm.network.model_file import TrainedModel

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
