"""Prompt and completion as token ids, exactly as TRL makes them, each token tied to bytes of the response text.

Source: TRL 1.16, ``DPOTrainer._prepare_dataset`` and ``KTOTrainer._prepare_dataset``: the chat template is rendered
without special tokens, strings are tokenised with them and closed with EOS, and the completion starts where the
tokens of the prompt alone and of prompt plus completion diverge, the earlier of both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_data.errors import RowRejected
from asr_data.response import byte_offsets
from asr_data.text.project import before_or_first
from asr_data.text.rendering import render_messages
from asr_data.text.template import (
    Rendered,
    apply_template,
    render_strings,
    template_arguments,
)
from asr_data.text.tokenizer import Encoding, Tokenizer
from asr_data.types import Bool, Completion, Int32, Int64, Row


@dataclass(frozen=True, slots=True)
class AlignedResponse:
    """A completion's tokens.

    Attributes:
        ids: token ids.
        start, end: int32 ``[tokens]``, bytes of the response text that the token covers; empty for the
            template's own tokens.
        written: bool ``[tokens]``; False where somebody else than the assistant wrote (tool and user turns).
        closing: bool ``[tokens]``; True for what closes an assistant turn (end-of-turn, EOS).
        text: the response text.
        takes: int64 ``[2, tokens]``, the tokens whose reward one without text takes: that of the first, unknown if
            that of either is; −1 is unknown.
        missing: bytes of the response text, as ascending stretches, that the template leaves out: whole reasonings,
            contents or calls.
    """

    ids: list[int]
    start: Int32
    end: Int32
    written: Bool
    closing: Bool
    text: str
    takes: Int64
    missing: tuple[tuple[int, int], ...] = ()

    @property
    def covers(self) -> Bool:
        """bool ``[tokens]``, true where a token carries text of the response."""
        return self.end > self.start


@dataclass(frozen=True, slots=True)
class AlignedRow:
    """A row's tokens: ``prompt_ids`` shared by the responses, in the order of ``row.completions``."""

    prompt_ids: list[int]
    responses: tuple[AlignedResponse, ...]
    prompt_merged: bool


def align(row: Row, tokenizer: Tokenizer) -> AlignedRow:
    """Tokenise a row.

    Raises:
        RowRejected: the text cannot be aligned (``template_error``, ``template_alters_text``,
            ``tokenizer_alters_text``, ``tokens_uncovered``, ``prompt_not_prefix``).
    """
    conversational = not isinstance(row.prompt, str)
    if conversational:
        arguments = template_arguments(row.template_kwargs)
        prompt_text = apply_template(tokenizer, row.prompt, arguments, generate=True)  # type: ignore[arg-type] # messages here
    else:
        prompt_text = str(row.prompt)
    prompt = tokenizer.ids(prompt_text, add_special_tokens=not conversational)
    rendered = [_render(row, completion, tokenizer) for completion in row.completions]
    encoded = [
        tokenizer.encode(
            r.text,
            add_special_tokens=not conversational,
            within=[(p.start, p.end) for p in r.pieces if p.assistant and p.text_start is not None],
        )
        for r in rendered
    ]
    shared = min(_common_prefix(prompt, e.ids) for e in encoded)
    if shared == 0 and prompt:
        raise RowRejected("prompt_not_prefix", "the prompt and the prompt with its completion share no first token")
    responses = tuple(
        _response(r, e, shared, tokenizer) if r.turns is None else _turns(r, e, shared)
        for r, e in zip(rendered, encoded, strict=True)
    )
    return AlignedRow(prompt[:shared], responses, prompt_merged=shared < len(prompt))


def _render(row: Row, completion: Completion, tokenizer: Tokenizer) -> Rendered:
    if isinstance(row.prompt, str) and isinstance(completion.content, str):
        return render_strings(row.prompt, completion.content, tokenizer.hf.eos_token or "")
    if isinstance(row.prompt, str) or isinstance(completion.content, str):
        raise RowRejected("wrong_type", "prompt and completion must both be strings or both be lists of messages")
    return render_messages(tokenizer, row.prompt, completion.content, row.template_kwargs)


def _common_prefix(one: list[int], other: list[int]) -> int:
    length = min(len(one), len(other))
    different = np.flatnonzero(np.array(one[:length]) != np.array(other[:length]))
    return int(different[0]) if len(different) else length


