"""The files beside an export: the model card, the license, the bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charlm.formats.card import (
    CardFacts,
    KnownScore,
    escape_markdown,
    fenced,
    hub_files,
    known_score,
    model_card,
)
from charlm.network.bundle import Bundle, read_bundle
from charlm.storage.atomic import write_folder

ROOT = Path(__file__).parents[2]
FACTS = CardFacts(title="plays", program="C", usage="./run {layers} {units}", files=("run.c", "model.bin"))


def test_the_folder_is_a_bundle_that_charlm_reads(bundle: Bundle, tmp_path: Path) -> None:
    write_folder(tmp_path / "export", hub_files(bundle, FACTS))
    found = read_bundle(tmp_path / "export")
    assert (found.vocabulary, found.config, found.facts) == (bundle.vocabulary, bundle.config, bundle.facts)


def test_the_license_is_that_of_the_project(bundle: Bundle) -> None:
    assert hub_files(bundle, FACTS)["LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_the_card_has_the_score_the_settings_and_the_command(bundle: Bundle) -> None:
    card = model_card(replace(bundle, facts={"step": 7, "score": {"split": "validation", "nats_per_char": 1.5}}), FACTS)
    assert card.startswith("---\nlicense: mit\n")
    assert "1.5000 nats per character (2.1640 bits) on the validation text, after 7 steps." in card
    assert f"```yaml\n{bundle.config}```" in card
    assert "charlm train TEXT -c config.yaml" in card
    assert "./run 2 4" in card


def test_what_is_not_known_is_said(bundle: Bundle) -> None:
    card = model_card(replace(bundle, facts={"score": "good"}), FACTS)
    assert card.count("Not known") == 1


def test_names_become_no_markdown_and_no_html() -> None:
    assert escape_markdown("<b>[x](y)\n|`") == r"\<b\>\[x\]\(y\)\\n\|\`"


def test_a_text_cannot_end_its_code_block() -> None:
    assert fenced("a\n````\n# b", "text") == "`````text\na\n````\n# b\n`````"


def test_control_characters_of_a_text_are_shown_as_escapes() -> None:
    assert fenced("\x1b[2Ja\n", "text") == "```text\n\\x1b[2Ja\n```"


@pytest.mark.parametrize(("split", "is_unseen"), [("validation", True), ("train", False)])
def test_a_score_is_read_with_its_step(split: str, is_unseen: bool) -> None:
    facts = {"step": 7, "score": {"split": split, "nats_per_char": 1.5}}
    assert known_score(facts) == KnownScore(1.5, is_unseen, 7)


@pytest.mark.parametrize("nats", [None, "1.5", True, -1.0, float("nan"), float("inf"), 10**400, [1.5]])
def test_a_value_that_is_not_possible_is_none(nats: Any) -> None:
    assert known_score({"score": {"split": "validation", "nats_per_char": nats}}) is None


@pytest.mark.parametrize(
    "score", [None, 3, [], {}, {"split": "<b>", "nats_per_char": 1.5}, {"split": [], "nats_per_char": 1}]
)
def test_what_is_not_a_score_is_none(score: Any) -> None:
    assert known_score({"score": score}) is None


@pytest.mark.parametrize("step", [None, "7", 1.5, 10**400, True])
def test_a_step_that_is_not_possible_is_left_out(step: Any) -> None:
    facts = {"step": step, "score": {"split": "train", "nats_per_char": 1}}
    assert known_score(facts) == KnownScore(1, False, None)
