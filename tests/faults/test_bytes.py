"""Files, requests and texts of any bytes: what random edits make of a valid one is read, or refused in a line."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from commands import charlm, messages
from fake_runs import train
from faults.wrong_values import VALUES, YAML_VALUES, write_sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.api.model import load
from charlm.errors import CharlmError
from charlm.runs.metrics import read_metrics, read_position
from charlm.runs.run import open_run
from charlm.runs.summary import summarize
from charlm.serving.jobs import ServedModel, plan_request
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, ServerLimits, parse_request
from charlm.text.corpus import open_corpus
from charlm.text.vocabulary import Vocabulary
from charlm.training.checkpoints import restore

pytestmark = pytest.mark.slow

TOKENS = (
    *(b"", b"\0", b'"', b"\\", b"{", b"[", b"]", b"}", b",", b":", b"-", b"\n", b" ", b"\xff", b"\xed\xa0\x80"),
    *(b"null", b"true", b"NaN", b"-1", b"0.5", b"1e999", b"9" * 30, b"9" * 5000, b'"\\ud800"', b"[[1]]", b"{}", b"F64"),
)
WORD = re.compile(rb'("(?:[^"\\]|\\.)*+"|[^\s\[\]{}",:]++)(?!"?:)')
"""A value in JSON or YAML, which is no key."""
WORDS = st.sampled_from([value.encode() for value in (*VALUES.values(), *YAML_VALUES)])
PIECES = st.sampled_from(TOKENS) | st.binary(max_size=9)
Edits = Sequence[tuple[int, int | None, bytes]]
PARTS = (
    *(b"abc", b"\n", b"\r", b"\0", b"\x1b[31m", b"\xc3\xa9", b"\xcc\x81" * 99, b"a" * 5000, b"\n" * 500),
    *(b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"),
    *(b"\xef\xbb\xbf", b"\xff\xfea\0", b"\xff\xfe\0\0", b"+AGEAYg-", b"\x1f\x8b\x08"),
)
"""Parts of texts: controls, marks, what is not UTF-8, and what belongs to other encodings."""
EDITS: st.SearchStrategy[Edits] = st.lists(
    st.tuples(st.integers(0, 300), st.none(), WORDS), min_size=1, max_size=2
) | st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 40), PIECES), min_size=1, max_size=4)
"""Where a part of some length is replaced, and by what; None = the word of this number."""
PROGRESS, STATE = (f"checkpoints/step-000000050/{name}" for name in ("progress.json", "state.safetensors"))
REQUESTS = {
    CompletionRequest: b'{"model": "m", "prompt": ["To be", "or"], "max_tokens": 9, "stop": ["\\n"], "temperature": 1,'
    b' "top_p": 0.9, "top_k": 5, "seed": 3, "n": 2, "logprobs": 2, "stream": true, "stream_options": {}}',
    ChatRequest: b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "To be"}]}], "n": 1, "stop": [],'
    b' "response_format": {"type": "text"}, "tools": [], "max_completion_tokens": 5, "min_p": 0.1}',
}


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


def run_command(*arguments: str | Path) -> None:
    """Check that a command does what it should, or is refused in harmless lines."""
    done = charlm(*arguments)
    assert done.exit_code in {0, 1}
    for line in messages(done):
        check(line)


def use_bundle(run: Path) -> None:
    load(run).generate("a", length=3, seed=0)
    summarize(run)


READERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(
        [f"best/{name}" for name in ("model.json", "vocabulary.json", "config.yaml", "weights.safetensors")],
        use_bundle,
    ),
    **dict.fromkeys((PROGRESS, STATE), lambda run: restore(run / "checkpoints", warn=check)),
    "corpus/manifest.json": lambda run: open_corpus(run / "corpus"),
    "config.yaml": open_run,
    "metrics.jsonl": lambda run: (read_metrics(run / "metrics.jsonl"), read_position(run / "metrics.jsonl")),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose files are changed, and put back."""
    return train(tmp_path_factory.mktemp("bytes") / "run").folder


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the mapping or list and the key of every value in JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in [*inner]:
        yield value, key
        yield from places(one)


def with_other_values(document: Any) -> Iterator[str]:
    """Yield JSON with each of its values replaced by each of VALUES, and without it."""
    mark = "\0 here"
    for place, key in places(document):
        original, place[key] = place[key], mark
        text = json.dumps(document)
        yield from (text.replace(json.dumps(mark), value) for value in VALUES.values())
        del place[key]
        yield json.dumps(document)
        place.insert(key, original) if isinstance(place, list) else place.update({key: original})


def read_damaged(run: Path, name: str, data: bytes, *, is_sealed: bool) -> None:
    originals = {path: path.read_bytes() for path in (run / name).parent.iterdir() if path.is_file()}
    try:
        write_sealed(run, name, data) if is_sealed else (run / name).write_bytes(data)
        READERS[name](run)
    except CharlmError as error:
        check(str(error))
    finally:
        for path, original in originals.items():
            path.write_bytes(original)


@settings(max_examples=200)
@given(edits=EDITS, is_sealed=st.booleans())
@pytest.mark.parametrize("name", READERS)
def test_a_file_with_a_right_or_wrong_checksum_is_read_or_refused_in_a_line(
    run: Path, name: str, edits: Edits, is_sealed: bool
) -> None:
    read_damaged(run, name, edit((run / name).read_bytes(), edits), is_sealed=is_sealed)


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".json")])
def test_json_with_any_value_in_each_place_is_read_or_refused_in_a_line(run: Path, name: str) -> None:
    for text in with_other_values(json.loads((run / name).read_bytes())):
        read_damaged(run, name, text.encode(), is_sealed=True)


@settings(max_examples=1000)
@given(edits=EDITS)
@pytest.mark.parametrize("kind", REQUESTS)
def test_the_body_of_a_request_is_planned_or_refused_in_a_line(
    kind: type[CompletionRequest] | type[ChatRequest], edits: Edits
) -> None:
    vocabulary = Vocabulary("char", ("T", "o", " ", "b", "e", "r", None), unknown_id=6)
    models = {"m": ServedModel("m", vocabulary, 0, 4, "skip")}
    try:
        plan_request(parse_request(kind, edit(REQUESTS[kind], edits)), models, ServerLimits())
    except RequestError as error:
        check(error.message)
        if not 400 <= error.status < 500:
            raise
        json.dumps(error.to_json()).encode()


TEXTS = st.lists(st.sampled_from(PARTS) | st.binary(max_size=4), max_size=9).map(b"".join)
USES = (
    *("tokenize text.txt --out out", "tokenize text.txt --out out -s corpus.level=byte", "tokenize . --out ../out"),
    *("evaluate ../run text.txt --unknown skip", "inspect ../run --text text.txt --json"),
    *(f"tokenize text.txt --out out -s corpus.encoding={name}" for name in ("utf-7", "latin-1", "utf-16", "cp037")),
)


@settings(max_examples=100)
@given(text=TEXTS, use=st.sampled_from(USES))
def test_a_text_of_any_bytes_is_read_or_refused_in_a_line(run: Path, text: bytes, use: str) -> None:
    with TemporaryDirectory(dir=run.parent) as folder, chdir(folder):
        Path("text.txt").write_bytes(text)
        run_command(*use.split())
        shutil.rmtree("../out", ignore_errors=True)
