"""Losses over precomputed masks: torch and the settings of masks, no trainer.

Shapes: ``[batch, time]`` for log-probabilities, rewards and masks, aligned with each other: entry t is token t's own
log-probability, and whether it is trained on. A mask is true where a token **is trained on**. Log-probabilities and
KL are in nats. Masked tokens get a gradient of exactly zero.

In place of a mask every loss takes float weights (``S_weight``), finite and at least 0: what a token's term is
multiplied by. Means over tokens divide by the sum of weights. 0 is as masked, and 1 as kept, to the last bit.

What stands at masked tokens and in the padding is never looked at: it may be infinite or NaN. float16 and bfloat16
are computed in float32.

A row whose mask is all false has a documented value and a gradient of zero, never an epsilon: log 2 for the sigmoid
ADPO loss when both sides are empty, 0 for the others. Wrong shapes and types, and kept tokens that are not finite,
raise ``ValueError``. ``validate=False`` leaves out the checks of values, which wait for the device; then
``torch.compile(fullgraph=True)`` works.

:func:`collate` makes batches of annotated rows, :func:`token_logps` log-probabilities of logits.
"""

from asr_data.losses.batches import collate, token_logps
from asr_data.losses.online import adaptive_mask
from asr_data.losses.policy_gradient import adaptive_ppo_loss
from asr_data.losses.preference import adaptive_dpo_loss, adaptive_kto_loss
from asr_data.losses.rejection_sampling import adaptive_rs_loss

__all__ = [
    "adaptive_dpo_loss",
    "adaptive_rs_loss",
    "adaptive_ppo_loss",
    "adaptive_kto_loss",
    "adaptive_mask",
    "collate",
    "token_logps",
]
