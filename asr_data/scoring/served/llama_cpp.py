"""llama.cpp's server: its own ``/embeddings`` and ``/completion``, as its README documents them.

It gives no log-probabilities of a prompt's tokens, so kinds that need them are not for this server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from asr_data.scoring.served.answers import UnusableAnswerError, json_value, member, number, require_tokens, table
from asr_data.scoring.served.routes import Call
from asr_data.types import Float32

_LIFT: Final = 100.0
"""Added to the logits of the labels, so that all other tokens have no share of the probability."""


def hidden_states(ids: list[int], width: int) -> Call:
    """Hidden states of every token, float32 ``[tokens, width]``; needs ``--embeddings --pooling none``."""

    def read(body: bytes) -> Float32:
        return table(member(json_value(body), 0, "embedding"), len(ids), width, "hidden states")

    return Call("/embeddings", {"input": ids, "embd_normalize": -1}, read)


def label_log_probabilities(ids: list[int], read: Sequence[int], labels: Sequence[int]) -> list[Call]:
    """A call for each position: log-probabilities of the labels, shared out among them alone, float32
    ``[1, labels]``."""
    asked = {
        "n_predict": 1,
        "temperature": 1.0,
        "samplers": ["temperature"],
        "seed": 0,
        "n_probs": len(labels),
        "min_keep": len(labels),
        "post_sampling_probs": True,
        "logit_bias": [[label, _LIFT] for label in labels],
        "cache_prompt": True,
    }

    def reader(tokens: int) -> Any:
        def read_labels(body: bytes) -> Float32:
            answer = json_value(body)
            require_tokens(member(answer, "tokens_evaluated"), tokens)
            found = member(answer, "completion_probabilities", 0, "top_probs")
            probability = {member(entry, "id"): number(member(entry, "prob")) for entry in found}
            if missing := [label for label in labels if label not in probability]:
                raise UnusableAnswerError(f"no probability of label {missing[0]}")
            return np.array([[_log(probability[label]) for label in labels]], np.float32)

        return read_labels

    return [Call("/completion", {**asked, "prompt": ids[: p + 1]}, reader(p + 1)) for p in read]


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf if probability == 0 else math.nan
