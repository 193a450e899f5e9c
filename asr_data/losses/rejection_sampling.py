"""ARS: rejection sampling on the kept tokens (paper eq. 11)."""

from __future__ import annotations

from torch import Tensor

from asr_data.losses.tensors import TokenReduction, check_mask, check_values, reduce_tokens


def adaptive_rs_loss(
    logps: Tensor,
    mask: Tensor,
    reference_logps: Tensor | None = None,
    *,
    kl: Tensor | None = None,
    beta: float = 0.0,
    reduction: TokenReduction = "token",
) -> Tensor:
    """Adaptive rejection sampling, paper eq. 11: masked negative log-likelihood plus ``β`` times the masked KL.

    Args:
        logps: float ``[batch, time]``, the policy's log-probabilities in nats.
        mask: bool ``[batch, time]``.
        reference_logps: the reference's. The KL of each token is then estimated by
            ``exp(d) − d − 1`` with ``d = log π_ref − log π`` (Schulman's k3: never negative, 0 where they agree). The
            estimate is unbiased for tokens that the policy sampled; for others it is a penalty of the same shape.
        kl: the exact KL(π‖π_ref) of each position, float ``[batch, time]``, in place of an estimate.
        beta: weight of the KL, at least 0; above 0 it needs ``reference_logps`` or ``kl``.
        reduction: ``token`` (mean over the batch's kept tokens), ``sequence`` (mean of the rows' means), or ``none``.

    Returns:
        The loss; 0 where no token is kept.

    Raises:
        ValueError: shapes, types, numbers that are not finite, or a KL without what it needs.
    """
    if beta < 0:
        raise ValueError(f"beta is {beta}; it must be at least 0")
    check_values(logps=logps)
    check_mask(logps, mask=mask)
    penalized = -logps
    if beta:
        if (kl is None) == (reference_logps is None):
            raise ValueError("beta above 0 needs either reference_logps or kl")
        penalized = penalized + beta * (token_kl(logps, reference_logps) if kl is None else _checked(logps, kl))
    return reduce_tokens(penalized, mask, reduction)


def token_kl(logps: Tensor, reference_logps: Tensor | None) -> Tensor:
    """The k3 estimate of each token's KL(π‖π_ref), ``[batch, time]``, in nats."""
    if reference_logps is None:
        raise ValueError("the KL needs reference_logps")
    check_values(logps=logps, reference_logps=reference_logps)
    difference = reference_logps - logps
    return difference.exp() - difference - 1


def _checked(logps: Tensor, kl: Tensor) -> Tensor:
    check_values(logps=logps, kl=kl)
    return kl
