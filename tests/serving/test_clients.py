"""A program that others have written, against a real server: openai."""

import json
from typing import Any

import pytest
from commands import charlm
from serving.conftest import Server

pytestmark = pytest.mark.slow


def test_openai_gets_and_chats_the_text_that_sample_writes(server: Server) -> None:
    openai: Any = pytest.importorskip("openai", reason="missing: openai")
    command = charlm("sample", server.run, "-p", "The ", "--seed", "5", "-t", "0.7", "-n", 60, "--json")
    expected = json.loads(command.stdout)["samples"][0]["text"]
    settings = {"model": server.model, "max_tokens": 60, "seed": 5, "temperature": 0.7}
    chat = {**settings, "messages": [{"role": "user", "content": "The "}]}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.completions.create(**settings, prompt="The ", logprobs=1)
        message = client.chat.completions.create(**chat).choices[0].message
        events = list(client.chat.completions.create(**chat, stream=True))
    assert answer.choices[0].text == "".join(answer.choices[0].logprobs.tokens) == expected
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 60)
    assert (message.role, message.content) == ("assistant", expected)
    assert "".join(event.choices[0].delta.content or "" for event in events) == expected
    assert events[-1].choices[0].finish_reason == "length"
