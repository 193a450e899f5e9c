"""Hidden states of a decoder at the positions that are asked for. The engine does not know what a reward is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from asr_data.errors import ConfigError
from asr_data.scoring.batches import plan_batches
from asr_data.types import Float32


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to run, and where to read it.

    Attributes:
        ids: token ids.
        read: positions whose hidden states are read; may be empty.
        target: a token id for each position of ``read``, where the readout needs one (log-probabilities).
    """

    ids: list[int]
    read: list[int]
    target: list[int] | None = None


class Readout(Protocol):
    """From hidden states to one number each."""

    def __call__(self, hidden: Tensor, target: Tensor | None, /) -> Tensor:
        """Hidden states ``[n, hidden]`` in the model's dtype, targets int64 ``[n]`` or None → float32 ``[n]``."""
        ...


class Runner(Protocol):
    """What a scorer needs of an engine."""

    def run(
        self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None
    ) -> list[Float32 | None]:
        """Readings float32 ``[len(read)]`` of each request, in order; None where it does not fit into memory alone."""
        ...


class Engine:
    """Runs requests through a decoder in batches that depend on the requests and the budget alone.

    Args:
        backbone: a transformers decoder without its head, on its device and in its dtype.
        readout: applied to the hidden states that are read.
        batch_tokens: padded tokens per batch.
    """

    def __init__(self, backbone: nn.Module, readout: Readout, *, batch_tokens: int) -> None:
        if batch_tokens < 1:
            raise ConfigError(f"batch_tokens must be at least 1, got {batch_tokens}")
        self.backbone = backbone
        self.readout = readout
        self._batch_tokens = batch_tokens

    def run(
        self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None
    ) -> list[Float32 | None]:
        """See :class:`Runner`."""
        readings: list[Float32 | None] = [None] * len(requests)
        for batch in plan_batches([len(r.ids) for r in requests], self._batch_tokens):
            for i, reading in zip(batch, self._run([requests[i] for i in batch]), strict=True):
                readings[i] = reading
            if on_tokens is not None:
                on_tokens(sum(len(requests[i].ids) for i in batch))
        return readings

    def _run(self, batch: Sequence[Request]) -> list[Float32 | None]:
        """Readings of a batch; out of memory halves it."""
        try:
            return self._forward(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
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
        return next(self.backbone.parameters()).device

    @torch.inference_mode()
    def _forward(self, batch: Sequence[Request]) -> list[Float32 | None]:
        ids, attention = pad([r.ids for r in batch])
        states = self.backbone(
            input_ids=ids.to(self._device), attention_mask=attention.to(self._device), use_cache=False
        ).last_hidden_state
        rows = torch.tensor([i for i, r in enumerate(batch) for _ in r.read], dtype=torch.int64)
        columns = torch.tensor([t for r in batch for t in r.read], dtype=torch.int64)
        targets = [t for r in batch for t in r.target or ()]
        target = torch.tensor(targets, device=self._device) if targets else None
        readings = self.readout(states[rows.to(self._device), columns.to(self._device)], target)
        flat = readings.float().cpu()
        return [part.numpy() for part in torch.split(flat, [len(r.read) for r in batch])]


def is_out_of_memory(error: RuntimeError) -> bool:
    """On a CPU torch says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def pad(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Right-pad to int64 ``[batch, longest]`` ids and attention mask. The padding's id is never attended to."""
    longest = max(len(s) for s in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.int64)
    attention = torch.zeros(len(sequences), longest, dtype=torch.int64)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.tensor(sequence)
        attention[i, : len(sequence)] = 1
    return ids, attention
