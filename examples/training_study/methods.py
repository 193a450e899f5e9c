"""What is compared: each method is a loss of :mod:`asr_data.losses` and a choice of masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from asr_data.losses import adaptive_dpo_loss, adaptive_rs_loss

from .data import SIDES, Pair
from .policy import Policy


@dataclass(frozen=True, slots=True)
class Method:
    """One column of the study.

    Attributes:
        loss: ``dpo`` on both sides, ``rs`` on the chosen one; on answers of the policy's own ``grpo``, ``online-dpo``
            (two to a prompt) and ``online-rs`` (the best of several).
        masks: ``all`` tokens; those ``kept``; or ``turned``: the masks of a response turned round by a number of
            tokens drawn by chance. Turned masks keep as many tokens in stretches as long, in places that say nothing:
            what they gain is gained by training on fewer tokens.
        detach: masked tokens count in the margin's value, without a gradient.
    """

    loss: Literal["dpo", "rs", "grpo", "online-dpo", "online-rs"]
    masks: Literal["all", "kept", "turned"]
    detach: bool = False

    @property
    def sides(self) -> tuple[str, ...]:
        """Which responses it trains on."""
        return SIDES if self.loss == "dpo" else SIDES[:1]

    @property
    def online(self) -> bool:
        """Whether it trains on what the policy samples."""
        return self.loss not in ("dpo", "rs")


METHODS: Mapping[str, Method] = {
    "dpo": Method("dpo", "all"),
    "adpo": Method("dpo", "kept"),
    "adpo-detach": Method("dpo", "kept", detach=True),
    "adpo-turned": Method("dpo", "turned"),
    "rs": Method("rs", "all"),
    "ars": Method("rs", "kept"),
    "ars-turned": Method("rs", "turned"),
    "grpo": Method("grpo", "all"),
    "appo": Method("grpo", "kept"),
    "online-dpo": Method("online-dpo", "all"),
    "online-adpo": Method("online-dpo", "kept"),
    "online-rs": Method("online-rs", "all"),
    "online-ars": Method("online-rs", "kept"),
}


def masks_of(pairs: Sequence[Pair], method: Method, seed: int) -> dict[str, list[list[bool]]]:
    """The masks that a method trains with, by side."""
    rng = np.random.default_rng(seed)
    masks: dict[str, list[list[bool]]] = {side: [] for side in SIDES}
    for pair in pairs:
        for side in SIDES:
            mask = np.array(pair.mask[side])
            turned = np.roll(mask, int(rng.integers(len(mask))))
            chosen = {"all": np.ones_like(mask), "kept": mask, "turned": turned}[method.masks]
            masks[side].append(chosen.tolist())
    return masks


def padded(masks: Sequence[Sequence[bool]], device: torch.device) -> Tensor:
    """Bool ``[batch, longest]``, false behind a response."""
    out = torch.zeros(len(masks), max(map(len, masks)), dtype=torch.bool)
    for i, mask in enumerate(masks):
        out[i, : len(mask)] = torch.tensor(mask)
    return out.to(device)


def loss_of(
    method: Method,
    policy: Policy,
    pairs: Sequence[Pair],
    masks: Mapping[str, Sequence[Sequence[bool]]],
    reference: Mapping[str, Sequence[Tensor]],
    beta: float,
) -> Tensor:
    """The mean loss of some pairs; for ``rs`` over kept tokens."""
    device = policy.model.device
    logps = dict(zip(method.sides, policy.log_probabilities(pairs, method.sides), strict=True))
    mask = {side: padded(masks[side], device) for side in method.sides}
    if method.loss == "rs":
        return adaptive_rs_loss(logps["chosen"], mask["chosen"])
    base = {side: torch.nn.utils.rnn.pad_sequence(list(reference[side]), batch_first=True) for side in SIDES}
    valid = {side: padded([[True] * len(pair.ids[side]) for pair in pairs], device) for side in SIDES}
    return adaptive_dpo_loss(
        *(logps[side] for side in SIDES),
        *(base[side] for side in SIDES),
        *(mask[side] for side in SIDES),
        beta=beta,
        detach=method.detach,
        chosen_valid=valid["chosen"],
        rejected_valid=valid["rejected"],
    )
