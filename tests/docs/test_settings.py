"""docs/settings.md is generated: it says what the config says."""

from pathlib import Path

from charlm.config.reference import settings_page

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def test_the_page_of_settings_is_up_to_date() -> None:
    is_current = PAGE.read_text(encoding="utf-8") == settings_page()
    assert is_current, "regenerate it: python -m charlm.config.reference > docs/settings.md"
