"""APPO's group form (paper eq. 9) as TRL's GRPOTrainer: sampled completions are scored, cut and masked online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from asr_data.errors import ConfigError
from asr_data.scoring import Scorer
from asr_data.trl.columns import bound
from asr_data.trl.online_masks import OnlineMasks, Sampled, checked_settings
from asr_data.trl.weights import with_sum_1


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
            With ``weights``, each token's term counts its weight.

    Raises:
        ConfigError: settings with which the masks would not be right.
    """

    def __init__(self, *arguments: Any, scorer: Scorer, mask: Mapping[str, Any] | None = None, **settings: Any) -> None:
        given = bound(GRPOTrainer, arguments, settings)
        refused = [name for name in ("tools", "rollout_func", "environment_factory") if given.get(name)]
        if refused:
            raise ConfigError(f"{', '.join(refused)}: a completion must be one message of the assistant's to be scored")
        own = checked_settings(scorer, mask)
        self._are_weights = own.get("weights", "mask") != "mask"
        args = given.get("args")
        level = getattr(args, "importance_sampling_level", "token")
        if self._are_weights and (level != "token" or getattr(args, "loss_type", None) == "vespo"):
            raise ConfigError("'sequence' importance sampling and 'vespo' count tokens; mask has weights")
        super().__init__(**given)
        # TRL 1.14 and before know one token that ends a turn.
        ends = getattr(self, "eos_token_ids", None) or [getattr(self.processing_class, "eos_token_id", None)]
        self._online = OnlineMasks(scorer, own, self.processing_class, ends, self.accelerator)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        mask = self._masks([row["prompt"] for row in inputs], output)
        output["tool_mask"] = mask if mask.is_floating_point() else mask.to(output["completion_mask"].dtype)
        kept = output["completion_mask"] * output["tool_mask"]
        output["num_items_in_batch"] = self.accelerator.gather(kept.sum()).sum()
        total = self.accelerator.gather(output["completion_mask"].sum()).sum()
        share = self.accelerator.gather((kept > 0).sum()).sum() / total.clamp(min=1)
        self._metrics[self._mode]["mask/kept"].append(share.item())
        return output

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    def _masks(self, prompts: Sequence[Any], output: Mapping[str, Tensor]) -> Tensor:
        """Bool ``[completions, time]`` of this process's completions, or float32 with weights."""
        valid, ids = output["completion_mask"].bool(), output["completion_ids"]
        generations = self.num_generations if self._mode == "train" else self.num_generations_eval
        first = self.accelerator.process_index * len(ids)
        group = torch.arange(first, first + len(ids)) // generations
        mask, scored = self._online(Sampled(prompts, ids, valid, output["advantages"] > 0, group))
        self._metrics[self._mode]["mask/scored"].append(scored)
        # TRL divides a completion's sum by 1 where its weights add up to less.
        return with_sum_1(mask) if mask.is_floating_point() and self.loss_type in ("grpo", "sapo") else mask
