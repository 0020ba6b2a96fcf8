"""A request -> the prompts and the texts that it takes, checked against the limits of the server."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.errors import short_repr
from charlm.network.rnn import State
from charlm.sampling.batch import Job
from charlm.sampling.generation import encode_prompt
from charlm.sampling.sampler import Sampler
from charlm.serving.answers import AnswerForm, AnswerText
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, Sampling, ServerLimits
from charlm.text.vocabulary import Vocabulary

COMPLETION_TOKENS, CHAT_TOKENS = 16, 256
"""How many characters a request that names no number gets; 16 is what the OpenAI API says."""


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that requests use."""

    name: str
    vocabulary: Vocabulary
    created: int
    """When it was written, in seconds since 1970."""
    page: bytes
    """The page for writing with it, as `charlm export --format html` writes it."""


@dataclass(frozen=True)
class RequestPlan:
    """The texts that answer a request: `copies` of each prompt, one prompt after the other."""

    model: str
    prompts: tuple[NDArray[np.int64], ...]
    """The ids of each prompt, [n], n >= 1."""
    prompt_characters: int
    """Over all prompts, without the id that an empty one is read as."""
    copies: int
    length: int
    """The most ids of each text, 0 or more."""
    sampler: Sampler
    seed: int
    likeliest: int | None
    """As in a Job."""
    texts: tuple[AnswerText, ...]
    form: AnswerForm
    is_streamed: bool

    def job(self, index: int, state: State) -> Job:
        """Return the job of a text by its index, given the state after its prompt."""
        return Job(state, self.length, self.sampler, (self.seed, index % self.copies), self.likeliest)

    def usage(self) -> dict[str, int]:
        """Return the object `usage` of the answer by now: ids, that is characters."""
        generated = sum(text.generated for text in self.texts)
        return {
            "prompt_tokens": self.prompt_characters,
            "completion_tokens": generated,
            "total_tokens": self.prompt_characters + generated,
        }


def plan_request(
    wanted: CompletionRequest | ChatRequest, models: Mapping[str, ServedModel], limits: ServerLimits
) -> RequestPlan:
    """Return the texts of a request: `n` for each prompt of a completion, `n` for a chat.

    Args:
        wanted: The request; without a seed it gets a random one.
        models: The models by name; a request that names none gets the first.
        limits: The bounds of the server.

    Raises:
        RequestError: the model is not known (404), or a prompt or a number is more than the server takes (400).

    """
    model = find_model(wanted.model, models)
    is_chat = isinstance(wanted, ChatRequest)
    given = [wanted.prompt] if isinstance(wanted, ChatRequest) else wanted.prompt
    likeliest = None if isinstance(wanted, ChatRequest) else wanted.logprobs
    texts, length = wanted.n * len(given), _length(wanted, limits)
    _check_count(texts, limits)
    prompts = encode_prompts(given, model, limits, name="messages" if is_chat else "prompt")
    _check_answer(length * texts, likeliest, limits)
    return RequestPlan(
        model=model.name,
        prompts=tuple(ids if len(ids) else encode_prompt(model.vocabulary, "") for ids in prompts),
        prompt_characters=sum(map(len, prompts)),
        copies=wanted.n,
        length=length,
        sampler=Sampler(temperature=wanted.temperature, top_k=wanted.top_k, top_p=wanted.top_p, min_p=wanted.min_p),
        seed=secrets.randbelow(2**32) if wanted.seed is None else wanted.seed,
        likeliest=likeliest,
        texts=tuple(AnswerText(model.vocabulary, stops=wanted.stop) for _ in range(texts)),
        form=AnswerForm(
            "chat" if is_chat else "completion", model.name, likeliest is not None, _includes_usage(wanted)
        ),
        is_streamed=wanted.stream,
    )


def find_model(name: str | None, models: Mapping[str, ServedModel]) -> ServedModel:
    """Return a model by its name, the first one if there is no name; raises RequestError if it is not known."""
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise RequestError(
            404,
            f"model: found {short_repr(name)}; this server has {', '.join(models)}",
            param="model",
            code="model_not_found",
        )
    return models[name]


def encode_prompts(
    given: Sequence[str], model: ServedModel, limits: ServerLimits, *, name: str
) -> list[NDArray[np.int64]]:
    """Return the ids of each prompt, none if it has no character that the model knows.

    Raises RequestError, which names the field, if there are more than the server reads.
    """
    prompts = [model.vocabulary.encode(prompt) for prompt in given]
    if (characters := sum(map(len, prompts))) > limits.prompt_characters:
        raise RequestError(
            400,
            f"{name}: {characters:,} characters; this server reads {limits.prompt_characters:,}, over all prompts",
            param=name,
            code="context_length_exceeded",
        )
    return prompts


def _check_count(texts: int, limits: ServerLimits) -> None:
    room = limits.slots + limits.waiting
    if texts > room:
        raise RequestError(400, f"n: {texts} texts at once, over all prompts; this server takes {room}", param="n")


def _check_answer(characters: int, likeliest: int | None, limits: ServerLimits) -> None:
    """Refuse an answer that would take much memory, and time that the other texts wait for."""
    values = characters * (1 if likeliest is None else 2 + likeliest)
    if values > limits.answer_values:
        logprobs = "" if likeliest is None else f", each with {1 + likeliest} log-probabilities"
        raise RequestError(
            400,
            f"max_tokens: the answer would have {characters:,} characters over all texts{logprobs}: {values:,} values; "
            f"this server writes {limits.answer_values:,} at most",
            param="max_tokens",
        )


def _length(wanted: CompletionRequest | ChatRequest, limits: ServerLimits) -> int:
    """Return how many characters to write: those that are asked for, or the default."""
    fields = {"max_tokens": wanted.max_tokens}
    if isinstance(wanted, ChatRequest):
        fields = {"max_completion_tokens": wanted.max_completion_tokens, **fields}
    name, length = next(((name, value) for name, value in fields.items() if value is not None), ("", None))
    if length is None:
        return min(CHAT_TOKENS if isinstance(wanted, ChatRequest) else COMPLETION_TOKENS, limits.tokens)
    if length > limits.tokens:
        raise RequestError(400, f"{name}: found {length}; this server writes {limits.tokens} at most", param=name)
    return length


def _includes_usage(wanted: Sampling) -> bool:
    if wanted.stream_options is not None and not wanted.stream:
        raise RequestError(400, "stream_options: only with stream", param="stream_options")
    return wanted.stream_options is not None and wanted.stream_options.include_usage
