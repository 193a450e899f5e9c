"""APPO and its group form: the clipped surrogate on the kept tokens (paper eq. 9)."""

from __future__ import annotations

import torch
from torch import Tensor

from asr_data.losses.rejection_sampling import LOG_RATIO_BOUND, token_kl
from asr_data.losses.tensors import (
    Normalizer,
    TokenReduction,
    check_finite,
    check_floats,
    check_settings,
    masked,
    reduce_tokens,
    weighting,
)


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
    normalizer: Normalizer = None,
    validate: bool = True,
) -> Tensor:
    """Adaptive PPO, paper eq. 9: ``−min(ρ A, clip(ρ, 1−ε, 1+ε) A) + β KL`` over the kept tokens, by their number.

    ``ρ = π/π_old``; its logarithm is cut at ±20, as in verl, so that no token overflows. With advantages per response
    that are normalised within a group of samples, this is GRPO.

    Args:
        logps: float ``[batch, time]``, log π in nats.
        old_logps: log-probabilities under the policy that sampled; no gradient flows through them.
        advantages: float ``[batch]`` or ``[batch, time]``.
        mask: bool ``[batch, time]``, or float weights, as in :func:`~asr_data.losses.adaptive_rs_loss`.
        reference_logps: for the KL penalty (bounded k3 estimate, see :func:`~asr_data.losses.adaptive_rs_loss`).
        clip: ε, above 0.
        clip_high: another ε above 1; default the same.
        beta: weight of the KL, at least 0.
        reduction, normalizer, validate: as in :func:`~asr_data.losses.adaptive_rs_loss`.

    Returns:
        The loss; 0 where no token is kept.

    Raises:
        ValueError: shapes, types, kept tokens that are not finite, or a KL without a reference.
    """
    high = clip if clip_high is None else clip_high
    check_settings(clip=clip, clip_high=high)
    check_settings(zero=True, beta=beta)
    if advantages.dim() == 1 and advantages.shape[0] == logps.shape[0]:
        advantages = advantages[:, None].expand_as(logps)
    check_floats(logps=logps, old_logps=old_logps, advantages=advantages)
    by = weighting(logps, mask=mask, validate=validate)
    if validate:
        check_finite(by.kept, logps=logps, old_logps=old_logps, advantages=advantages)
    advantages = masked(advantages.detach(), by.kept)
    difference = masked(logps, by.kept) - masked(old_logps.detach(), by.kept)
    ratio = difference.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    losses = -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + high) * advantages)
    if beta:
        losses = losses + beta * token_kl(logps, reference_logps, by.kept, validate=validate)
    return reduce_tokens(losses, by, reduction, normalizer, validate=validate)
