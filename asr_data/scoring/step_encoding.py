"""Responses put to models that give one reward per step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr_data.errors import RowRejected, ScorerError
from asr_data.response import bytes_of_contents, contents_text, response_text
from asr_data.scoring.config import PromptConfig, StepLayoutConfig
from asr_data.scoring.engine import Request
from asr_data.scoring.model_scorer import NOTHING_READ, Reading
from asr_data.scoring.step_splitting import split_steps, step_ends
from asr_data.text.align import align
from asr_data.text.rendering import render_messages
from asr_data.text.template import apply_template, template_arguments
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Completion, Int32, Int64, Message, Row, Text


def encode_steps(row: Row, tokenizer: Tokenizer, prompt: PromptConfig, steps: StepLayoutConfig) -> list[Reading]:
    """One request per completion, read once per step; the spans are the steps, of the contents alone.

    Raises:
        RowRejected: the row cannot be tokenised, holds the separator itself, or has turns that the layout has no
            place for.
        ScorerError: the separator is not one token where it has to be.
    """
    readings = []
    for completion in row.completions:
        if not contents_text(completion.content):
            if not response_text(completion.content):
                raise RowRejected("empty_response", "the assistant wrote nothing")
            readings.append(NOTHING_READ)  # reasoning and calls alone, of which no step is read
            continue
        if steps.layout == "turn_per_step":
            asked = _turns(row, completion.content, tokenizer, prompt, steps)
        elif steps.tokenize == "by_step":
            asked = _by_step(row, completion.content, tokenizer, prompt, steps)
        else:
            asked = _together(row, completion.content, tokenizer, prompt, steps)
        read = [position - steps.back for position in asked.read]
        if min(read) < 0:
            raise RowRejected("tokens_uncovered", "the first step's reward would be read before the first token")
        readings.append(Reading((Request(asked.ids, read),), asked.step_end, asked.step_end, contents_only=True))
    return readings


def check_separator(tokenizer: Tokenizer, steps: StepLayoutConfig) -> None:
    """See that the separator can be found among the tokens.

    Raises:
        ScorerError: it is found by its id, but is not one token and ``separator_ids`` are not given.
    """
    if steps.layout == "inline" and steps.tokenize == "together" and steps.read != "last_token_of_step":
        _separator_ids(tokenizer, steps)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Token ids, the position to read for each step, and the steps' byte ends in the response text."""

    ids: list[int]
    read: list[int]
    step_end: Int32


@dataclass(frozen=True, slots=True)
class _Marked:
    """A completion with the separator after each step.

    ``last`` and ``separator`` are bytes of the marked response text: the last one of each step that is not white
    space, and start and end of each separator.
    """

    content: Text
    last: list[int]
    separator: list[tuple[int, int]]
    step_end: Int32


def _together(row: Row, content: Text, tokenizer: Tokenizer, prompt: PromptConfig, steps: StepLayoutConfig) -> _Asked:
    marked = _mark(content, steps)
    ids, start, end = _tokenize(row, marked.content, tokenizer, prompt)
    if steps.read == "last_token_of_step":
        return _Asked(ids, [_covering(start, end, byte) for byte in marked.last], marked.step_end)
    wanted = _separator_ids(tokenizer, steps)
    read = [t for t, i in enumerate(ids) if i in wanted and end[t] > start[t]]
    found = [start[t] < last and end[t] > first for t, (first, last) in zip(read, marked.separator, strict=False)]
    if len(read) != len(marked.separator) or not all(found):
        raise RowRejected(
            "separator_in_text",
            f"{len(marked.separator)} steps, but {len(read)} separators {steps.separator!r}, or some are not "
            "where they were put; the text must not hold it",
        )
    return _Asked(ids, [t - (steps.read == "before_separator") for t in read], marked.step_end)


def _tokenize(row: Row, marked: Text, tokenizer: Tokenizer, prompt: PromptConfig) -> tuple[list[int], Int64, Int64]:
    """Ids of a prompt with a marked response, and the bytes of the response that each covers: start and end."""
    if prompt.template is None and not isinstance(row.prompt, str):
        aligned = align(replace(row, completions=(Completion("completion", marked, preferred=True),)), tokenizer)
        (response,) = aligned.responses
        before = np.zeros(len(aligned.prompt_ids), dtype=np.int64)
        own = [bytes_of_contents(edge, marked) for edge in (response.start, response.end)]
        start, end = (np.concatenate([before, edge]) for edge in own)
        return aligned.prompt_ids + response.ids, start, end
    before_text = _prompt_text(row.prompt, prompt.template or "{prompt}")
    encoded = tokenizer.encode(before_text + _single(marked), add_special_tokens=prompt.special == "tokenizer")
    first = len(before_text.encode())
    bos = _bos(tokenizer, prompt)
    before = np.zeros(len(bos), dtype=np.int64)
    start, end = (np.concatenate([before, np.maximum(edge - first, 0)]) for edge in (encoded.start, encoded.end))
    return bos + encoded.ids, start, end


def _by_step(row: Row, content: Text, tokenizer: Tokenizer, prompt: PromptConfig, steps: StepLayoutConfig) -> _Asked:
    ids = _prompt_ids(row, tokenizer, prompt)
    separator = tokenizer.hf.encode(steps.separator, add_special_tokens=False) if steps.separator else []
    read = []
    cut = _split(_single(content), steps)
    for step, _ in cut:
        own = tokenizer.encode(step, add_special_tokens=False).ids
        if tokenizer.special_ids.intersection(separator, own):
            raise RowRejected("separator_in_text", f"the text holds the separator {steps.separator!r}")
        ids += own + separator
        read.append(len(ids) - 1 - (0 if steps.read == "separator" else len(separator)))
    return _Asked(ids, read, step_ends(cut))


