"""SGLang: its native ``/generate`` and ``/classify``, as documented for 0.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from asr_data.scoring.served.answers import UnusableAnswerError, json_value, member, number, require_tokens, table
from asr_data.scoring.served.routes import Call
from asr_data.types import Float32

_PLAIN: Final = {"max_new_tokens": 1, "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0}


def classified_last(ids: list[int], width: int) -> Call:
    """The output of a reward model at the last token, float32 ``[1, width]``."""

    def read(body: bytes) -> Float32:
        answer = json_value(body)
        require_tokens(member(answer, "meta_info", "prompt_tokens"), len(ids))
        return table([member(answer, "embedding")], 1, width, "outputs")

    return Call("/classify", {"input_ids": ids}, read)


def hidden_states(ids: list[int], width: int) -> Call:
    """Hidden states of every token, float32 ``[tokens, width]``; needs ``--enable-return-hidden-states`` and
    ``--disable-radix-cache``."""

    def read(body: bytes) -> Float32:
        answer = json_value(body)
        require_tokens(member(answer, "meta_info", "prompt_tokens"), len(ids))
        return table(member(answer, "meta_info", "hidden_states", 0), len(ids), width, "hidden states")

    return Call("/generate", {"input_ids": ids, "sampling_params": _PLAIN, "return_hidden_states": True}, read)


def prompt_log_probabilities(ids: list[int]) -> Call:
    """The log-probability of every token but the first, float32 ``[tokens - 1]``."""

    def read(body: bytes) -> Float32:
        answer = json_value(body)
        entries = member(answer, "meta_info", "input_token_logprobs")
        if not isinstance(entries, list) or len(entries) != len(ids):
            count = len(entries) if isinstance(entries, list) else "no list"
            raise UnusableAnswerError(f"input_token_logprobs of {count} tokens for a sequence of {len(ids)}")
        return np.array([_of_token(entry, i) for entry, i in zip(entries[1:], ids[1:], strict=True)], np.float32)

    body = {"input_ids": ids, "sampling_params": _PLAIN, "return_logprob": True, "logprob_start_len": 0}
    return Call("/generate", body, read)


def _of_token(entry: Any, token: int) -> float:
    found = member(entry, 1)
    if found != token:
        raise UnusableAnswerError(f"a log-probability of token {found!r} where one of {token} was asked for")
    return number(member(entry, 0))


def label_log_probabilities(ids: list[int], read: Sequence[int], labels: Sequence[int]) -> list[Call]:
    """One call: log-probabilities of the labels after each position, float32 ``[positions, labels]``.

    Entry ``k`` of the input's is of the token at ``start + k``, given what stands before it; that after the last token
    is the output's first.
    """
    start = min(read)

    def read_labels(body: bytes) -> Float32:
        answer = json_value(body)
        require_tokens(member(answer, "meta_info", "prompt_tokens"), len(ids))
        entries = member(answer, "meta_info", "input_token_ids_logprobs")
        if not isinstance(entries, list) or len(entries) != len(ids) - start:
            count = len(entries) if isinstance(entries, list) else "no list"
            raise UnusableAnswerError(f"input_token_ids_logprobs of {count} tokens where {len(ids) - start} were asked")
        following = [*entries[1:], member(answer, "meta_info", "output_token_ids_logprobs", 0)]
        return np.array([_labels(following[p - start], labels) for p in read], np.float32)

    body = {
        "input_ids": ids,
        "sampling_params": _PLAIN,
        "return_logprob": True,
        "logprob_start_len": start,
        "token_ids_logprob": list(labels),
    }
    return [Call("/generate", body, read_labels)]


def _labels(entries: Any, labels: Sequence[int]) -> list[float]:
    found = {member(entry, 1): member(entry, 0) for entry in entries or ()}
    return [number(member(found, label)) for label in labels]
