"""A program that others have written, against a real server: openai."""

import json
from collections.abc import Iterator
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
