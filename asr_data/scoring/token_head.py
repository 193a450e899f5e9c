"""The ``token_head`` kind: a reward at token positions from a head on a decoder's last hidden state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from asr_data.errors import RowRejected, ScorerError
from asr_data.scoring.batches import plan_batches
from asr_data.scoring.config import TokenHeadConfig
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.scoring.steps import split_steps, step_ends
from asr_data.text.align import AlignedResponse, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Completion, Float32, Int32, RejectedRow, Row, Text


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One response to score: token ids, the positions to read, and the spans that the readings are for."""

    ids: list[int]
    read: list[int]
    span_end: Int32
    step_end: Int32


class TokenRewardModel(nn.Module):
    """A decoder with a head: token ids to logits.

    Shapes: ``ids`` and ``attention`` int64 ``[batch, time]`` (right-padded) → float32 ``[batch, time, labels]``.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        """Logits at every position."""
        hidden = self.backbone(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
        return cast(Tensor, self.head(hidden.float()))


class TokenHeadScorer:
    """Scores rows with a :class:`TokenRewardModel`.

    Args:
        model: on its device, in its dtype, the head in float32.
        tokenizer: the model's tokenizer.
        config: where and how the head is read.
        info: for the manifest.
        batch_tokens: padded tokens per batch.
        max_length: longest prompt plus response in tokens; longer rows are rejected.
    """

    def __init__(
        self,
        model: TokenRewardModel,
        tokenizer: Tokenizer,
        config: TokenHeadConfig,
        info: ScorerInfo,
        *,
        batch_tokens: int,
        max_length: int,
    ) -> None:
        self.model = model
        self._config = config
        self._batch_tokens = batch_tokens
        self._max_length = max_length
        self.tokenizer = tokenizer
        self.info = info
        self._separator_id = _separator_id(tokenizer, config)

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        """Score rows; see :class:`asr_data.scoring.protocol.Scorer`."""
        prepared = [self._prepare(row) for row in rows]
        sequences = [s for entry in prepared if not isinstance(entry, RejectedRow) for s in entry]
        rewards: list[Float32 | None] = [None] * len(sequences)
        for batch in plan_batches([len(s.ids) for s in sequences], self._batch_tokens):
            for i, reward in zip(batch, self._run([sequences[i] for i in batch]), strict=True):
                rewards[i] = reward
            if on_tokens is not None:
                on_tokens(sum(len(sequences[i].ids) for i in batch))
        return self._collect(rows, prepared, sequences, rewards)

    def _prepare(self, row: Row) -> list[_Sequence] | RejectedRow:
        try:
            sequences = self._every(row) if self._config.position == "every" else self._stepwise(row)
            longest = max(len(s.ids) for s in sequences)
            if longest > self._max_length:
                raise RowRejected(
                    "too_long",
                    f"{longest} tokens; this scorer reads {self._max_length} (prompt plus response)",
                )
        except RowRejected as rejected:
            return RejectedRow(row.index, rejected.code, rejected.message)
        return sequences

    def _every(self, row: Row) -> list[_Sequence]:
        aligned = align(row, self.tokenizer)
        first = len(aligned.prompt_ids)
        out = []
        for response in aligned.responses:
            tokens, ends = _covering(response)
            read, span_end = [first + int(t) for t in tokens], ends
            if first > 0:  # the value at the end of the prompt, as a span that ends at byte 0
                read, span_end = [first - 1, *read], np.concatenate([np.zeros(1, np.int32), ends])
            out.append(_Sequence(aligned.prompt_ids + response.ids, read, span_end, np.zeros(0, np.int32)))
        return out

    def _stepwise(self, row: Row) -> list[_Sequence]:
        separator = self._config.separator if self._config.position == "separator" else None
        marked, ends = [], []
        for completion in row.completions:
            content, end = _mark_steps(completion.content, self._config.step_split, separator)
            marked.append(Completion(completion.side, content, completion.preferred))
            ends.append(end)
        aligned = align(replace(row, completions=tuple(marked)), self.tokenizer)
        first = len(aligned.prompt_ids)
        out = []
        for response, end in zip(aligned.responses, ends, strict=True):
            positions = self._separators(response) if separator else _last_tokens(response, end)
            if len(positions) != len(end):
                raise RowRejected(
                    "separator_in_text",
                    f"{len(end)} steps but {len(positions)} separators {separator!r}; the text must not hold it",
                )
            out.append(_Sequence(aligned.prompt_ids + response.ids, [first + p for p in positions], end, end))
        return out

    def _separators(self, response: AlignedResponse) -> list[int]:
        return [t for t, i in enumerate(response.ids) if i == self._separator_id]

    def _run(self, batch: Sequence[_Sequence]) -> list[Float32 | None]:
        """Rewards of a batch; out of memory halves it, and a sequence that does not fit alone gives None."""
        try:
            return self._forward(batch)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        # Outside of the handler: the exception holds on to the tensors of the failed pass.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) == 1:
            return [None]
        half = len(batch) // 2
        return self._run(batch[:half]) + self._run(batch[half:])

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def _forward(self, batch: Sequence[_Sequence]) -> list[Float32 | None]:
        ids, attention = pad([s.ids for s in batch])
        logits = self.model(ids.to(self._device), attention.to(self._device))
        rewards = transform(logits, self._config).cpu()
        return [rewards[i, s.read].numpy() for i, s in enumerate(batch)]

    def _collect(
        self,
        rows: Sequence[Row],
        prepared: Sequence[list[_Sequence] | RejectedRow],
        sequences: Sequence[_Sequence],
        rewards: Sequence[Float32 | None],
    ) -> list[Scored]:
        out: list[Scored] = []
        answers = iter(zip(sequences, rewards, strict=True))
        for row, entry in zip(rows, prepared, strict=True):
            if isinstance(entry, RejectedRow):
                out.append(entry)
                continue
            mine = [next(answers) for _ in entry]
            if any(reward is None for _, reward in mine):
                longest = max(len(s.ids) for s, _ in mine)
                message = f"a sequence of {longest} tokens does not fit into memory alone"
                out.append(RejectedRow(row.index, "out_of_memory", message))
            else:
                out.append(tuple(ByteRewards(s.span_end, cast(Any, r), s.step_end) for s, r in mine))
        return out


def _is_out_of_memory(error: RuntimeError) -> bool:
    """On a CPU torch says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def transform(logits: Tensor, config: TokenHeadConfig) -> Tensor:
    """Logits ``[..., labels]`` to rewards ``[...]``, as :class:`TokenHeadConfig` defines them."""
    first = config.indices[0]
    if config.transform == "raw":
        return logits[..., first]
    if config.transform == "sigmoid":
        return logits[..., first].sigmoid()
    probabilities = logits.softmax(dim=-1)
    if config.transform == "prob_diff":
        return probabilities[..., first] - probabilities[..., config.indices[1]]
    return probabilities[..., list(config.indices)].sum(dim=-1)


