"""APPO and its group form: the clipped surrogate on the kept tokens (paper eq. 9)."""

from __future__ import annotations

import torch
from torch import Tensor

from asr_data.losses.rejection_sampling import token_kl
from asr_data.losses.tensors import TokenReduction, check_mask, check_values, reduce_tokens


def adaptive_ppo_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    reference_logps: Tensor | None = None,
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
    beta: float = 0.0,
    reduction: TokenReduction = "token",
) -> Tensor:
    """Adaptive PPO, paper eq. 9: ``−min(ρ A, clip(ρ, 1−ε, 1+ε) A) + β KL`` over the kept tokens, by their number.

    With advantages per response that are normalised within a group of samples, this is GRPO.

    Args:
        logps: float ``[batch, time]``, log π in nats.
        old_logps: log-probabilities under the policy that sampled; no gradient flows through them.
        advantages: float ``[batch]`` or ``[batch, time]``.
        mask: bool ``[batch, time]``.
        reference_logps: for the KL penalty (k3 estimate, see :func:`~asr_data.losses.adaptive_rs_loss`).
        clip: ε, above 0.
        clip_high: another ε above 1; default the same.
        beta: weight of the KL, at least 0.
        reduction: ``token`` (mean over the batch's kept tokens), ``sequence`` (mean of the rows' means), or ``none``.

    Returns:
        The loss; 0 where no token is kept.

    Raises:
        ValueError: shapes, types, numbers that are not finite, or a KL without a reference.
    """
    if clip <= 0 or (clip_high is not None and clip_high <= 0) or beta < 0:
        raise ValueError(f"clip {clip}, clip_high {clip_high}, beta {beta}: clips are above 0, beta at least 0")
    if advantages.dim() == 1 and advantages.shape[0] == logps.shape[0]:
        advantages = advantages[:, None].expand_as(logps)
    check_values(logps=logps, old_logps=old_logps, advantages=advantages)
    check_mask(logps, mask=mask)
    # Masked tokens may be far apart: exp of them must not become infinite, whose product with a gradient of 0 is NaN.
    difference = (logps - old_logps.detach()).where(mask, logps.new_zeros(()))
    ratio = difference.exp()
    clipped = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    losses = -torch.minimum(ratio * advantages, clipped * advantages)
    if beta:
        reference = None if reference_logps is None else reference_logps.where(mask, logps.detach())
        losses = losses + beta * token_kl(logps, reference)
    return reduce_tokens(losses, mask, reduction)
