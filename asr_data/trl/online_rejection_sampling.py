"""On-line ARS (paper eq. 11, §4.1): of several answers to a prompt the best is trained on, where it deserves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from asr_data.errors import ConfigError
from asr_data.losses import adaptive_rs_loss
from asr_data.losses.rejection_sampling import token_kl
from asr_data.scoring import Scorer
from asr_data.trl.columns import bound
from asr_data.trl.grpo import AdaptiveGRPOTrainer
from asr_data.trl.helpers import require_tested
from asr_data.trl.online_masks import Sampled

_USED = ("_generate_and_score_completions", "_get_per_token_logps_and_entropies", "_compute_loss")
"""Methods of TRL's trainer that this one stands on."""


class AdaptiveOnlineRSTrainer(AdaptiveGRPOTrainer):
    """Rejection sampling on ``trl.GRPOTrainer``'s samples: the likelihood of what masks keep of the best answers.

    Of the ``num_generations`` completions of a prompt the one with the highest reward is a chosen response, the first
    of equal ones. ``scorer`` scores all of them, :func:`asr_data.losses.adaptive_mask` cuts that one, and the loss is
    :func:`asr_data.losses.adaptive_rs_loss` over its kept tokens, with ``beta`` of ``GRPOConfig`` as weight of the KL
    to the reference. What GRPO's own loss has (``loss_type``, ``epsilon``, importance sampling) plays no part.

    Logged as well: ``mask/kept``, the share of all sampled tokens that are trained on, ``mask/scored``, and with
    ``beta`` ``kl``, over kept tokens.

    Args:
        *arguments, **settings: those of ``trl.GRPOTrainer``; see ``docs/trainers.md`` for what is refused.
        scorer: gives rewards over the bytes of a completion (:func:`asr_data.load_scorer`).
        mask: settings of :func:`asr_data.losses.adaptive_mask`, as for :class:`AdaptiveGRPOTrainer`.

    Raises:
        ConfigError: settings with which the masks would not be right, or a TRL that this was not tested with.
    """

    def __init__(self, *arguments: Any, scorer: Scorer, mask: Mapping[str, Any] | None = None, **settings: Any) -> None:
        require_tested("AdaptiveOnlineRSTrainer", GRPOTrainer, _USED)
        args = bound(GRPOTrainer, arguments, settings).get("args")
        if getattr(args, "top_entropy_quantile", 1.0) < 1.0:
            raise ConfigError("top_entropy_quantile: the masks say which tokens are trained on")
        super().__init__(*arguments, scorer=scorer, mask=mask, **settings)

    def _masks(self, prompts: Sequence[Any], output: Mapping[str, Tensor]) -> Tensor:
        """Those of the best completions; the others train on nothing."""
        valid, ids = output["completion_mask"].bool(), output["completion_ids"]
        generations = self.num_generations if self._mode == "train" else self.num_generations_eval
        first = self.accelerator.process_index * len(ids)
        best = self._best(output["advantages"], generations)[first : first + len(ids)].to(ids.device)
        group = torch.arange(first, first + len(ids)) // generations
        mask, scored = self._online(Sampled(prompts, ids, valid, best, group))
        self._metrics[self._mode]["mask/scored"].append(scored)
        return mask * best[:, None]

    def _best(self, advantages: Tensor, generations: int) -> Tensor:
        """Bool ``[completions of all processes]``: an advantage is a reward less its group's mean, perhaps scaled."""
        everywhere = self.accelerator.gather(advantages).nan_to_num(nan=-torch.inf).view(-1, generations)
        best = torch.zeros_like(everywhere, dtype=torch.bool)
        best[torch.arange(len(best)), everywhere.argmax(dim=1)] = True
        return best.view(-1)

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Equation 11, by the kept tokens of all processes and of all batches of a step."""
        ids, valid = inputs["completion_ids"], inputs["completion_mask"]
        logps, *_ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], ids], dim=1),
            torch.cat([inputs["prompt_mask"], valid], dim=1),
            ids.size(1),
        )
        tools = inputs["tool_mask"]
        mask = tools * valid if tools.is_floating_point() else (tools * valid).bool()
        reference = inputs.get("ref_per_token_logps") if self.beta else None
        total = inputs["num_items_in_batch"] / self.accelerator.num_processes
        if self._mode == "train":
            # It spans what was sampled at once, which is trained on in several steps or batches.
            total = total * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        if reference is not None:
            self._log_kl(logps.detach(), reference, mask > 0)
        return adaptive_rs_loss(logps, mask, reference, beta=self.beta, normalizer=total)

    def _log_kl(self, logps: Tensor, reference: Tensor, kept: Tensor) -> None:
        sums = torch.stack([token_kl(logps, reference, kept).sum(), kept.sum().to(logps.dtype)])
        total = self.accelerator.gather(sums[None]).sum(dim=0)
        self._metrics[self._mode]["kl"].append(float(total[0] / total[1].clamp(min=1)))
