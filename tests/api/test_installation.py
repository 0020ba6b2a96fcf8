"""The extras that are installed."""

from pathlib import Path

import pytest

from charlm.api.installation import installed_extras

METADATA = """Metadata-Version: 2.4
Name: some-thing
Version: 1
Provides-Extra: here
Provides-Extra: gone
Requires-Dist: numpy>=2.0
Requires-Dist: click>=8; extra == 'here'
Requires-Dist: no-such-package-1234; python_version >= '3' and extra == 'gone'
Requires-Dist: click; extra == 'gone'
"""


def test_an_extra_counts_if_all_its_packages_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "some_thing-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_extras("some-thing") == ["here"]


def test_a_distribution_that_is_not_installed_has_no_extras() -> None:
    assert installed_extras("no-such-package-1234") == []
