"""Files and requests of any bytes: what random edits make of a valid one is read, or refused in a line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import train
from faults.wrong_values import write_sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.network.bundle import read_bundle
from charlm.runs.metrics import read_metrics, read_position
from charlm.runs.run import open_run
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, parse_request
from charlm.text.corpus import open_corpus
from charlm.training.checkpoints import restore

pytestmark = pytest.mark.slow

TOKENS = (
    *(b"", b"\0", b'"', b"\\", b"{", b"[", b"]", b"}", b",", b":", b"-", b"\n", b" ", b"\xff", b"\xed\xa0\x80"),
    *(b"null", b"true", b"NaN", b"-1", b"0.5", b"1e999", b"9" * 30, b"9" * 5000, b'"\\ud800"', b"[[1]]", b"{}", b"F64"),
)
EDITS = st.lists(
    st.tuples(st.integers(0, 2**20), st.integers(0, 40), st.sampled_from(TOKENS) | st.binary(max_size=9)),
    min_size=1,
    max_size=4,
)
"""Where a part of some length is replaced, and by what."""
PROGRESS, STATE = (f"checkpoints/step-000000050/{name}" for name in ("progress.json", "state.safetensors"))
REQUESTS = {
    CompletionRequest: b'{"model": "m", "prompt": ["To be", "or"], "max_tokens": 9, "stop": ["\\n"], "temperature": 1,'
    b' "top_p": 0.9, "top_k": 5, "seed": 3, "n": 2, "logprobs": 2, "stream": true, "stream_options": {}}',
    ChatRequest: b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "To be"}]}], "n": 1, "stop": [],'
    b' "response_format": {"type": "text"}, "tools": [], "max_completion_tokens": 5, "min_p": 0.1}',
}
READERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(
        [f"best/{name}" for name in ("model.json", "vocabulary.json", "config.yaml", "weights.safetensors")],
        lambda run: read_bundle(run / "best"),
    ),
    **dict.fromkeys((PROGRESS, STATE), lambda run: restore(run / "checkpoints", warn=check)),
    "corpus/manifest.json": lambda run: open_corpus(run / "corpus"),
    "config.yaml": open_run,
    "metrics.jsonl": lambda run: (read_metrics(run / "metrics.jsonl"), read_position(run / "metrics.jsonl")),
}


def edit(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, piece in edits:
        begin = at % (len(data) + 1)
        data = data[:begin] + piece + data[begin + length :]
    return data


def check(message: str) -> None:
    """Check that a message is one harmless line."""
    assert message.isprintable(), message
    assert len(message) <= 1500


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose files are changed, and put back."""
    return train(tmp_path_factory.mktemp("bytes") / "run").folder


@settings(max_examples=300)
@given(edits=EDITS)
@pytest.mark.parametrize("name", READERS)
def test_a_file_with_a_right_checksum_is_read_or_refused_in_a_line(
    run: Path, name: str, edits: list[tuple[int, int, bytes]]
) -> None:
    originals = {path: path.read_bytes() for path in (run / name).parent.iterdir() if path.is_file()}
    try:
        write_sealed(run, name, edit(originals[run / name], edits))
        READERS[name](run)
    except CharlmError as error:
        check(str(error))
    finally:
        for path, data in originals.items():
            path.write_bytes(data)


@settings(max_examples=1000)
@given(edits=EDITS)
@pytest.mark.parametrize("kind", REQUESTS)
def test_the_body_of_a_request_is_read_or_refused_in_a_line(
    kind: type[CompletionRequest] | type[ChatRequest], edits: list[tuple[int, int, bytes]]
) -> None:
    try:
        parse_request(kind, edit(REQUESTS[kind], edits))
    except RequestError as error:
        check(error.message)
