"""Models and requests of any bytes: what edits make of a valid one is read, or refused in a line.

The checksums are made right, so that what was edited is read.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from fake_runs import train
from hypothesis import given, settings
from hypothesis import strategies as st
from models import read_parts

from charlm.api.model import load
from charlm.errors import CharlmError
from charlm.network.model_file import seal
from charlm.runs.summary import summarize
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, parse_request

pytestmark = pytest.mark.slow

VALUES = (
    *("null", "true", "0", "-1", "0.5", "1e308", "1e400", "NaN", str(2**63), str(2**64), "9" * 5000),
    *('""', '"x"', '"\\u001b[31m"', '"\\ud800"', "[]", "{}", '[[1], "x"]', '{"a": 1}'),
    *("[" * 100_000 + "]" * 100_000, json.dumps("x" * 200_000)),
)
"""What takes the place of a value in JSON."""
PIECES = (
    *(b"", b"\0", b'"', b"\\", b"{", b"[", b"]", b"}", b",", b":", b"-", b"\n", b" ", b"\xff", b"\xed\xa0\x80"),
    *(b"null", b"true", b"NaN", b"-1", b"0.5", b"1e999", b"9" * 30, b"9" * 5000, b'"\\ud800"', b"[[1]]", b"{}", b"F64"),
)
WORD = re.compile(rb'("(?:[^"\\]|\\.)*+"|[^\s\[\]{}",:]++)(?!"?:)')
"""A value in JSON, which is no key."""
Edits = Sequence[tuple[int, int | None, bytes]]
WORDS = st.sampled_from([value.encode() for value in VALUES])
OF_WORDS = st.tuples(st.integers(0, 300), st.none(), WORDS)
OF_BYTES = st.tuples(st.integers(0, 2**20), st.integers(0, 40), st.sampled_from(PIECES) | st.binary(max_size=9))
EDITS: st.SearchStrategy[Edits] = st.lists(OF_WORDS, min_size=1, max_size=2) | st.lists(
    OF_BYTES, min_size=1, max_size=4
)
"""Where a part of some length is replaced, and by what; None = the word of this number."""
REQUESTS = {
    CompletionRequest: b'{"model": "m", "prompt": ["To be", "or"], "max_tokens": 9, "stop": ["\\n"], "temperature": 1,'
    b' "top_p": 0.9, "top_k": 5, "seed": 3, "n": 2, "logprobs": 2, "stream": true, "stream_options": {}}',
    ChatRequest: b'{"messages": [{"role": "user", "content": "To be"}], "stop": [], "max_completion_tokens": 5}',
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose best model is changed, and put back."""
    return train(tmp_path_factory.mktemp("bytes") / "run").folder


def edit(data: bytes, edits: Edits) -> bytes:
    for at, length, piece in edits:
        words = [word.span() for word in WORD.finditer(data)] if length is None else []
        begin, end = words[at % len(words)] if words else (at % (len(data) + 1),) * 2
        data = data[:begin] + piece + data[end + (length or 0) :]
    return data


def check(message: str) -> None:
    """Check that a message is one harmless line."""
    assert message.isprintable(), message
    assert len(message) <= 1500


@settings(max_examples=400)
@given(edits=EDITS, of_metadata=st.booleans())
def test_a_model_file_is_read_or_refused_in_a_line(run: Path, edits: Edits, of_metadata: bool) -> None:
    path = run / "best.safetensors"
    original, (fields, tensors) = path.read_bytes(), read_parts(path)
    del fields["sha256"]
    edited = edit(json.dumps(fields).encode() if of_metadata else original, edits)
    if of_metadata:  # with a checksum that is right
        sealed = seal(edited.decode("utf-8", "replace")[:-1])
        edited = bytes(safetensors.numpy.save(tensors, {"charlm": sealed}))
    path.write_bytes(edited)
    try:
        load(run).generate("a", length=3, seed=0)
        summarize(run)
    except CharlmError as error:
        check(str(error))
    finally:
        path.write_bytes(original)


@settings(max_examples=1000)
@given(edits=EDITS)
@pytest.mark.parametrize("kind", REQUESTS)
def test_the_body_of_a_request_is_read_or_refused_in_a_line(kind: Any, edits: Edits) -> None:
    try:
        parse_request(kind, edit(REQUESTS[kind], edits))
    except RequestError as error:
        check(error.message)
        if error.status != 400:
            raise
