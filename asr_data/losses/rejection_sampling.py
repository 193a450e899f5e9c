"""ARS: rejection sampling on the kept tokens (paper eq. 11)."""

from __future__ import annotations

from torch import Tensor

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

LOG_RATIO_BOUND = 20.0
"""Log-ratios are cut here before ``exp``, as in verl: e²⁰ is 5·10⁸."""
TOKEN_KL_BOUND = 10.0
"""Nats that an estimated KL of one token counts for at most, as in verl and OpenRLHF."""


def adaptive_rs_loss(
    logps: Tensor,
    mask: Tensor,
    reference_logps: Tensor | None = None,
    *,
    kl: Tensor | None = None,
    beta: float = 0.0,
    reduction: TokenReduction = "token",
    normalizer: Normalizer = None,
    validate: bool = True,
) -> Tensor:
    """Adaptive rejection sampling, paper eq. 11: masked negative log-likelihood plus ``β`` times the masked KL.

    Args:
        logps: float ``[batch, time]``, the policy's log-probabilities in nats.
        mask: bool ``[batch, time]``; or float, at least 0, what each token's term is multiplied by.
        reference_logps: the reference's. The KL of each token is then estimated by
            ``exp(d) − d − 1`` with ``d = log π_ref − log π`` (Schulman's k3: never negative, 0 where they agree), at
            most 10 nats, as in verl and OpenRLHF. The estimate is unbiased for tokens that the policy sampled. Others
            may be far from it, where ``exp(d)`` explodes: beyond the bound the penalty is constant, without a gradient.
        kl: the exact KL(π‖π_ref) of each position, float ``[batch, time]``, in place of an estimate; not bounded.
        beta: weight of the KL, at least 0; above 0 it needs ``reference_logps`` or ``kl``.
        reduction: ``token`` (mean over the batch's kept tokens), ``sequence`` (mean of the rows' means), ``sum`` (over
            the kept tokens), or ``none`` (the rows' means, ``[batch]``).
        normalizer: what the sum is divided by, in place of this batch's number of kept tokens, or sum of weights (of
            rows in ``sequence``): that of all micro-batches of a step makes their gradients add up to one batch's.
        validate: false skips the checks of values, which wait for the device and break ``torch.compile``'s graph.

    Returns:
        The loss; 0 where no token is kept.

    Raises:
        ValueError: shapes, types, kept tokens that are not finite, or a KL without what it needs.
    """
    check_settings(zero=True, beta=beta)
    check_floats(logps=logps)
    by = weighting(logps, mask=mask, validate=validate)
    if validate:
        check_finite(by.kept, logps=logps)
    penalized = -masked(logps, by.kept)
    if beta:
        if (kl is None) == (reference_logps is None):
            raise ValueError("beta above 0 needs either reference_logps or kl")
        exact = None if kl is None else _exact_kl(logps, kl, by.kept, validate=validate)
        penalized = penalized + beta * (
            token_kl(logps, reference_logps, by.kept, validate=validate) if exact is None else exact
        )
    return reduce_tokens(penalized, by, reduction, normalizer, validate=validate)


def token_kl(logps: Tensor, reference_logps: Tensor | None, mask: Tensor, *, validate: bool = True) -> Tensor:
    """The k3 estimate of each kept token's KL(π‖π_ref), at most 10, ``[batch, time]``, in nats; 0 elsewhere."""
    if reference_logps is None:
        raise ValueError("the KL needs reference_logps")
    check_floats(logps=logps, reference_logps=reference_logps)
    if validate:
        check_finite(mask, reference_logps=reference_logps)
    difference = masked(reference_logps.detach(), mask) - masked(logps, mask)
    bounded = difference.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)  # exp of it must stay finite, also in the gradient
    return (bounded.exp() - bounded - 1).clamp(max=TOKEN_KL_BOUND)


def _exact_kl(logps: Tensor, kl: Tensor, mask: Tensor, *, validate: bool) -> Tensor:
    check_floats(logps=logps, kl=kl)
    if validate:
        check_finite(mask, kl=kl)
    return masked(kl, mask)
