"""Rows as the page's script takes them: plain lists, texts made visible, nothing that needs work in the browser.

A *unit* is what is tinted and has a value of its own: a token, or a segment where no tokenizer is at hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_data.errors import InputError, RowRejected
from asr_data.response import code_points
from asr_data.types import Float32
from asr_data.view.escape import visible
from asr_data.view.model import GoldSpan, ResponseView, RowView, cut_at_gold
from asr_data.view.reading import AnnotatedRow
from asr_data.view.terminal import prompt_text

if TYPE_CHECKING:
    from asr_data.text import AlignedResponse, Tokenizer

LONGEST_LABEL = 40
"""Characters of what a template wrote that are shown."""


def page_rows(
    views: Sequence[RowView], rows: Sequence[AnnotatedRow], tokenizer: Tokenizer | None, prefix: str
) -> list[dict[str, Any]]:
    """The rows of the page.

    Raises:
        InputError: the tokenizer gives other tokens than the directory holds.
    """
    return [_row(view, one, tokenizer, prefix) for view, one in zip(views, rows, strict=True)]


def colour_spread(views: Sequence[RowView], rows: Sequence[AnnotatedRow], prefix: str) -> float:
    """The distance from the baseline at which colours end: the 95th percentile of those of token rewards."""
    distances = [np.zeros(0)]
    for view, one in zip(views, rows, strict=True):
        for response in view.responses:
            rewards = np.array(one.columns[f"{prefix}{response.side}_token_reward"], dtype=np.float64)
            known = rewards[~np.isnan(rewards)]
            neutral = response.decision.baseline
            if known.size:
                distances.append(np.abs(known - (float(np.median(known)) if neutral is None else neutral)))
    joined = np.concatenate(distances)
    spread = float(np.quantile(joined, 0.95)) if joined.size else 0.0
    return spread if spread > 0 else 1.0


def _row(view: RowView, one: AnnotatedRow, tokenizer: Tokenizer | None, prefix: str) -> dict[str, Any]:
    aligned = _aligned(one, tokenizer)
    return {
        "row": view.index,
        **({} if view.pair is None else {"pair": view.pair}),
        "prompt": visible(prompt_text(view.prompt).strip("\n")),
        "notes": [visible(note) for note in view.notes],
        **({} if view.gold_error is None else {"goldError": visible(view.gold_error)}),
        "sides": [
            _response(response, one.columns, prefix, tokenizer, tokens)
            for response, tokens in zip(view.responses, aligned, strict=True)
        ],
    }


def _aligned(one: AnnotatedRow, tokenizer: Tokenizer | None) -> Sequence[AlignedResponse | None]:
    if tokenizer is None:
        return [None] * len(one.row.completions)
    from asr_data.text import align  # imports numba

    try:
        return align(one.row, tokenizer).responses
    except RowRejected as error:
        raise InputError(
            f"row {one.row.index}: tokenizer {tokenizer.name!r} cannot read it: {error.message}"
        ) from error


def _response(
    response: ResponseView,
    columns: Mapping[str, Any],
    prefix: str,
    tokenizer: Tokenizer | None,
    aligned: AlignedResponse | None,
) -> dict[str, Any]:
    def column(name: str) -> Any:
        return columns[f"{prefix}{response.side}_{name}"]

    if tokenizer is None or aligned is None:
        texts = _segment_texts(response)
    else:
        if aligned.ids != column("ids"):
            raise InputError(f"tokenizer {tokenizer.name!r} gives other tokens than {response.side} holds")
        texts = _token_texts(aligned, response.gold, tokenizer)
    gold = [[visible(span.name), plain_number(span.reward), int(span.faulty)] for span in response.gold]
    return {
        "side": response.side,
        "reward": plain_number(response.reward),
        "b": plain_number(response.decision.baseline),
        "delta": plain_number(response.decision.delta),
        "others": response.other_messages,
        "texts": texts,
        "gold": gold,
        "rewards": [plain_number(reward) for reward in column("token_reward")],
        "mask": bits(column("mask")),
        "starts": column("seg_start"),
        "segRewards": [plain_number(reward) for reward in column("seg_reward")],
        "segKeep": bits(column("seg_keep")),
    }


def _segment_texts(response: ResponseView) -> list[Any]:
    texts, position = [], 0
    for segment in response.segments:
        texts.append(_pieces(segment.text, position, response.gold) if segment.text else {"mark": "∅"})
        position += len(segment.text)
    return texts


def _token_texts(aligned: AlignedResponse, gold: Sequence[GoldSpan], tokenizer: Tokenizer) -> list[Any]:
    """The text of each token; together they are the response text.

    Of the tokens that share a character the last one has it, as the last of segments that start in it does, and the
    others are empty. A token that stands for none of the text, such as the end of a turn, is a mark.
    """
    start = code_points(aligned.text, aligned.start).tolist()
    own = (aligned.start < aligned.end).tolist()
    # A token reaches to where the next one with text begins; the first also takes what stands before it.
    first = own.index(True) if True in own else -1
    texts: list[Any] = []
    end = len(aligned.text)
    for token in reversed(range(len(own))):
        if own[token]:
            begin = 0 if token == first else start[token]
            texts.append(_pieces(aligned.text[begin:end], begin, gold))
            end = begin
        else:
            label = tokenizer.hf.decode([aligned.ids[token]])
            texts.append({"mark": visible(label)[:LONGEST_LABEL].replace("\n", "↵") or "∅"})
    return texts[::-1]


def _pieces(text: str, position: int, gold: Sequence[GoldSpan]) -> Any:
    """A text; or, where gold labels stand in it, pieces of it with the place of their label, -1 for none."""
    pieces = cut_at_gold(text, position, gold)
    if all(span is None for _, span in pieces):
        return visible(text)
    return [[visible(piece), -1 if span is None else gold.index(span)] for piece, span in pieces]


def bits(flags: Iterable[Any]) -> str:
    """``"101"`` for true, false, true."""
    return "".join("1" if flag else "0" for flag in flags)


def plain_number(value: float | None) -> float | None:
    """Six digits: more than a bfloat16 holds. JSON has no form for numbers that are not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def plain_numbers(values: Float32) -> list[float | None]:
    """The same for an array."""
    return [plain_number(value) for value in values.tolist()]