def pad(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Right-pad to int64 ``[batch, longest]`` ids and attention mask. The padding's id is never attended to."""
    longest = max(len(s) for s in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.int64)
    attention = torch.zeros(len(sequences), longest, dtype=torch.int64)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.tensor(sequence)
        attention[i, : len(sequence)] = 1
    return ids, attention


def _covering(response: AlignedResponse) -> tuple[Int32, Int32]:
    """Tokens that cover text, and consecutive byte ends for them that reach the end of the text."""
    tokens = np.flatnonzero(response.end > response.start)
    if not len(tokens):
        raise RowRejected("tokens_uncovered", "no token of the response covers any of its text")
    ends = response.end[tokens].copy()
    ends[-1] = len(response.text.encode())
    return tokens.astype(np.int32), ends


def _mark_steps(content: Text, split: str, separator: str | None) -> tuple[Text, Int32]:
    """Put the separator after each step of what the assistant wrote; byte ends count in the unmarked text."""
    if isinstance(content, str):
        steps = split_steps(content, split)
        marked = content if separator is None else "".join(step + separator for step, _ in steps)
        return marked, step_ends(steps)
    messages, ends, written = [], [], 0
    for message in content:
        if message["role"] != "assistant" or not message.get("content"):
            messages.append(message)
            continue
        text, end = _mark_steps(message["content"], split, separator)
        messages.append({**message, "content": text})
        ends.append(end + written)
        written += int(end[-1])
    if not ends:
        raise RowRejected("empty_response", "the assistant wrote nothing")
    return messages, np.concatenate(ends).astype(np.int32)


def _last_tokens(response: AlignedResponse, step_end: Int32) -> list[int]:
    """The last token of each step: the one that covers its last byte that is not white space."""
    text = response.text.encode()
    positions, start = [], 0
    for end in step_end.tolist():
        last = start + len(text[start:end].decode().rstrip().encode()) - 1
        covering = np.flatnonzero((response.start <= last) & (response.end > last))
        if not len(covering):
            raise RowRejected("tokens_uncovered", f"no token covers byte {last} of the response, the end of a step")
        positions.append(int(covering[-1]))
        start = end
    return positions


def _separator_id(tokenizer: Tokenizer, config: TokenHeadConfig) -> int | None:
    if config.position != "separator":
        return None
    ids = tokenizer.hf.encode(config.separator, add_special_tokens=False)
    if len(ids) != 1:
        raise ScorerError(f"separator {config.separator!r} is {len(ids)} tokens in this tokenizer; it must be one")
    return int(ids[0])
