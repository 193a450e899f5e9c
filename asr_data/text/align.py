"""Prompt and completion as token ids, exactly as TRL makes them, each token tied to bytes of the response text.

Source: TRL 1.16, ``DPOTrainer._prepare_dataset`` and ``KTOTrainer._prepare_dataset``: the chat template is rendered
without special tokens, strings are tokenised with them and closed with EOS, and the completion starts where the
tokens of the prompt alone and of prompt plus completion diverge, the earlier of both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_data.errors import RowRejected
from asr_data.text.template import (
    Rendered,
    apply_template,
    render_messages,
    render_strings,
    template_arguments,
)
from asr_data.text.tokenizer import Encoding, Tokenizer
from asr_data.types import Bool, Completion, Int32, Row


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
    """

    ids: list[int]
    start: Int32
    end: Int32
    written: Bool
    closing: Bool
    text: str


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
        prompt_text = apply_template(tokenizer.hf, row.prompt, arguments, generate=True)  # type: ignore[arg-type] # messages here
    else:
        prompt_text = str(row.prompt)
    prompt = tokenizer.encode(prompt_text, add_special_tokens=not conversational)
    rendered = [_render(row, completion, tokenizer) for completion in row.completions]
    encoded = [tokenizer.encode(r.text, add_special_tokens=not conversational) for r in rendered]
    shared = min(_common_prefix(prompt.ids, e.ids) for e in encoded)
    if shared == 0 and prompt.ids:
        raise RowRejected("prompt_not_prefix", "the prompt and the prompt with its completion share no first token")
    responses = tuple(_response(r, e, shared, tokenizer) for r, e in zip(rendered, encoded, strict=True))
    return AlignedRow(prompt.ids[:shared], responses, prompt_merged=shared < len(prompt.ids))


def _render(row: Row, completion: Completion, tokenizer: Tokenizer) -> Rendered:
    if isinstance(row.prompt, str) and isinstance(completion.content, str):
        return render_strings(row.prompt, completion.content, tokenizer.hf.eos_token or "")
    if isinstance(row.prompt, str) or isinstance(completion.content, str):
        raise RowRejected("wrong_type", "prompt and completion must both be strings or both be lists of messages")
    return render_messages(tokenizer.hf, row.prompt, completion.content, row.template_kwargs)


def _common_prefix(one: list[int], other: list[int]) -> int:
    length = min(len(one), len(other))
    different = np.flatnonzero(np.array(one[:length]) != np.array(other[:length]))
    return int(different[0]) if len(different) else length


def _response(rendered: Rendered, encoded: Encoding, first: int, tokenizer: Tokenizer) -> AlignedResponse:
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
    return AlignedResponse(ids, start.astype(np.int32), end.astype(np.int32), written, closing, rendered.response)


def _up_to_first(flags: Bool) -> Bool:
    """True up to and including the first True of ``flags``; all False where there is none."""
    found = np.flatnonzero(flags)
    upto = np.zeros(len(flags), dtype=bool)
    if len(found):
        upto[: found[0] + 1] = True
    return upto
