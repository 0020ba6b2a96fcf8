"""The files beside an export: the model card, the license, the bundle."""

from dataclasses import replace
from pathlib import Path

from charlm.formats.hub import CardFacts, Source, escape_markdown, fenced, hub_files, model_card
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


def test_the_card_has_the_score_the_data_the_settings_and_the_command(bundle: Bundle) -> None:
    facts = replace(FACTS, sources=(Source("play.txt", 1234, "abc"),), sample="Once")
    card = model_card(replace(bundle, facts={"step": 7, "score": {"split": "validation", "nats_per_char": 1.5}}), facts)
    assert card.startswith("---\nlicense: mit\n")
    assert "1.5000 nats per character (2.1640 bits) on the validation text, after 7 steps." in card
    assert "| play.txt | 1,234 | `abc` |" in card
    assert f"```yaml\n{bundle.config}```" in card
    assert "charlm train TEXT -c config.yaml" in card
    assert "./run 2 4" in card
    assert "```text\nOnce\n```" in card


def test_what_is_not_known_is_said(bundle: Bundle) -> None:
    card = model_card(replace(bundle, facts={"score": "good"}), FACTS)
    assert card.count("Not known") == 2


def test_only_the_first_of_many_documents_are_listed(bundle: Bundle) -> None:
    sources = tuple(Source(f"{number}.txt", 1, "") for number in range(1000))
    card = model_card(bundle, replace(FACTS, sources=sources))
    assert "and 980 more documents." in card
    assert len(card) < 10_000


def test_names_become_no_markdown_and_no_html() -> None:
    assert escape_markdown("<b>[x](y)\n|`") == r"\<b\>\[x\]\(y\)\\n\|\`"


def test_a_text_cannot_end_its_code_block() -> None:
    assert fenced("a\n````\n# b", "text") == "`````text\na\n````\n# b\n`````"


def test_control_characters_of_a_text_are_shown_as_escapes() -> None:
    assert fenced("\x1b[2Ja\n", "text") == "```text\n\\x1b[2Ja\n```"
