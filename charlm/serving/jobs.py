"""A request -> the jobs that it takes, checked against the limits of the server."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError, shorten
from charlm.sampling.batch import Job
from charlm.sampling.generation import encode_prompt
from charlm.sampling.sampler import Sampler
from charlm.serving.answers import AnswerForm
from charlm.serving.requests import ChatRequest, CompletionRequest, Limits, Prompt, RequestError, Sampling
from charlm.serving.text import GrowingText
from charlm.text.vocabulary import Unknown, Vocabulary

COMPLETION_TOKENS, CHAT_TOKENS = 16, 256
"""How many characters a request that names no number gets; 16 is what the OpenAI API says."""
RandomSeed = Callable[[], int]


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that requests use."""

    name: str
    vocabulary: Vocabulary
    created: int
    """When it was written, in seconds since 1970."""
    unknown: Unknown = "error"
    """What to do with a character of a prompt that the model does not know."""


@dataclass(frozen=True)
class Plan:
    """The texts that answer a request; the text of each job grows in `texts`, in the same order."""

    model: str
    jobs: tuple[Job, ...]
    texts: tuple[GrowingText, ...]
    prompt_characters: int
    form: AnswerForm
    is_streamed: bool
    waits_for_end: bool
    """Whether nothing can be done before a text has ended: it is not streamed, and no stop text is looked for."""


def random_seed() -> int:
    """Return a seed for a request that has none."""
    return secrets.randbelow(2**32)


def plan_request(
    wanted: CompletionRequest | ChatRequest,
    models: Mapping[str, ServedModel],
    limits: Limits,
    *,
    new_seed: RandomSeed = random_seed,
) -> Plan:
    """Return the jobs of a request: `n` for each prompt of a completion, `n` for a chat.

    Args:
        wanted: The request.
        models: The models by name; a request that names none gets the first.
        limits: The bounds of the server.
        new_seed: Returns the seed of a request that has none.

    Raises:
        RequestError: the model is not known (404), or a prompt or a number is more than the server takes (400).

    """
    model = _find_model(wanted, models)
    is_chat = isinstance(wanted, ChatRequest)
    given = (wanted.prompt,) if isinstance(wanted, ChatRequest) else wanted.prompt
    echo, likeliest = (False, None) if isinstance(wanted, ChatRequest) else (wanted.echo, wanted.logprobs)
    _check_count(wanted.n * len(given), limits)
    length, seed = _length(wanted, limits), new_seed() if wanted.seed is None else wanted.seed
    sampler = Sampler(wanted.temperature, wanted.top_k, wanted.top_p if wanted.top_p < 1 else None, wanted.min_p)
    prompts = [_encode(prompt, model, limits, name="messages" if is_chat else "prompt") for prompt in given]
    echoed = sum(len(prompt.ids) for prompt in prompts) if echo else 0
    _check_answer(wanted.n * (length * len(prompts) + echoed), likeliest, limits)
    jobs, texts = [], []
    for prompt in prompts:
        for index in range(wanted.n):
            is_scored = echo and likeliest is not None
            jobs.append(Job(prompt.ids, length, sampler, (seed, index), likeliest, is_scored))
            texts.append(
                GrowingText(
                    model.vocabulary,
                    jobs[-1],
                    stops=wanted.stop,
                    prompt="" if is_chat else prompt.text,
                    echo=echo,
                    is_prompt_empty=prompt.is_empty,
                )
            )
    kind: Literal["chat", "completion"] = "chat" if is_chat else "completion"
    return Plan(
        model.name,
        tuple(jobs),
        tuple(texts),
        sum(prompt.size for prompt in prompts),
        AnswerForm(kind, model.name, likeliest is not None, _includes_usage(wanted)),
        wanted.stream,
        not (wanted.stream or wanted.stop),
    )


@dataclass(frozen=True)
class _EncodedPrompt:
    ids: NDArray[np.int64]
    text: str
    is_empty: bool
    """Whether the ids stand for a prompt without characters."""

    @property
    def size(self) -> int:
        return 0 if self.is_empty else len(self.ids)


def _find_model(wanted: Sampling, models: Mapping[str, ServedModel]) -> ServedModel:
    if wanted.model is None:
        return next(iter(models.values()))
    if wanted.model not in models:
        raise RequestError(
            404,
            f"model: found {shorten(wanted.model)}; this server has {', '.join(models)}",
            param="model",
            code="model_not_found",
        )
    return models[wanted.model]


def _encode(prompt: Prompt, model: ServedModel, limits: Limits, *, name: str) -> _EncodedPrompt:
    if len(prompt) > limits.prompt_characters:
        raise RequestError(
            400,
            f"{name}: {len(prompt):,} characters; this server reads {limits.prompt_characters:,}",
            param=name,
            code="context_length_exceeded",
        )
    vocabulary = model.vocabulary
    if isinstance(prompt, tuple):
        return _check_ids(prompt, vocabulary)
    try:
        ids = encode_prompt(vocabulary, prompt, unknown=model.unknown)
    except CharlmError as error:
        raise RequestError(400, f"{name}: {error}", param=name) from None
    if len(ids) > limits.prompt_characters:
        raise RequestError(
            400, f"{name}: {len(ids):,} bytes; this server reads {limits.prompt_characters:,}", param=name
        )
    skipped = vocabulary.count_skipped(prompt)
    return _EncodedPrompt(ids, vocabulary.decode(ids) if skipped else prompt, skipped == len(prompt))


def _check_ids(ids: tuple[int, ...], vocabulary: Vocabulary) -> _EncodedPrompt:
    wrong = next((index for index in ids if not 0 <= index < len(vocabulary)), None)
    if wrong is not None:
        raise RequestError(
            400, f"prompt: found the id {shorten(wrong)}; must be 0 to {len(vocabulary) - 1}", param="prompt"
        )
    array = np.array(ids, np.int64) if ids else encode_prompt(vocabulary, "")
    return _EncodedPrompt(array, vocabulary.decode(array) if ids else "", not ids)


def _check_count(texts: int, limits: Limits) -> None:
    room = limits.slots + limits.waiting
    if texts > room:
        raise RequestError(400, f"n: {texts} texts at once, over all prompts; this server takes {room}", param="n")


def _check_answer(characters: int, likeliest: int | None, limits: Limits) -> None:
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


def _length(wanted: CompletionRequest | ChatRequest, limits: Limits) -> int:
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
