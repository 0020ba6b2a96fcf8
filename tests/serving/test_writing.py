"""A request -> the pieces of its texts: those of `charlm sample`, whatever else is written."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference

from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.serving.requests import ChatRequest, CompletionRequest, parse_request
from charlm.serving.writing import TURN, Answer, Piece, ServedModel, Turns
from charlm.text.vocabulary import Vocabulary


def answer(trained: TrainedModel, turns: Turns | None = None, *, is_chat: bool = False, **fields: Any) -> Answer:
    body = json.dumps({"max_tokens": 100, "seed": 5, **fields}).encode()
    wanted = parse_request(ChatRequest, body) if is_chat else parse_request(CompletionRequest, body)
    return Answer(ServedModel("m", trained, 0, b""), wanted, turns or Turns())


def endless(trained: TrainedModel) -> TrainedModel:
    """Return the model whose texts end by their length alone."""
    return replace(trained, vocabulary=Vocabulary(("\n", "a", "b", "c", "d")))


async def read(wanted: Answer) -> list[tuple[int, Piece]]:
    return [each async for each in wanted.pieces()]


def texts(wanted: Answer) -> list[str]:
    """Return the whole texts of an answer."""
    found = [""] * wanted.count
    for index, piece in asyncio.run(read(wanted)):
        found[index] += piece.text
    return found


def sampled(trained: TrainedModel, prompt: str, *, seed: int = 5, length: int = 100, **options: Any) -> str:
    return str(generate_text(trained, TextRequest(length, Sampler(**options), seed, prompt=prompt)))


def test_a_text_is_that_of_sample_with_the_seed_of_the_request_plus_its_number(trained: TrainedModel) -> None:
    settings: dict[str, Any] = {"temperature": 1.7, "top_k": 3, "top_p": 0.9, "min_p": 0.01}
    found = texts(answer(trained, prompt=["ab", "b\na"], n=3, **settings))
    assert found == [sampled(trained, prompt, seed=5 + k, **settings) for prompt in ("ab", "b\na") for k in range(3)]
    chat = answer(trained, is_chat=True, messages=[{"role": "user", "content": text} for text in ("ab", "xb")])
    assert texts(chat) == [sampled(trained, "ab\nb")]


def test_requests_write_in_turn_and_do_not_change_each_other(trained: TrainedModel) -> None:
    turns = Turns()
    order: list[str] = []

    async def write(name: str, wanted: Answer) -> str:
        text = ""
        async for _, piece in wanted.pieces():
            order.append(name)
            text += piece.text
        return text

    async def both() -> list[str]:
        long, short = (answer(endless(trained), turns, prompt="ab", max_tokens=TURN * count) for count in (20, 2))
        return [*await asyncio.gather(write("long", long), write("short", short))]

    long, short = asyncio.run(both())
    assert long.startswith(short)
    assert len(short) == TURN * 2
    assert order.index("short") <= 2
    assert len(order) - order[::-1].index("short") <= 6


def test_the_log_probabilities_are_those_of_the_model_itself(trained: TrainedModel) -> None:
    pieces = asyncio.run(read(answer(trained, prompt="ab", logprobs=2, temperature=0.5, max_tokens=40)))
    tokens = [token for _, piece in pieces for token in piece.tokens]
    text = "".join(piece.text for _, piece in pieces)
    assert "".join(token.text for token in tokens) == text
    logits, _ = reference.read(trained.parameters, trained.vocabulary.encode("ab" + text).tolist())
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for place, token in enumerate(tokens, start=1):
        expected = logprobs[place]
        assert token.logprob == pytest.approx(expected[trained.vocabulary.look_up(token.text)[0]], abs=1e-4)
        assert token.likeliest[token.text] == token.logprob
        assert max(token.likeliest.values()) == pytest.approx(expected.max(), abs=1e-4)
        assert len(token.likeliest) in {2, 3}
    pieces = asyncio.run(read(answer(trained, prompt="ab", logprobs=20, temperature=0.5, max_tokens=40)))
    assert all(len(token.likeliest) == 4 for _, piece in pieces for token in piece.tokens)  # the unknown id has none


def test_a_text_ends_before_a_stop_text_with_the_tokens_before_it(trained: TrainedModel) -> None:
    whole = sampled(endless(trained), "ab", length=60)
    stop = whole[20:24]
    wanted = answer(endless(trained), prompt="ab", stop=[stop, "no"], logprobs=0, max_tokens=60)
    ((_, piece),) = asyncio.run(read(wanted))
    assert piece.text == whole[: whole.index(stop)]
    assert ("".join(token.text for token in piece.tokens), piece.finish_reason) == (piece.text, "stop")
    assert piece.tokens[0].likeliest == {}


def test_usage_counts_what_was_read_and_chosen(trained: TrainedModel) -> None:
    wanted = answer(trained, prompt=["ab", ""], n=2, max_tokens=7)
    chosen = sum(len(text) for text in texts(wanted))
    usage = wanted.usage()
    assert usage["prompt_tokens"] == 2
    assert chosen <= usage["completion_tokens"] <= 4 * 7  # an end of text is chosen, too
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_weights_that_are_not_finite_are_refused(trained: TrainedModel) -> None:
    broken = replace(trained.parameters, logits_bias=np.full(5, np.nan, np.float32))
    with pytest.raises(CharlmError, match="not finite"):
        texts(answer(replace(trained, parameters=broken), prompt="a"))
