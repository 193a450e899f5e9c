"""How ``--method features`` reads a response, and how it fits a head to that."""

from __future__ import annotations

from typing import Final

from asr_data.scoring.context_config import ContextMessage
from asr_data.scoring.feature_config import FeatureConfig

_PARTNER: Final = ContextMessage(
    role="user",
    content="{{ prompt }}\n\nFor reference, here is a {{ 'worse' if verdict == 'chosen' else 'better' }} answer to "
    "this request:\n\n{{ other }}",
)


def recipe(layer: int | None, ratio: float = 0.0) -> FeatureConfig:
    """What a head is fitted to; the groups of features that gained nothing on held-out questions are left out.

    Args:
        layer: whose hidden state is read.
        ratio: the share of the log-ratio, per nat.
    """
    return FeatureConfig(
        layer=layer,
        scalars=("logp", "entropy", "top", "rank"),
        partner=(_PARTNER,),
        words=True,
        averages=(0.8,),
        ratio=ratio,
    )


COMPONENTS: Final = 128
"""Principal components of the hidden states that a head is fitted to; they are folded into its weights."""
COMPONENT_TOKENS: Final = 20_000
"""Tokens that the components are computed from."""
STEPS: Final = 400
LEARNING_RATE: Final = 3e-3
WEIGHT_DECAY: Final = 0.05
RESPONSES: Final = 16
"""Labelled responses, of one source and side, and pairs in a step."""
PAIR_WEIGHT: Final = 0.5
"""Weight of the loss on pairs beside that on labels."""
WITHOUT_PARTNER: Final = 0.3
"""Share of the responses that a step reads without their partner, so that the head is of use without one."""
RATIO_SHARE: Final = 0.5
"""Share of the untrained log-ratio, in units of the head's own standard deviation."""
TENTHS: Final = 10
"""Parts of a response within which good and bad tokens weigh the same."""
