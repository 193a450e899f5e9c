"""Masks and weights of sampled completions: scored as text, cut, and compared with a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from asr_data.boundaries import step_starts
from asr_data.config import MaskConfig, PairBaseline, SegmentWeights
from asr_data.errors import ConfigError, RowRejected
from asr_data.losses import adaptive_mask
from asr_data.response import code_points
from asr_data.scoring import Scorer
from asr_data.text import Tokenizer, check_rewards, project
from asr_data.trl.sampled import byte_spans
from asr_data.types import Bool, ByteRewards, Completion, Float32, RejectedRow, Row

_OWN = ("rewards", "valid", "preferred", "group", "step_start", "boundary", "written", "end", "reference_logps")
"""Arguments of ``adaptive_mask`` that a trainer makes."""
_AS_TEXT = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}


def checked_settings(scorer: Scorer, mask: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings of :func:`adaptive_mask` for a trainer; the baseline is ``pair`` where none is given.

    Raises:
        ConfigError: what is no scorer, one that may leave tokens without a reward, or settings that cannot be had while
            training.
    """
    if not hasattr(scorer, "info"):
        raise ConfigError(f"scorer is {scorer!r}; it must be a scorer, as asr_data.load_scorer(MODEL) gives one")
    if scorer.info.partial:
        raise ConfigError(
            f"scorer {scorer.info.name!r} may leave tokens without a reward; online masks need one for every token"
        )
    settings = {"baseline": "pair", **(mask or {})}
    own = sorted(set(_OWN) & set(settings))
    if own:
        raise ConfigError(f"{', '.join(own)} cannot be set in mask: the trainer makes them")
    weights = MaskConfig(weights=settings.get("weights", "mask")).weights
    if weights.needs_reference:
        raise ConfigError('weights "confidence" in mask: completions that are sampled have no S_ref_logp')
    return settings


@dataclass(frozen=True, slots=True)
class Sampled:
    """Completions of this process.

    Attributes:
        prompts: of each completion, strings or messages.
        ids: int64 ``[completions, time]``.
        valid: bool ``[completions, time]``, padding is false.
        preferred: bool ``[completions]``, the verdicts.
        group: int64 ``[completions]``: equal numbers are answers to one prompt, in all processes.
    """

    prompts: Sequence[Any]
    ids: Tensor
    valid: Tensor
    preferred: Tensor
    group: Tensor


class OnlineMasks:
    """Scores completions and masks them.

    Args:
        scorer: gives rewards over the bytes of a completion.
        settings: of :func:`checked_settings`.
        tokenizer: the policy's.
        ends: ids that end a turn.
        accelerator: of the trainer; what depends on other completions is over those of all processes.

    Raises:
        ConfigError: ``tokenizer`` is none.
    """

    def __init__(
        self, scorer: Scorer, settings: Mapping[str, Any], tokenizer: Any, ends: Sequence[int], accelerator: Any
    ) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ConfigError("completions are scored as text: processing_class must be a tokenizer")
        self._scorer, self._settings, self._accelerator = scorer, settings, accelerator
        self._tokenizer, self._bytes = tokenizer, Tokenizer(tokenizer, "processing_class")
        self._ends = torch.tensor(list(ends))

    def __call__(self, sampled: Sampled) -> tuple[Tensor, float]:
        """Masks or weights of this process's completions, and the share of all that the scorer scored.

        A completion that the scorer refuses keeps all. Bool ``[completions, time]``, with ``weights`` float32.
        """
        ids, valid = sampled.ids, sampled.valid.bool()
        rewards, steps = torch.zeros(ids.shape), torch.zeros(ids.shape, dtype=torch.bool)
        scored = torch.zeros(len(ids), dtype=torch.bool)
        given = [row[own].tolist() for row, own in zip(ids, valid, strict=True)]
        for i, found in enumerate(self._token_rewards(sampled.prompts, given)):
            if found is not None:
                scored[i] = True
                rewards[i, : len(given[i])], steps[i, : len(given[i])] = map(torch.from_numpy, found)
        share = float(self._accelerator.gather(scored.float().to(ids.device)).mean())
        ends = torch.isin(ids.cpu(), self._ends)
        local = [rewards, valid.cpu(), steps, ends, sampled.preferred.cpu(), sampled.group.cpu(), scored]
        everything, first = self._everywhere(local, ids.device) if self._over_others() else (local, 0)
        mask = self._cut(everything)
        return mask[first : first + len(ids), : ids.shape[1]].to(ids.device), share

    def _over_others(self) -> bool:
        """Whether a completion's mask depends on others, which may be in another process."""
        baseline, weights = self._settings["baseline"], self._settings.get("weights", "mask")
        by_batch = weights == "segment" or isinstance(weights, SegmentWeights)
        return (
            baseline == "pair"
            or isinstance(baseline, PairBaseline)
            or (by_batch and self._settings.get("mean_distance") is None)
        )

    def _token_rewards(self, prompts: Sequence[Any], given: Sequence[list[int]]) -> list[tuple[Float32, Bool] | None]:
        """Rewards and step starts of each completion's tokens, float32 and bool ``[tokens]``, or None."""
        texts = [self._tokenizer.decode(ids, **_AS_TEXT) for ids in given]
        asked = [i for i, text in enumerate(texts) if text]
        answers = self._scorer.score([_row(i, prompts[i], texts[i]) for i in asked])
        found: list[tuple[Float32, Bool] | None] = [None] * len(given)
        for i, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, RejectedRow):
                found[i] = self._projected(answer[0], texts[i], given[i])
        return found

    def _projected(self, rewards: ByteRewards, text: str, ids: list[int]) -> tuple[Float32, Bool] | None:
        start, end = byte_spans(self._bytes, ids, text)
        try:
            check_rewards(rewards, len(text.encode()))
            values = project(rewards, start, end, self._scorer.info.form)
        except RowRejected:
            return None
        return values, np.asarray(step_starts(text, code_points(text, start)))

    def _everywhere(self, local: Sequence[Tensor], device: torch.device) -> tuple[list[Tensor], int]:
        """The tensors of all processes, in their order, and the place of this process's first completion."""
        accelerator = self._accelerator
        padded = [accelerator.pad_across_processes(t.to(device), dim=1) if t.dim() > 1 else t.to(device) for t in local]
        gathered = [accelerator.gather(tensor).cpu() for tensor in padded]
        return gathered, accelerator.process_index * len(local[0])

    def _cut(self, tensors: Sequence[Tensor]) -> Tensor:
        """The masks of all completions; those without rewards keep all."""
        rewards, valid, steps, ends, preferred, group, scored = tensors
        if not scored.any():
            return valid.clone()
        found = adaptive_mask(
            rewards[scored],
            valid[scored],
            preferred[scored],
            group=group[scored],
            step_start=steps[scored],
            end=ends[scored],
            **self._settings,
        )
        mask = valid.to(found.dtype, copy=True)
        mask[scored] = found
        return mask


def _row(index: int, prompt: Any, text: str) -> Row:
    content = text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
    return Row(index, {}, prompt, (Completion("completion", content, preferred=True),))
