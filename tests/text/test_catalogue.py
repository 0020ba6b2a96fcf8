"""The public texts that can be downloaded."""

import re

import pytest

from charlm.text.catalogue import PUBLIC_TEXTS, PublicText


@pytest.mark.parametrize("text", PUBLIC_TEXTS.values(), ids=PUBLIC_TEXTS.keys())
def test_a_text_has_two_different_https_addresses_and_a_sha256_or_none(text: PublicText) -> None:
    assert len(set(text.mirrors)) >= 2
    assert all(url.startswith("https://") for url in text.mirrors)
    assert text.sha256 is None or re.fullmatch("[0-9a-f]{64}", text.sha256)