def _response(rendered: Rendered, encoded: Encoding, first: int, tokenizer: Tokenizer) -> AlignedResponse:
    """A completion of contents alone, or of one text."""
    ids = encoded.ids[first:]
    token_start, token_end = encoded.start[first:], encoded.end[first:]
    start, end = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
    written, closing = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
    if rendered.pieces and rendered.pieces[0].assistant:
        # What the template puts before the first message is trained on, as in TRL.
        written[token_end <= len(rendered.text[: rendered.pieces[0].start].encode())] = True
    special = np.array([i in tokenizer.special_ids for i in ids], dtype=bool)
    for number, piece in enumerate(rendered.pieces):
        piece_start = len(rendered.text[: piece.start].encode())
        piece_end = piece_start + len(rendered.text[piece.start : piece.end].encode())
        after = token_start >= piece_end
        last = number == len(rendered.pieces) - 1
        if not piece.assistant:
            continue
        offset = len(rendered.response[: piece.text_start].encode()) - piece_start
        inside = (token_start < piece_end) & (token_end > piece_start)
        start[inside] = np.maximum(token_start[inside], piece_start) + offset
        end[inside] = np.minimum(token_end[inside], piece_end) + offset
        start[after] = end[after] = piece_end + offset
        closes = after if last else after & _up_to_first(after & special)
        written |= inside | closes
        closing |= closes
    takes = np.tile(before_or_first(end > start), (2, 1))
    return AlignedResponse(
        ids, start.astype(np.int32), end.astype(np.int32), written, closing, rendered.response, takes
    )


def _turns(rendered: Rendered, encoded: Encoding, first: int) -> AlignedResponse:
    """A completion with reasoning, tool calls or other texts of the assistant's."""
    ids = encoded.ids[first:]
    token_start, token_end = encoded.start[first:], encoded.end[first:]
    in_text, in_response = byte_offsets(rendered.text), byte_offsets(rendered.response)
    start, end = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
    other = np.zeros(len(ids), dtype=bool)
    for piece in rendered.pieces:
        piece_start, piece_end = int(in_text[piece.start]), int(in_text[piece.end])
        inside = (token_start < piece_end) & (token_end > piece_start)
        if piece.text_start is None:
            other |= inside & piece.assistant
            continue
        offset = int(in_response[piece.text_start]) - piece_start
        fresh = inside & (end <= start)  # a token over two pieces is of the first, and reaches into the second
        start[fresh] = np.maximum(token_start[fresh], piece_start) + offset
        end[inside] = np.minimum(token_end[inside], piece_end) + offset
        start[token_start >= piece_end] = end[token_start >= piece_end] = piece_end + offset
    written, closing = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
    takes = np.tile(before_or_first(end > start), (2, 1))
    for turn in rendered.turns or ():
        opens, closes, ends = (int(in_text[place]) for place in (turn.start, turn.closing, turn.end))
        own = (token_end > opens) & (token_start < ends)
        written |= own
        closing |= own & (token_start >= closes)
        takes[:, own] = _beside((end > start)[own], (token_start >= closes)[own], np.flatnonzero(own))
    takes[:, other & (end <= start)] = -1
    wanted = [(int(in_response[first]), int(in_response[last])) for first, last in rendered.wanted]
    missing = tuple(part for part in wanted if not np.any((start < part[1]) & (end > part[0]) & (end > start)))
    return AlignedResponse(
        ids, start.astype(np.int32), end.astype(np.int32), written, closing, rendered.response, takes, missing
    )


def _beside(covers: Bool, closes: Bool, token: NDArray[np.intp]) -> Int64:
    """What the tokens of one turn take: marks that of the text that they open, ends of turns that of the last one."""
    place = np.arange(len(covers))
    before = np.maximum.accumulate(np.where(covers, place, -1)) if len(covers) else place
    after = np.where(covers, place, len(covers))
    after = np.minimum.accumulate(after[::-1])[::-1] if len(covers) else place
    after = np.where(after == len(covers), -1, after)
    opening = (after >= 0) & ~closes
    one = np.where(opening, after, before)
    two = np.where(before >= 0, before, after)
    one = np.where(one < 0, two, one)
    index = np.append(token, -1)
    return np.stack([index[one], index[two]]).astype(np.int64)


def _up_to_first(flags: Bool) -> Bool:
    """True up to and including the first True of ``flags``; all False where there is none."""
    found = np.flatnonzero(flags)
    upto = np.zeros(len(flags), dtype=bool)
    if len(found):
        upto[: found[0] + 1] = True
    return upto
