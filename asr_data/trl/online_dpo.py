"""On-line ADPO (paper eq. 10, §4.1) as TRL's OnlineDPOTrainer: pairs are sampled, scored, cut and masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from trl.experimental.online_dpo import OnlineDPOTrainer

from asr_data.errors import ConfigError
from asr_data.scoring import Scorer
from asr_data.trl.columns import bound
from asr_data.trl.helpers import require_tested
from asr_data.trl.online_masks import OnlineMasks, Sampled, checked_settings

_USED = ("_generate", "_generate_vllm", "_forward", "_calculate_rewards_from_functions")
"""Methods of TRL's trainer, which it calls in this order in a step, that this one stands on."""


class AdaptiveOnlineDPOTrainer(OnlineDPOTrainer):
    """``trl.experimental.online_dpo.OnlineDPOTrainer`` over the segments that agree with the verdict.

    TRL samples two completions of each prompt, and its ``reward_funcs`` say which one is chosen. Then ``scorer`` scores
    both, :func:`asr_data.losses.adaptive_mask` cuts them, and log-probabilities of policy and reference at masked
    tokens become 0, with no gradient; with ``weights`` those at the others are multiplied by their weight. So TRL's
    loss, its KL and its other figures are over kept tokens. A completion that the scorer refuses keeps all.

    Logged as well: ``mask/kept``, the share of tokens that are kept, and ``mask/scored``, that of completions that the
    scorer scored.

    Args:
        *arguments, **settings: the parent's; see ``docs/trainers.md`` for what is refused.
        scorer: gives rewards over the bytes of a completion (:func:`asr_data.load_scorer`).
        mask: settings of :func:`asr_data.losses.adaptive_mask`. ``baseline="pair"``, the default, is the mean reward of
            a prompt's two completions.

    Raises:
        ConfigError: settings with which the masks would not be right, or a TRL that this was not tested with.
    """

    def __init__(self, *arguments: Any, scorer: Scorer, mask: Mapping[str, Any] | None = None, **settings: Any) -> None:
        require_tested("AdaptiveOnlineDPOTrainer", OnlineDPOTrainer, _USED)
        own = checked_settings(scorer, mask)
        given = bound(OnlineDPOTrainer, arguments, settings)
        super().__init__(**given)
        if self.is_vision_model:
            raise ConfigError("completions are scored as text: a model of images has no masks")
        self._online = OnlineMasks(scorer, own, self.processing_class, self.eos_token_ids, self.accelerator)
        self._sampled: tuple[Tensor, Tensor] | None = None
        self._logps: list[Tensor] = []
        self.stats: dict[str, list[float]] = {**self.stats, "mask/kept": [], "mask/scored": []}

    def _generate(self, model: Any, prompts: Any, images: Any = None) -> Any:
        return self._noted(super()._generate(model, prompts, images))

    def _generate_vllm(self, prompts: Any, images: Any = None) -> Any:
        return self._noted(super()._generate_vllm(prompts, images))

    def _noted(self, made: Any) -> Any:
        self._sampled, self._logps = (made[2], made[3]), []
        return made

    def _forward(self, *arguments: Any, **settings: Any) -> Tensor:
        logps: Tensor = super()._forward(*arguments, **settings)
        self._logps.append(logps)
        return logps

    def _calculate_rewards_from_functions(
        self, prompts: Any, completions: Any, completion_ids_list: Any, **settings: Any
    ) -> Tensor:
        """The parent's, after which the verdicts are known: masks the log-probabilities of this step in place."""
        rewards: Tensor = super()._calculate_rewards_from_functions(
            prompts, completions, completion_ids_list, **settings
        )
        if self._sampled is None:
            raise RuntimeError("TRL asks for rewards of completions that were not sampled here")
        ids, valid = self._sampled
        preferred = self._verdicts(rewards, ids)
        pairs = len(ids) // 2
        group = (torch.arange(len(ids)) % pairs) + self.accelerator.process_index * pairs
        mask, scored = self._online(Sampled(prompts, ids, valid, preferred, group))
        kept = (mask > 0) & valid.bool()
        for logps in self._logps:
            logps.masked_fill_(~kept, 0.0)
            if mask.is_floating_point():
                logps.mul_(mask.to(logps.dtype))
        counts = torch.stack([kept.sum(), valid.sum()]).float()
        total = self.accelerator.gather(counts[None]).sum(dim=0)
        self.stats["mask/kept"].append(float(total[0] / total[1].clamp(min=1)))
        self.stats["mask/scored"].append(scored)
        return rewards

    def _verdicts(self, rewards: Tensor, ids: Tensor) -> Tensor:
        """Bool ``[completions]``, true for the chosen ones, as TRL decides after this."""
        scores = rewards.clone()
        if self.args.missing_eos_penalty is not None:
            ends = torch.isin(ids, torch.tensor(self.eos_token_ids, device=ids.device)).any(dim=-1)
            scores[~ends] -= self.args.missing_eos_penalty
        first, second = scores.chunk(2)
        chosen = first >= second
        return torch.cat([chosen, ~chosen])
