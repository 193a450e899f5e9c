"""The default number of positions per batch."""

from __future__ import annotations

import os

import torch
from torch import nn

from asr_data.scoring.spread import execution_device

_MOST = {"cpu": 4096, "cuda": 16384, "mps": 16384}
"""More positions than these do not make a device faster, and the wider spread of lengths in a batch is padding."""
_LEAST = 1024


def default_batch_tokens(backbone: nn.Module) -> int:
    """Positions per batch for a decoder on its device, from sizes alone.

    Half of what the weights leave of the device's whole memory, over what one position takes: inputs and outputs of
    the widest layer, counted twice for what a framework keeps beside them. Not from the memory that happens to be
    free: a resumed run must compose the same batches. Where it is too much all the same, the engine splits.
    """
    parameter, device = next(backbone.parameters()), execution_device(backbone)
    config = backbone.config.get_text_config()  # type: ignore[union-attr, operator] # HF models
    hidden = int(config.hidden_size)
    widest = 3 * int(getattr(config, "intermediate_size", None) or 4 * hidden)
    position = 2 * (8 * hidden + widest) * parameter.element_size()
    weights = sum(p.numel() * p.element_size() for p in backbone.parameters() if p.device == device)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fitting = max(0, memory - weights) // 2 // position
    return int(min(max(fitting, _LEAST), _MOST.get(device.type, _LEAST)))
