"""The model card: what it says of a model, and that nothing in a trained becomes Markdown or HTML."""

from dataclasses import replace
from typing import Any

from charlm.config.file import dump_yaml
from charlm.formats.card import escape_markdown, fenced, model_card
from charlm.network.model_file import TrainedModel


def card_of(trained: TrainedModel, score: Any) -> str:
    known = replace(trained, facts={"score": score})
    return model_card(known, title="plays", program="C", usage="./run", names=["run.c", "model.bin"])


def test_the_card_has_the_score_if_it_is_known_the_settings_and_the_command(trained: TrainedModel) -> None:
    card = card_of(trained, {"split": "validation", "nats_per_char": 1.5})
    assert card.startswith("---\nlibrary_name: charlm\n")
    assert "license:" not in card.partition("\n---\n")[0]  # the text is not ours
    assert "1.5000 nats per character (2.1640 bits) on the validation text." in card
    assert f"```yaml\n{dump_yaml(trained.config)}```" in card
    assert "charlm train TEXT -c settings.yaml" in card
    assert "## Use\n\n./run\n\nThe export is `run.c` and `model.bin`." in card
    assert card_of(trained, "good").count("Not known") == 1


def test_names_become_no_markdown_and_no_html() -> None:
    assert escape_markdown("<b>[x](y)\n|`") == r"\<b\>\[x\]\(y\)\\n\|\`"


def test_a_text_cannot_end_its_code_block() -> None:
    assert fenced("a\n````\n# b", "text") == "`````text\na\n````\n# b\n`````"