def _turns(row: Row, content: Text, tokenizer: Tokenizer, prompt: PromptConfig, steps: StepLayoutConfig) -> _Asked:
    cut = _split(_single(content), steps)
    asked = [step for step, _ in cut]
    asked[0] = _prompt_text(row.prompt, prompt.template or "{prompt} ") + asked[0]
    answer = {"role": "assistant", "content": steps.separator}
    turns = [turn for step in asked for turn in ({"role": "user", "content": step}, answer)]
    rendered = render_messages(tokenizer, [], turns, row.template_kwargs)
    encoded = tokenizer.encode(rendered.text, add_special_tokens=False)
    read = []
    for piece in rendered.pieces:
        if piece.assistant == (steps.read == "last_token_of_step"):
            continue
        start, shown = len(rendered.text[: piece.start].encode()), rendered.text[piece.start : piece.end]
        if steps.read == "before_separator":
            read.append(_covering(encoded.start, encoded.end, start, first=True) - 1)
        else:
            read.append(_covering(encoded.start, encoded.end, start + len(shown.rstrip().encode()) - 1))
    return _Asked(encoded.ids, read, step_ends(cut))


def _separator_ids(tokenizer: Tokenizer, steps: StepLayoutConfig) -> frozenset[int]:
    if steps.separator_ids:
        return frozenset(steps.separator_ids)
    ids = tokenizer.hf.encode(steps.separator, add_special_tokens=False)
    if len(ids) != 1:
        raise ScorerError(
            f"separator {steps.separator!r} is {len(ids)} tokens in tokenizer {tokenizer.name!r}; it must be one, "
            "or separator_ids must say which one is meant"
        )
    return frozenset(ids)


def _split(text: str, steps: StepLayoutConfig) -> list[tuple[str, str]]:
    return split_steps(text, steps.split, keep_empty=steps.empty == "keep")


def _mark(content: Text, steps: StepLayoutConfig) -> _Marked:
    messages: Sequence[Message] = [{"role": "assistant", "content": content}] if isinstance(content, str) else content
    marked: list[Message] = []
    last, separators, cuts, shown = [], [], [], 0
    for message in messages:
        if message["role"] != "assistant" or not message.get("content"):
            marked.append(message)
            continue
        text, cut = "", _split(message["content"], steps)
        for step, between in cut:
            last.append(shown + len(step.rstrip().encode()) - 1)
            after = between if steps.separator is None else steps.separator
            text += step + after
            shown += len((step + after).encode())
            separators.append((shown - len(after.encode()), shown))
        cuts += cut
        marked.append({**message, "content": text})
    if not cuts:
        raise RowRejected("empty_response", "the assistant wrote nothing")
    return _Marked(marked[0]["content"] if isinstance(content, str) else marked, last, separators, step_ends(cuts))


def _covering(start: Int64, end: Int64, byte: int, *, first: bool = False) -> int:
    """The last (or first) token that covers a byte."""
    covering = np.flatnonzero((start <= byte) & (end > byte))
    if not len(covering):
        raise RowRejected("tokens_uncovered", f"no token covers byte {byte} of the response, where a step is read")
    return int(covering[0 if first else -1])


def _prompt_ids(row: Row, tokenizer: Tokenizer, prompt: PromptConfig) -> list[int]:
    if prompt.template is None and not isinstance(row.prompt, str):
        text = apply_template(tokenizer, row.prompt, template_arguments(row.template_kwargs), generate=True)
        return tokenizer.encode(text, add_special_tokens=False).ids
    text = _prompt_text(row.prompt, prompt.template or "{prompt}")
    encoded = tokenizer.hf(text, add_special_tokens=prompt.special == "tokenizer", return_special_tokens_mask=True)
    ids = list(encoded["input_ids"])
    if prompt.special == "tokenizer":  # what the tokenizer puts at the end of a text does not end the prompt
        while ids and encoded["special_tokens_mask"][len(ids) - 1]:
            ids.pop()
    return _bos(tokenizer, prompt) + ids


def _bos(tokenizer: Tokenizer, prompt: PromptConfig) -> list[int]:
    if prompt.special != "bos" or tokenizer.hf.bos_token_id is None:
        return []
    return [int(tokenizer.hf.bos_token_id)]


def _prompt_text(prompt: Text, template: str) -> str:
    if isinstance(prompt, str):
        return template.replace("{prompt}", prompt)
    turns = [message for message in prompt if message["role"] != "system"]
    if [message["role"] for message in turns] != ["user"]:
        roles = ", ".join(str(message["role"]) for message in turns)
        raise RowRejected(
            "template_error", f"this model's prompt is one user message, not turns of {roles or 'nobody'}"
        )
    return template.replace("{prompt}", turns[0].get("content") or "")


def _single(content: Text) -> str:
    """The text of a completion that is one assistant message."""
    if not isinstance(content, str) and [message["role"] for message in content] != ["assistant"]:
        raise RowRejected("template_error", "this model's steps are of one assistant message, not of several turns")
    return contents_text(content)
