"""ADPO (paper eq. 10) and its unpaired form after KTO."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from asr_data.losses.tensors import (
    Normalizer,
    Reduction,
    Weighting,
    check_finite,
    check_floats,
    check_mask,
    check_settings,
    masked,
    reduce_rows,
    weighted_mean,
    weighted_sum,
    weighting,
)


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
    normalizer: Normalizer = None,
    validate: bool = True,
) -> Tensor:
    """Adaptive DPO, paper eq. 10: ``−log σ(β (Σ m_w (log π − log π_ref)_w − Σ m_l (log π − log π_ref)_l))``.

    Chosen and rejected may differ in time, not in batch.

    Args:
        chosen_logps, rejected_logps: float ``[batch, time]``, the policy's log-probabilities in nats.
        reference_chosen_logps, reference_rejected_logps: the same of the reference; no gradient flows through them.
        chosen_mask, rejected_mask: bool ``[batch, time]``, true where a token is trained on; or float, what each
            token's log-ratio is multiplied by, at least 0.
        beta: strength of the reference, above 0.
        loss_type: ``sigmoid``; ``hinge`` (``max(0, 1 − β·margin)``, SLiC); ``ipo`` (``(margin − 1/2β)²``, always over
            means per token, as TRL and the paper's authors do).
        length_normalized: means over the summed tokens (by the sum of weights) in place of sums.
        detach: masked tokens stay in the margin's value and get no gradient; needs ``*_valid``. Weights then multiply
            gradients alone.
        chosen_valid, rejected_valid: bool ``[batch, time]``, true at the response's tokens, false at padding.
        reduction: ``mean`` or ``sum`` over the batch's pairs, or ``none`` for ``[batch]``.
        normalizer: what the sum is divided by, in place of this batch's number of pairs: the number in all
            micro-batches of a step makes their gradients add up to one batch's.
        validate: false skips the checks of values, which wait for the device and break ``torch.compile``'s graph.

    Returns:
        The loss. Where both masks are empty the margin is 0: log 2, 1 for ``hinge``, 1/4β² for ``ipo``.

    Raises:
        ValueError: shapes, types, tokens that count and are not finite, or ``detach`` without ``*_valid``.
    """
    check_settings(beta=beta)
    chosen = {"chosen_logps": chosen_logps, "reference_chosen_logps": reference_chosen_logps}
    rejected = {"rejected_logps": rejected_logps, "reference_rejected_logps": reference_rejected_logps}
    check_floats(**chosen)
    check_floats(**rejected)
    chosen_by = weighting(chosen_logps, chosen_mask=chosen_mask, validate=validate)
    rejected_by = weighting(rejected_logps, rejected_mask=rejected_mask, validate=validate)
    if chosen_logps.shape[0] != rejected_logps.shape[0]:
        raise ValueError(f"{chosen_logps.shape[0]} chosen and {rejected_logps.shape[0]} rejected responses")
    chosen_counted, rejected_counted = chosen_by, rejected_by
    if detach:
        chosen_counted = _counted(chosen_by.kept, chosen_valid, "chosen", validate=validate)
        rejected_counted = _counted(rejected_by.kept, rejected_valid, "rejected", validate=validate)
    if validate:
        check_finite(chosen_counted.kept, **chosen)
        check_finite(rejected_counted.kept, **rejected)
    mean = length_normalized or loss_type == "ipo"
    chosen_ratio = _log_ratio(chosen_logps, reference_chosen_logps, chosen_by, chosen_counted, mean=mean)
    rejected_ratio = _log_ratio(rejected_logps, reference_rejected_logps, rejected_by, rejected_counted, mean=mean)
    losses = _losses(chosen_ratio - rejected_ratio, beta, loss_type)
    return reduce_rows(losses, reduction, normalizer, validate=validate)


def _losses(margin: Tensor, beta: float, loss_type: str) -> Tensor:
    match loss_type:
        case "sigmoid":
            return -logsigmoid(beta * margin)
        case "hinge":
            return torch.relu(1 - beta * margin)
        case "ipo":
            return (margin - 1 / (2 * beta)) ** 2
        case _:
            raise ValueError(f"loss_type is {loss_type!r}; allowed are sigmoid, ipo, hinge")


def _counted(mask: Tensor, valid: Tensor | None, side: str, *, validate: bool) -> Weighting:
    """The tokens whose log-ratios are summed with ``detach``: the response's, of which the mask is a part."""
    if valid is None:
        raise ValueError("detach=True sums over masked tokens too: pass chosen_valid and rejected_valid")
    check_mask(mask, **{f"{side}_valid": valid})
    if validate and bool((mask & ~valid).any()):
        raise ValueError(f"{side}_mask is true where {side}_valid is false: padding cannot be trained on")
    return Weighting(valid, None)


def _log_ratio(logps: Tensor, reference: Tensor, by: Weighting, counted: Weighting, *, mean: bool) -> Tensor:
    """A response's log-ratio ``[batch]`` over the counted tokens; those that are not kept have no gradient."""
    ratios = masked(logps, counted.kept) - masked(reference.detach(), counted.kept)
    if counted is not by:  # detach: weights multiply the gradient, and the value is of all tokens
        fixed = ratios.detach()
        moving = ratios if by.weight is None else fixed + by.weight * (ratios - fixed)
        ratios = torch.where(by.kept, moving, fixed)
    return weighted_mean(ratios, counted) if mean else weighted_sum(ratios, counted)


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
    normalizer: Normalizer = None,
    validate: bool = True,
) -> Tensor:
    """Adaptive KTO: ``λ_D (1 − σ(β(Σ m (log π − log π_ref) − z)))``, and ``λ_U (1 − σ(β(z − Σ …)))`` where undesirable.

    Source: Ethayarajh et al. 2024, eq. 8, with the sum over the kept tokens as in paper eq. 10.

    Args:
        logps, reference_logps: float ``[batch, time]``, nats.
        mask: bool ``[batch, time]``, or float weights, as in :func:`~asr_data.losses.adaptive_dpo_loss`.
        desirable: bool ``[batch]``, the verdicts.
        kl: z, the estimate of KL(π‖π_ref) in nats, a number or ``[]``; no gradient flows through it. A KL is never
            negative: an estimate below 0 counts as 0, as in the source.
        beta: above 0.
        desirable_weight, undesirable_weight: λ_D and λ_U.
        reduction, normalizer, validate: as in :func:`~asr_data.losses.adaptive_dpo_loss`, over responses.

    Returns:
        The loss; 0 for a row with an empty mask.

    Raises:
        ValueError: shapes, types, or kept tokens that are not finite.
    """
    check_settings(beta=beta)
    check_settings(zero=True, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight)
    check_floats(logps=logps, reference_logps=reference_logps)
    by = weighting(logps, mask=mask, validate=validate)
    if validate:
        check_finite(by.kept, logps=logps, reference_logps=reference_logps)
    if desirable.dtype != torch.bool or desirable.shape != logps.shape[:1]:
        raise ValueError(f"desirable is {desirable.dtype} {list(desirable.shape)}; it must be bool [{logps.shape[0]}]")
    ratios = weighted_sum(masked(logps, by.kept) - masked(reference_logps.detach(), by.kept), by)
    z = torch.as_tensor(kl, dtype=ratios.dtype, device=ratios.device).detach()
    if z.dim() or (validate and not bool(z.isfinite())):
        raise ValueError("kl must be one finite number")
    distance = beta * (ratios - z.clamp(min=0))
    # 1 − σ(x) is σ(−x), which keeps its digits where it is small.
    losses = torch.where(desirable, desirable_weight * (-distance).sigmoid(), undesirable_weight * distance.sigmoid())
    losses = losses.where(by.kept.any(dim=1), losses.new_zeros(()))
    return reduce_rows(losses, reduction, normalizer, validate=validate)
