"""Programs that others have written, against a real server: openai, curl and llm."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import charlm
from serving.conftest import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def openai() -> Any:
    return pytest.importorskip("openai", reason="missing: openai")


@pytest.fixture
def client(openai: Any, server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def sampled(server: Server, *options: str | int) -> str:
    """Return what `charlm sample` writes after the prompt `The `, at the temperature that requests have by default."""
    command = charlm("sample", server.run, "-p", "The ", "--seed", "5", "-t", "1", "--json", *options)
    return str(json.loads(command.stdout)["samples"][0]["text"])


# openai


def test_openai_gets_the_text_that_sample_writes(client: Any, server: Server) -> None:
    settings = {"model": server.model, "prompt": "The ", "max_tokens": 60, "seed": 5, "temperature": 0.7}
    answer = client.completions.create(**settings, logprobs=1)
    assert "".join(answer.choices[0].logprobs.tokens) == answer.choices[0].text
    assert answer.choices[0].text == sampled(server, "-n", 60, "-t", "0.7")
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 60)


def test_openai_chats(client: Any, server: Server) -> None:
    messages = [{"role": "user", "content": "The "}]
    settings = {"model": server.model, "messages": messages, "max_tokens": 60, "seed": 5, "temperature": 0.7}
    message = client.chat.completions.create(**settings).choices[0].message
    assert (message.role, message.content) == ("assistant", sampled(server, "-n", 60, "-t", "0.7"))
    events = list(client.chat.completions.create(**settings, stream=True))
    assert "".join(event.choices[0].delta.content or "" for event in events) == message.content
    assert events[-1].choices[0].finish_reason == "length"


# llm


def run_llm(folder: Path, *arguments: str) -> str:
    pytest.importorskip("llm", reason="missing: llm")
    environment = {**os.environ, "LLM_USER_PATH": str(folder)}
    command = [sys.executable, "-m", "llm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("is_completion", "stream"), [(True, []), (False, ["--no-stream"])], ids=["text", "chat"])
def test_llm_writes_what_sample_writes(server: Server, tmp_path: Path, is_completion: bool, stream: list[str]) -> None:
    entry = {"model_id": "plays", "model_name": server.model, "api_base": f"{server.url}/v1"}
    models = json.dumps([{**entry, "completion": True} if is_completion else entry])  # JSON is YAML
    (tmp_path / "extra-openai-models.yaml").write_text(models, encoding="utf-8")
    options = ["-o", "max_tokens", "60", "-o", "seed", "5", "-o", "temperature", "0.7"]
    text = run_llm(tmp_path, "-m", "plays", "--no-log", *stream, *options, "The ")
    assert text == sampled(server, "-n", 60, "-t", "0.7") + "\n"
