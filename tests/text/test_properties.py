"""For any text: rewards over its bytes survive the way to any tokenizer's tokens, or the row says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from asr_data.errors import RowRejected
from asr_data.text.project import check_rewards, project
from asr_data.text.tokenizer import Encoding, Tokenizer
from asr_data.types import ByteRewards
from tests.conftest import TOKENIZER_KINDS

PIECES = [
    *("The answer", " ", "  ", "\n\n", "four", "é", "e\u0301", "👩\u200d👩\u200d👧", "二加二", "שלום", "ﬁ", "①", "▁"),
    *("<sep>", "<|im_end|>", "\t", "\u00a0", "\u200b", "3.14", "…", "Ａ", "ñ", "\r\n", "ก็", "𝔘"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30),
)
ALWAYS = ("byte_level",)
"""Kinds that take every text."""


@st.composite
def rewards_over(draw: st.DrawFn, size: int) -> ByteRewards:
    """Spans that cover ``size`` bytes, with rewards that floats add without error."""
    inner = draw(st.sets(st.integers(1, max(1, size - 1)), max_size=6)) if size > 1 else set()
    ends = sorted({*inner, size})
    values = draw(st.lists(st.integers(-64, 64), min_size=len(ends), max_size=len(ends)))
    return ByteRewards(
        np.array(ends, dtype=np.int32), np.array(values, dtype=np.float32) / 8, np.zeros(0, dtype=np.int32)
    )


def encoded(tokenizer: Tokenizer, text: str) -> Encoding | None:
    try:
        return tokenizer.encode(text, add_special_tokens=False)
    except RowRejected as rejected:
        event(f"{tokenizer.name}: {rejected.code}")
        if rejected.code in ("tokenizer_alters_text", "tokens_uncovered"):
            return None
        raise


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rewards_survive(kind: str, data: Any, make_tokenizer: Callable[..., Tokenizer]) -> None:
    text = data.draw(TEXTS)
    tokens = encoded(make_tokenizer(kind), text)
    assert tokens is not None or kind not in ALWAYS
    if tokens is None or not (tokens.end > tokens.start).any():
        return
    size = len(text.encode())
    rewards = data.draw(rewards_over(size))
    check_rewards(rewards, size)
    start, end = tokens.start.astype(np.int32), tokens.end.astype(np.int32)
    lengths = end - start
    # Every byte once, in order.
    assert (start[1:] == end[:-1]).all()
    assert (start[0], end[-1], int(lengths.sum())) == (0, size, size)
    widths = np.diff(rewards.span_end, prepend=0)
    values = project(rewards, start, end, "value").astype(np.float64)
    covering = lengths > 0
    assert values[covering] @ lengths[covering] == pytest.approx(
        float(rewards.span_reward @ widths), rel=1e-4, abs=1e-3
    )
    assert values.min() >= rewards.span_reward.min() - 1e-5
    assert values.max() <= rewards.span_reward.max() + 1e-5
    increments = project(rewards, start, end, "increment").astype(np.float64)
    assert increments.sum() == pytest.approx(float(rewards.span_reward.sum()), rel=1e-4, abs=1e-3)
    assert not increments[~covering].any()


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@settings(max_examples=40, deadline=None)
@given(text=TEXTS)
def test_a_rejected_text_is_one_that_the_tokens_do_not_give_back(
    kind: str, text: str, make_tokenizer: Callable[..., Tokenizer]
) -> None:
    tokenizer = make_tokenizer(kind)
    if encoded(tokenizer, text) is not None:
        return
    ids = tokenizer.hf(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.hf.decode(ids, clean_up_tokenization_spaces=False) != text
