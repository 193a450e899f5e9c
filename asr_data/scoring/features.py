"""From what the readings of a response say of its tokens to the scalars that a head takes; no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr_data.compiled import compiled
from asr_data.response import code_points
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.text.shared_words import shared_words
from asr_data.types import Float32, Float64, Int32


def own_scalars(config: FeatureConfig, own: Float32) -> Float64:
    """The scalars that every token has.

    Args:
        config: of the head.
        own: float32 ``[tokens, scalars]``, of the reading without a partner.

    Returns:
        float64 ``[tokens, own_columns]``, not standardised.
    """
    return _with_averages(own.astype(np.float64), config.averages)


def partner_scalars(config: FeatureConfig, own: Float32, in_view: Float32, shared: Float32 | None) -> Float64:
    """The scalars that need a partner.

    Args:
        config: of the head.
        own: as for :func:`own_scalars`.
        in_view: of the same shape, of the reading with the partner in view.
        shared: float32 ``[tokens]``, where the settings ask for ``words``.

    Returns:
        float64 ``[tokens, partner_columns]``, not standardised.
    """
    parts = [in_view, np.clip(log_ratio(config, own, in_view), -config.ratio_clip, config.ratio_clip)[:, None]]
    if shared is not None:
        parts.append(shared[:, None])
    return _with_averages(np.concatenate(parts, axis=1).astype(np.float64), config.averages)


def log_ratio(config: FeatureConfig, own: Float32, in_view: Float32) -> Float32:
    """``log p(y_t | partner in view) − log p(y_t)``, float32 ``[tokens]``."""
    logp = config.scalars.index("logp")
    return in_view[:, logp] - own[:, logp]


def head_input(
    config: FeatureConfig, own: Float64, partner: Float64 | None, *, preferred: bool, mean: Float32, std: Float32
) -> Float32:
    """What the head's weights of scalars are multiplied with.

    Args:
        config: of the head.
        own: float64 ``[tokens, own_columns]``.
        partner: float64 ``[tokens, partner_columns]``; None where there is none.
        preferred: whether the response is the chosen one.
        mean, std: float32 ``[own_columns + partner_columns]``.

    Returns:
        float32 ``[tokens, columns]``.
    """
    count = own.shape[1]
    columns = [_standardised(own, mean[:count], std[:count], config.clip)]
    if config.partner is not None:
        absent = np.zeros((len(own), len(mean) - count))
        found = absent if partner is None else _standardised(partner, mean[count:], std[count:], config.clip)
        sides = [found, absent] if not preferred else [absent, found]
        flags = [partner is not None and not preferred, partner is not None and preferred]
        columns += [*sides, np.tile(np.array(flags, dtype=np.float64), (len(own), 1))]
    return np.concatenate(columns, axis=1).astype(np.float32)


def shared_tokens(text: str, other: str, end: Int32) -> Float32:
    """1 where the word that a token ends in is shared with the other answer, float32 ``[tokens]``.

    Args:
        text: of the response.
        other: the other answer.
        end: int32 ``[tokens]``, byte ends of tokens that cover text.
    """
    words, _ = shared_words(text, other)
    if not words.end.size:
        return np.zeros(len(end), dtype=np.float32)
    last = code_points(text, end - 1)
    word = np.searchsorted(words.end, last, side="right")
    return words.shared[np.minimum(word, len(words.end) - 1)].astype(np.float32)


def _standardised(values: Float64, mean: Float32, std: Float32, clip: float) -> Float64:
    scaled: Float64 = np.clip((values - mean) / std, -clip, clip)
    return scaled


def _with_averages(values: Float64, decays: Sequence[float]) -> Float64:
    averaged = []
    for decay in decays:
        out = np.empty_like(values)
        _fill_average(values, decay, out)
        averaged.append(out)
    return np.concatenate([values, *averaged], axis=1)


@compiled(nogil=True)
def _fill_average(values: NDArray[np.float64], decay: float, out: NDArray[np.float64]) -> None:
    """``out[t] = Σ_{s≤t} decay^(t−s) values[s] / Σ_{s≤t} decay^(t−s)``, column by column."""
    for column in range(values.shape[1]):
        total, weight = 0.0, 0.0
        for token in range(values.shape[0]):
            total = decay * total + values[token, column]
            weight = decay * weight + 1.0
            out[token, column] = total / weight
