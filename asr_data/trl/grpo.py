"""APPO's group form (paper eq. 9) as TRL's GRPOTrainer: sampled completions are scored, cut and masked online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl import GRPOTrainer

from asr_data.boundaries import step_starts
from asr_data.config import PairBaseline
from asr_data.errors import ConfigError, RowRejected
from asr_data.losses import adaptive_mask
from asr_data.response import code_points
from asr_data.scoring import Scorer
from asr_data.text import Tokenizer, check_rewards, project
from asr_data.trl.columns import bound
from asr_data.trl.sampled import byte_spans
from asr_data.types import Bool, ByteRewards, Completion, Float32, RejectedRow, Row

_OWN = ("rewards", "valid", "preferred", "group", "step_start", "boundary", "written", "end")
"""Arguments of ``adaptive_mask`` that the trainer makes."""


class AdaptiveGRPOTrainer(GRPOTrainer):
    """``trl.GRPOTrainer`` that trains on the segments of a completion that agree with its advantage.

    After TRL has sampled completions and given them advantages, ``scorer`` scores them, :func:`adaptive_mask` cuts
    them with ``preferred`` = advantage above 0, and the mask goes into TRL's own ``tool_mask``: loss, metrics and the
    count of tokens that some losses divide by are over kept tokens. A completion that the scorer refuses keeps all.

    Args:
        *arguments, **settings: the parent's; see ``docs/trainers.md`` for what is refused.
        scorer: gives rewards over the bytes of a completion (:func:`asr_data.load_scorer`).
        mask: settings of :func:`asr_data.losses.adaptive_mask`. ``baseline="pair"``, the default, is the mean reward
            of the completions of one prompt, over all processes. With ``end_token``, the tokens that end generation.

    Raises:
        ConfigError: settings with which the masks would not be right.
    """

    def __init__(self, *arguments: Any, scorer: Scorer, mask: Mapping[str, Any] | None = None, **settings: Any) -> None:
        given = bound(GRPOTrainer, arguments, settings)
        refused = [name for name in ("tools", "rollout_func", "environment_factory") if given.get(name)]
        if refused:
            raise ConfigError(f"{', '.join(refused)}: a completion must be one message of the assistant's to be scored")
        if scorer.info.partial:
            raise ConfigError(
                f"scorer {scorer.info.name!r} may leave tokens without a reward; online masks need one for every token"
            )
        self._mask_settings = {"baseline": "pair", **(mask or {})}
        own = sorted(set(_OWN) & set(self._mask_settings))
        if own:
            raise ConfigError(f"{', '.join(own)} cannot be set in mask: the trainer makes them")
        self._scorer = scorer
        super().__init__(**given)
        if not isinstance(self.processing_class, PreTrainedTokenizerBase):
            raise ConfigError("completions are scored as text: processing_class must be a tokenizer")
        self._byte_tokenizer = Tokenizer(self.processing_class, "processing_class")

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        mask = self._masks([row["prompt"] for row in inputs], output)
        output["tool_mask"] = mask.to(output["completion_mask"].dtype)
        kept = output["completion_mask"] * output["tool_mask"]
        output["num_items_in_batch"] = self.accelerator.gather(kept.sum()).sum()
        mode = "train" if self.model.training else "eval"
        total = self.accelerator.gather(output["completion_mask"].sum()).sum()
        self._metrics[mode]["mask/kept"].append((output["num_items_in_batch"] / total.clamp(min=1)).item())
        return output

    def _masks(self, prompts: Sequence[Any], output: Mapping[str, Tensor]) -> Tensor:
        """Bool ``[completions, time]`` of this process's completions."""
        valid, ids = output["completion_mask"].bool(), output["completion_ids"]
        rewards, steps = torch.zeros(ids.shape), torch.zeros(ids.shape, dtype=torch.bool)
        scored = torch.zeros(len(ids), dtype=torch.bool)
        given = [row[own].tolist() for row, own in zip(ids, valid, strict=True)]
        for i, found in enumerate(self._token_rewards(prompts, given)):
            if found is not None:
                scored[i] = True
                rewards[i, : len(given[i])], steps[i, : len(given[i])] = map(torch.from_numpy, found)
        # TRL 1.14 and before know one token that ends a turn.
        known = getattr(self, "eos_token_ids", None) or [self.processing_class.eos_token_id]
        ends = torch.isin(ids, torch.tensor(list(known), device=ids.device))
        mode = "train" if self.model.training else "eval"
        ratio = self.accelerator.gather(scored.float().to(ids.device)).mean()
        self._metrics[mode]["mask/scored"].append(ratio.item())
        local = [rewards, valid.cpu(), steps, ends.cpu(), output["advantages"].cpu() > 0, scored]
        everything, first = self._everywhere(local) if self._over_groups() else (local, 0)
        generations = self.num_generations if mode == "train" else self.num_generations_eval
        mask = self._cut(everything, generations)
        return mask[first : first + len(ids), : ids.shape[1]].to(ids.device)

    def _over_groups(self) -> bool:
        """Whether a completion's mask depends on others of its group."""
        baseline = self._mask_settings["baseline"]
        return baseline == "pair" or isinstance(baseline, PairBaseline)

    def _token_rewards(self, prompts: Sequence[Any], given: Sequence[list[int]]) -> list[tuple[Float32, Bool] | None]:
        """Rewards and step starts of each completion's tokens, float32 and bool ``[tokens]``, or None."""
        texts = [self.processing_class.decode(ids, **_AS_TEXT) for ids in given]
        asked = [i for i, text in enumerate(texts) if text]
        answers = self._scorer.score([_row(i, prompts[i], texts[i]) for i in asked])
        found: list[tuple[Float32, Bool] | None] = [None] * len(given)
        for i, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, RejectedRow):
                found[i] = self._projected(answer[0], texts[i], given[i])
        return found

    def _projected(self, rewards: ByteRewards, text: str, ids: list[int]) -> tuple[Float32, Bool] | None:
        start, end = byte_spans(self._byte_tokenizer, ids, text)
        try:
            check_rewards(rewards, len(text.encode()))
            values = project(rewards, start, end, self._scorer.info.form)
        except RowRejected:
            return None
        return values, np.asarray(step_starts(text, code_points(text, start)))

    def _everywhere(self, local: Sequence[Tensor]) -> tuple[list[Tensor], int]:
        """The tensors of all processes, in TRL's order of completions, and the place of this process's first."""
        device = self.accelerator.device
        padded = [
            self.accelerator.pad_across_processes(t.to(device), dim=1) if t.dim() > 1 else t.to(device) for t in local
        ]
        gathered = [self.accelerator.gather(tensor).cpu() for tensor in padded]
        return gathered, self.accelerator.process_index * len(local[0])

    def _cut(self, tensors: Sequence[Tensor], generations: int) -> Tensor:
        """The masks of all completions; those without rewards keep all."""
        rewards, valid, steps, ends, preferred, scored = tensors
        mask = valid.clone()
        if scored.any():
            mask[scored] = adaptive_mask(
                rewards[scored],
                valid[scored],
                preferred[scored],
                group=torch.arange(len(scored))[scored] // generations,
                step_start=steps[scored],
                end=ends[scored],
                **self._mask_settings,
            )
        return mask


_AS_TEXT = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}


def _row(index: int, prompt: Any, text: str) -> Row:
    content = text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
    return Row(index, {}, prompt, (Completion("completion", content, preferred=True),))
