"""vLLM: ``/pooling`` and ``/v1/completions``, as documented for 0.32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from asr_data.scoring.served.answers import (
    UnusableAnswerError,
    json_value,
    member,
    number,
    packed,
    require_tokens,
)
from asr_data.scoring.served.routes import Call
from asr_data.types import Float32

_PLAIN: Final[dict[str, Any]] = {
    "max_tokens": 1,
    "n": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "stream": False,
    "add_special_tokens": False,
}
"""Without what the model's generation_config.json would set, so that log-probabilities are the model's own under every
``--logprobs-mode``. It generates a token at the least. No seed: on a CPU, vLLM 0.32 ends with "CPU Generator does not
use offset" when a request that has one is read in several steps, and what it generates is not read anyway."""
_MINUS_INFINITY: Final = -9999.0
"""What vLLM writes in place of minus infinity, which JSON does not have."""


def pooled_tokens(model: str, task: str, ids: list[int], width: int) -> Call:
    """The outputs of every token, float32 ``[tokens, width]``: ``token_classify`` or ``token_embed``, no activation."""

    def read(body: bytes) -> Float32:
        return _pooled(body, len(ids), len(ids), width, f"{task} outputs")

    return Call("/pooling", _pooling(model, task, ids), read)


def pooled_last(model: str, task: str, ids: list[int], width: int) -> Call:
    """The output of the last token, float32 ``[1, width]``: ``classify``, without its activation."""

    def read(body: bytes) -> Float32:
        return _pooled(body, len(ids), 1, width, f"{task} outputs")

    return Call("/pooling", _pooling(model, task, ids), read)


def _pooling(model: str, task: str, ids: list[int]) -> dict[str, Any]:
    return {
        "model": model,
        "input": ids,
        "task": task,
        "use_activation": False,
        "add_special_tokens": False,
        "encoding_format": "base64",
        "embed_dtype": "float32",
        "endianness": "little",
    }


def _pooled(body: bytes, tokens: int, count: int, width: int, what: str) -> Float32:
    answer = json_value(body)
    require_tokens(member(answer, "usage", "prompt_tokens"), tokens)
    return packed(member(answer, "data", 0, "data"), count, width, what)


def prompt_log_probabilities(model: str, ids: list[int]) -> Call:
    """The log-probability of every token but the first, float32 ``[tokens - 1]``."""

    def read(body: bytes) -> Float32:
        entries = member(json_value(body), "choices", 0, "prompt_logprobs")
        if not isinstance(entries, list) or len(entries) != len(ids):
            count = len(entries) if isinstance(entries, list) else "no list"
            raise UnusableAnswerError(f"prompt_logprobs of {count} tokens for a sequence of {len(ids)}")
        return np.array([_of_token(entry, i) for entry, i in zip(entries[1:], ids[1:], strict=True)], np.float32)

    return Call("/v1/completions", {**_PLAIN, "model": model, "prompt": ids, "prompt_logprobs": 0}, read)


def _of_token(entry: Any, token: int) -> float:
    if not isinstance(entry, dict) or str(token) not in entry:
        others = ", ".join(list(entry)[:3]) if isinstance(entry, dict) else str(entry)[:40]
        raise UnusableAnswerError(f"a log-probability of token {others} where one of {token} was asked for")
    return _finite(member(entry, str(token), "logprob"))


def _finite(value: Any) -> float:
    found = number(value)
    return float("-inf") if found <= _MINUS_INFINITY else found


def label_log_probabilities(model: str, ids: list[int], read: Sequence[int], labels: Sequence[int]) -> list[Call]:
    """A call for each position: log-probabilities of the labels as the next token, float32 ``[1, labels]``."""
    asked = {
        **_PLAIN,
        "model": model,
        "logprobs": len(labels),
        "logprob_token_ids": list(labels),
        "return_tokens_as_token_ids": True,
    }

    def reader(tokens: int) -> Any:
        def read_labels(body: bytes) -> Float32:
            answer = json_value(body)
            require_tokens(member(answer, "usage", "prompt_tokens"), tokens)
            found = member(answer, "choices", 0, "logprobs", "top_logprobs", 0)
            return np.array([[_finite(member(found, f"token_id:{label}")) for label in labels]], np.float32)

        return read_labels

    return [Call("/v1/completions", {**asked, "prompt": ids[: p + 1]}, reader(p + 1)) for p in read]
