"""What `charlm.api.serving` checks before it listens."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from run_folders import make_scored_run

from charlm.api.serving import serve
from charlm.network.bundle import Bundle, write_bundle
from charlm.runs.folder import model_name


def test_a_model_has_the_name_of_its_run_or_of_its_folder(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "mine", bundle, 1.0)
    write_bundle(tmp_path / "elsewhere" / "best", bundle)
    assert model_name(run / "best") == "mine"
    assert model_name(tmp_path / "elsewhere" / "best") == "best"


class ListeningError(Exception):
    """Ends a server when it listens."""


@pytest.mark.parametrize(
    ("host", "key", "said"),
    [
        ("127.0.0.1", None, []),
        ("0.0.0.0", "secret", []),
        ("0.0.0.0", None, ["--host 0.0.0.0: open to the network without a key; set CHARLM_API_KEY"]),
    ],
)
def test_an_open_address_without_a_key_is_warned_of(
    host: str, key: str | None, said: list[str], bundle_folder: Path
) -> None:
    pytest.importorskip("uvicorn")

    def announce(url: str, models: Sequence[str]) -> None:
        raise ListeningError

    lines: list[str] = []
    with pytest.raises(ListeningError):
        serve([bundle_folder], host=host, port=0, key=key, say=lines.append, announce=announce)
    assert lines == said
