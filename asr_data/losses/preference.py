"""ADPO (paper eq. 10) and its unpaired form after KTO."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from asr_data.losses.tensors import Reduction, check_mask, check_values, masked_mean, masked_sum


def adaptive_dpo_loss(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    chosen_mask: Tensor,
    rejected_mask: Tensor,
    *,
    beta: float = 0.1,
    loss_type: Literal["sigmoid", "ipo", "hinge"] = "sigmoid",
    length_normalized: bool = False,
    detach: bool = False,
    chosen_valid: Tensor | None = None,
    rejected_valid: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Adaptive DPO, paper eq. 10: ``−log σ(β (Σ m_w (log π − log π_ref)_w − Σ m_l (log π − log π_ref)_l))``.

    Chosen and rejected may differ in time, not in batch.

    Args:
        chosen_logps, rejected_logps: float ``[batch, time]``, the policy's log-probabilities in nats.
        reference_chosen_logps, reference_rejected_logps: the same of the reference.
        chosen_mask, rejected_mask: bool ``[batch, time]``, true where a token is trained on.
        beta: strength of the reference, above 0.
        loss_type: ``sigmoid``; ``hinge`` (``max(0, 1 − β·margin)``, SLiC); ``ipo`` (``(margin − 1/2β)²``, always over
            means per token, as TRL and the paper's authors do).
        length_normalized: means over the summed tokens in place of sums.
        detach: masked tokens stay in the margin's value and get no gradient; needs ``*_valid``.
        chosen_valid, rejected_valid: bool ``[batch, time]``, true at the response's tokens, false at padding.
        reduction: ``mean`` over the batch, or ``none`` for ``[batch]``.

    Returns:
        The loss. Where both masks are empty the margin is 0: log 2, 1 for ``hinge``, 1/4β² for ``ipo``.

    Raises:
        ValueError: shapes, types, numbers that are not finite, or ``detach`` without ``*_valid``.
    """
    if beta <= 0:
        raise ValueError(f"beta is {beta}; it must be above 0")
    if detach and (chosen_valid is None or rejected_valid is None):
        raise ValueError("detach=True sums over masked tokens too: pass chosen_valid and rejected_valid")
    check_values(chosen_logps=chosen_logps, reference_chosen_logps=reference_chosen_logps)
    check_values(rejected_logps=rejected_logps, reference_rejected_logps=reference_rejected_logps)
    check_mask(chosen_logps, chosen_mask=chosen_mask)
    check_mask(rejected_logps, rejected_mask=rejected_mask)
    if chosen_logps.shape[0] != rejected_logps.shape[0]:
        raise ValueError(f"{chosen_logps.shape[0]} chosen and {rejected_logps.shape[0]} rejected responses")
    mean = length_normalized or loss_type == "ipo"
    margin = _log_ratio(
        chosen_logps - reference_chosen_logps, chosen_mask, chosen_valid if detach else None, mean=mean
    ) - _log_ratio(
        rejected_logps - reference_rejected_logps, rejected_mask, rejected_valid if detach else None, mean=mean
    )
    match loss_type:
        case "sigmoid":
            losses = -logsigmoid(beta * margin)
        case "hinge":
            losses = torch.relu(1 - beta * margin)
        case "ipo":
            losses = (margin - 1 / (2 * beta)) ** 2
        case _:
            raise ValueError(f"loss_type is {loss_type!r}; allowed are sigmoid, ipo, hinge")
    return losses.mean() if reduction == "mean" else losses


def _log_ratio(ratios: Tensor, mask: Tensor, valid: Tensor | None, *, mean: bool) -> Tensor:
    """A response's log-ratio ``[batch]``; with ``valid``, masked tokens count without a gradient."""
    if valid is not None:
        check_mask(ratios, valid=valid)
        ratios, mask = torch.where(mask, ratios, ratios.detach()), valid
    return masked_mean(ratios, mask) if mean else masked_sum(ratios, mask)


def adaptive_kto_loss(
    logps: Tensor,
    reference_logps: Tensor,
    mask: Tensor,
    desirable: Tensor,
    *,
    kl: Tensor | float = 0.0,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Adaptive KTO: ``λ_D (1 − σ(β(Σ m (log π − log π_ref) − z)))``, and ``λ_U (1 − σ(β(z − Σ …)))`` where undesirable.

    Source: Ethayarajh et al. 2024, eq. 8, with the sum over the kept tokens as in paper eq. 10.

    Args:
        logps, reference_logps: float ``[batch, time]``, nats.
        mask: bool ``[batch, time]``.
        desirable: bool ``[batch]``, the verdicts.
        kl: z, the estimate of KL(π‖π_ref) in nats, a number or ``[]``; no gradient flows through it.
        beta: above 0.
        desirable_weight, undesirable_weight: λ_D and λ_U.
        reduction: ``mean`` over the batch, or ``none``.

    Returns:
        The loss; 0 for a row with an empty mask, which has nothing to say.

    Raises:
        ValueError: shapes, types, or numbers that are not finite.
    """
    if beta <= 0:
        raise ValueError(f"beta is {beta}; it must be above 0")
    check_values(logps=logps, reference_logps=reference_logps)
    check_mask(logps, mask=mask)
    if desirable.dtype != torch.bool or desirable.shape != logps.shape[:1]:
        raise ValueError(f"desirable is {desirable.dtype} {list(desirable.shape)}; it must be bool [{logps.shape[0]}]")
    z = torch.as_tensor(kl, dtype=logps.dtype, device=logps.device).detach()
    if z.dim() or not bool(z.isfinite()):
        raise ValueError("kl must be one finite number")
    distance = beta * (masked_sum(logps - reference_logps, mask) - z)
    losses = torch.where(
        desirable, desirable_weight * (1 - distance.sigmoid()), undesirable_weight * (1 - (-distance).sigmoid())
    )
    losses = losses.where(mask.any(dim=1), losses.new_zeros(()))
    return losses.mean() if reduction == "mean" else losses
