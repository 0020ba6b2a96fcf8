"""docs/settings.md is generated: it says what the config says."""

from docs.settings import PAGE, page


def test_the_page_of_settings_is_up_to_date() -> None:
    is_current = PAGE.read_text(encoding="utf-8") == page()
    assert is_current, "regenerate it: PYTHONPATH=tests python -m docs.settings"
