"""What `serve` checks before it listens."""

from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="missing: uvicorn")


from charlm.errors import CharlmError
from charlm.serving.server import serve


class ListeningError(Exception):
    """Ends a server when it listens."""


def announce(_url: str, _models: Sequence[str]) -> None:
    raise ListeningError


@pytest.mark.parametrize(
    ("host", "key", "said"),
    [
        ("127.0.0.1", None, []),
        ("0.0.0.0", "secret", []),
        ("0.0.0.0", None, ["--host 0.0.0.0: open to the network without a key; set CHARLM_API_KEY"]),
    ],
)
def test_an_open_address_without_a_key_is_warned_of(
    host: str, key: str | None, said: list[str], model_file: Path
) -> None:
    lines: list[str] = []
    with pytest.raises(ListeningError):
        serve([model_file], host=host, port=0, key=key, say=lines.append, announce=announce)
    assert lines == said


@pytest.mark.parametrize("key", ["", " secret", "secret\n", "clé", "a\tb"])
def test_a_key_that_no_request_can_carry_is_refused_and_not_told(key: str, model_file: Path) -> None:
    with pytest.raises(CharlmError, match="CHARLM_API_KEY: must be printable ASCII") as caught:
        serve([model_file], port=0, key=key, announce=announce)
    assert not key.strip() or key.strip() not in str(caught.value)
