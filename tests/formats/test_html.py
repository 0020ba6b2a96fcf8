"""The page as a file: its weights, its content policy, and that nothing in a bundle becomes HTML or JavaScript."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from formats.networks import STRANGE, BundleMaker

from charlm.errors import CharlmError
from charlm.formats.html import Precision, export_html, round_weights
from charlm.formats.page import json_for_page, render_page
from charlm.network.bundle import Bundle

HOSTILE = '</title><script>alert("x")</script>'


def page_of(bundle: Bundle, *, title: str = "plays", precision: Precision = "float16") -> str:
    return export_html(bundle, title=title, precision=precision)["index.html"].decode()


def elements(page: str, name: str) -> list[str]:
    return re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)


def block(page: str, name: str) -> str:
    (found,) = re.findall(rf'<script type="text/plain" id="{name}">(.*?)</script>', page, re.DOTALL)
    return str(found)


@pytest.mark.parametrize(("precision", "dtype"), [("float16", "<f2"), ("float32", "<f4")])
def test_the_weights_are_those_of_the_bundle_in_base64(
    make_bundle: BundleMaker, precision: Precision, dtype: str
) -> None:
    bundle = make_bundle(layers=2, embedding=3)
    page = page_of(bundle, precision=precision)
    found = np.frombuffer(base64.b64decode(block(page, "weights")), dtype).astype(np.float32)
    expected = [tensor.ravel() for tensor in round_weights(bundle.parameters, precision).tensors().values()]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    sizes = json.loads(block(page, "network"))["tensors"]
    assert sizes == [[name, tensor.size] for name, tensor in bundle.parameters.tensors().items()]


def test_rounding_changes_a_weight_by_a_twentieth_of_a_percent_at_most(make_bundle: BundleMaker) -> None:
    parameters = make_bundle().parameters
    rounded = round_weights(parameters, "float16")
    for name, tensor in parameters.tensors().items():
        np.testing.assert_allclose(rounded.tensors()[name], tensor, rtol=2**-11, atol=2**-25)
    assert round_weights(parameters, "float32") is parameters


def test_a_weight_too_large_for_float16_is_refused(make_bundle: BundleMaker) -> None:
    bundle = make_bundle()
    bundle.parameters.logits_bias[0] = -7e4
    with pytest.raises(CharlmError, match=r"--precision float16: a weight is 70000; must be 65504 at most"):
        page_of(bundle)
    assert page_of(bundle, precision="float32")


def test_the_policy_allows_only_the_scripts_and_the_style_of_the_page(make_bundle: BundleMaker) -> None:
    page = page_of(make_bundle())
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    hashes = {
        kind: [
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in elements(page, kind)
        ]
        for kind in ("script", "style")
    }
    assert directives.pop("script-src").split() == hashes["script"]
    assert directives.pop("style-src").split() == hashes["style"]
    assert directives.pop("img-src") == "data:"
    assert set(directives) == {"default-src", "connect-src", "base-uri", "form-action"}
    assert set(directives.values()) == {"'none'"}


def test_nothing_in_a_bundle_or_a_title_becomes_markup(make_bundle: BundleMaker) -> None:
    plain = page_of(make_bundle(characters="abcdefghijklmnopq"[: len(STRANGE)]))
    hostile = page_of(make_bundle(characters=STRANGE), title=HOSTILE)
    for page in (plain, hostile):
        assert len(re.findall(r"<[a-zA-Z/!]", page)) == len(re.findall(r"<[a-zA-Z/!]", plain))
        assert "alert(" not in "".join(elements(page, "script"))
    assert json.loads(block(hostile, "network"))["vocabulary"]["characters"] == [*STRANGE]
    assert json.loads(block(hostile, "network"))["title"] == HOSTILE


def test_the_page_names_no_other_place(make_bundle: BundleMaker) -> None:
    page = page_of(make_bundle())
    assert "://" not in page
    assert re.findall(r"""(?:src|href)=["']?([^"'>]*)""", page) == ["data:,"]


def test_only_a_score_on_unseen_text_is_called_so(make_bundle: BundleMaker) -> None:
    bundle = make_bundle()
    summaries = []
    for split in ("validation", "train"):
        scored = replace(bundle, facts={"score": {"split": split, "nats_per_char": 1.5}})
        summaries.append(json.loads(block(page_of(scored), "network"))["summary"])
    assert summaries[0].endswith("2.16 bits per character on unseen text.")
    assert "bits" not in summaries[1]


def test_json_for_a_page_is_ascii_without_markup() -> None:
    found = json_for_page({"</script>": "é<!--&\u2028"})
    assert found.isascii()
    assert not set("<>&") & set(found)
    assert json.loads(found) == {"</script>": "é<!--&\u2028"}


def test_a_page_with_another_source_may_connect_to_its_server() -> None:
    page = render_page(title="x", scripts=["1"], connect="'self'")
    assert "connect-src 'self'" in page
    assert elements(page, "script") == ["1"]
