"""Which bytes of a completion each sampled token stands for. A model may sample other tokens than a text's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr_data.errors import RowRejected
from asr_data.text import Tokenizer
from asr_data.types import Int32


def byte_spans(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> tuple[Int32, Int32]:
    """First byte, and one past the last, of each token of a completion; int32 ``[tokens]`` both, ascending.

    Args:
        tokenizer: the policy's.
        ids: sampled tokens. Special ones stand for no text, wherever they are.
        text: what they decode to without the special ones.
    """
    plain = np.array([i not in tokenizer.special_ids for i in ids], dtype=bool)
    end = np.zeros(len(ids), dtype=np.int64)
    end[plain] = _ends(tokenizer, [i for i in ids if i not in tokenizer.special_ids], text)
    end = np.maximum.accumulate(end)
    start = np.concatenate([np.zeros(min(1, len(end)), dtype=np.int64), end[:-1]])
    return start.astype(np.int32), end.astype(np.int32)


def _ends(tokenizer: Tokenizer, ids: list[int], text: str) -> list[int]:
    """Byte ends of tokens none of which is special."""
    try:
        encoded = tokenizer.encode(text, add_special_tokens=False)
    except RowRejected:
        encoded = None
    if encoded is not None and encoded.ids == ids:
        return [int(end) for end in encoded.end]
    ends, last = [], 0
    for count in range(1, len(ids) + 1):
        # A character of which tokens are still missing is shown as a replacement; it belongs to its last token.
        part = tokenizer.hf.decode(ids[:count], clean_up_tokenization_spaces=False).rstrip("\ufffd")
        if text.startswith(part):
            last = max(last, len(part.encode()))
        ends.append(last)
    return [*ends[:-1], len(text.encode())] if ends else ends
