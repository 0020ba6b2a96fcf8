"""What `serve` checks before it listens."""

from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="missing: uvicorn")


from charlm.errors import CharlmError
from charlm.serving.server import serve


@pytest.mark.parametrize(
    ("host", "key", "said"),
    [
        ("127.0.0.1", None, []),
        ("0.0.0.0", "secret", []),
        ("0.0.0.0", None, ["--host 0.0.0.0: open to the network without a key; set CHARLM_API_KEY"]),
        *(("127.0.0.1", key, None) for key in ("", " secret", "secret\n", "cl\u00e9", "a\tb")),
    ],
)
def test_an_open_address_without_a_key_is_warned_of_and_a_key_that_no_request_can_carry_refused_and_not_told(
    host: str, key: str | None, said: list[str] | None, model_file: Path
) -> None:
    lines: list[str] = []

    def announce(_url: str, _models: Sequence[str]) -> None:
        raise EOFError

    with pytest.raises(CharlmError if said is None else EOFError) as caught:
        serve([model_file], host=host, port=0, key=key, say=lines.append, announce=announce)
    assert lines == (said or [])
    if said is None:
        assert str(caught.value).startswith("CHARLM_API_KEY: must be printable ASCII")
        assert not (key or "").strip() or (key or "").strip() not in str(caught.value)
