"""Ancestor-only attention in a transformers decoder, and the check that a decoder supports it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr_data.model_cache import remember, was_found
from asr_data.scoring.spread import execution_device
from asr_data.scoring.tree import Tree, grow_trees
from asr_data.scoring.tree_kernels import carriers, is_fused, make_plan, tree_attention
from asr_data.scoring.tree_pieces import Forest
from asr_data.types import Int64

logger = logging.getLogger(__name__)

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_TOLERANCE = 0.1
"""Share of the hidden states' size by which tree and plain may differ. Rounding alone gives about 1e-6 and 0.02; a
token that sees a wrong one, or none, differs by about its own size."""


def tree_states(backbone: nn.Module, trees: Sequence[Tree]) -> Tensor:
    """Hidden states ``[nodes, hidden]`` of trees, one behind the other. Nothing is padded."""
    dtype, device = next(backbone.parameters()).dtype, execution_device(backbone)
    forest = Forest.of(trees)
    ids = torch.from_numpy(forest.ids).to(device)[None]
    if len(forest.chains) == 1:
        return backbone(input_ids=ids, use_cache=False).last_hidden_state[0]
    depth = torch.from_numpy(forest.depth).to(device)[None]
    fused, size = is_fused(backbone), _head_size(backbone.config)
    windows = _windows(backbone.config)
    plans = [make_plan(forest, window, dtype, device, fused=fused, size=size) for window in windows.values()]
    masks = dict(zip(windows, carriers(plans, device), strict=True))
    mask = masks if len(masks) > 1 else next(iter(masks.values()))
    with tree_attention(backbone, plans):
        states = backbone(input_ids=ids, attention_mask=mask, position_ids=depth, use_cache=False).last_hidden_state
    return states[0]


def read_places(trees: Sequence[Tree], read: Sequence[Sequence[int]]) -> dict[int, Int64]:
    """Where to read the states of trees one behind the other.

    Args:
        trees: as :func:`tree_states` took them.
        read: positions to read of each sequence, by its number.

    Returns:
        Int64 ``[len(read[i])]`` for each sequence i of the trees.
    """
    places = {}
    first = 0
    for tree in trees:
        for member, i in enumerate(tree.members):
            places[i] = first + tree.nodes(member, read[i])
        first += len(tree.ids)
    return places


def _head_size(config: Any) -> int:
    text = config.get_text_config()
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def _windows(config: Any) -> dict[str, int | None]:
    """Type of layer → its sliding window."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None) or ["full_attention" if window is None else "sliding_attention"]
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}


_CHECK = 3
"""Version of the check below; what another one found is not taken for its result."""


def why_not_tree_remembered(backbone: nn.Module, entry: Path | None) -> str | None:
    """As :func:`why_not_tree`; a decoder of the user's cache that was found to support trees is not tried again.

    Its folder ``entry`` stands for its weights, the number format and the versions of the libraries.
    """
    if entry is None:
        return why_not_tree(backbone)
    parameter = next(backbone.parameters())
    fact = {
        "takes trees": _CHECK,
        "dtype": str(parameter.dtype),
        "attention": str(getattr(backbone.config, "_attn_implementation", None)),
        "device": _device_name(execution_device(backbone)),
    }
    if was_found(entry, fact):
        return None
    reason = why_not_tree(backbone)
    if reason is None:
        remember(entry, fact)
    return reason


def _device_name(device: torch.device) -> str:
    """What decides which kernels run."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


def why_not_tree(backbone: nn.Module) -> str | None:
    """Why a decoder does not support trees, or None where it does.

    First by its settings, then by trying: a small forest and the same sequences one by one must give the same hidden
    states. Absolute positions that are counted inside the model, state that runs over the row, or attention to later
    tokens all show there. The sequences are longer than a sliding window of up to 1,024, so that it shows too.
    """
    try:
        windows = _windows(backbone.config)
    except AttributeError as error:
        return f"its config does not describe its attention ({error})"
    other = sorted(set(windows) - {"full_attention", "sliding_attention"})
    if other:
        return f"it has layers of type {', '.join(other)}"
    try:
        difference, allowed = _difference(backbone, windows)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, ImportError) as error:
        return f"it does not accept a mask for trees: {str(error).splitlines()[0]}"
    if not difference <= allowed:
        return f"trees and single sequences differ by {difference:.2g} of the hidden states' size (allowed {allowed:g})"
    return None


@torch.inference_mode()
def _difference(backbone: nn.Module, windows: dict[str, int | None]) -> tuple[float, float]:
    dtype, device = next(backbone.parameters()).dtype, execution_device(backbone)
    text = backbone.config.get_text_config()  # type: ignore[union-attr, operator] # HF models
    longest = min([2048, *(w for w in windows.values() if w), getattr(text, "max_position_embeddings", None) or 2048])
    trunk = max(8, min(longest, 1024) - 24) if any(windows.values()) else 24
    ids = np.random.default_rng(0).integers(0, text.vocab_size, trunk + 48).tolist()
    prompt, rest = ids[:trunk], ids[trunk:]
    sequences = [prompt + rest[:16], prompt + rest[:8] + rest[16:24], prompt + rest[24:40], rest[40:48]]
    trees = list(grow_trees(sequences, lambda _size, _new, _length: True))
    states = tree_states(backbone, trees).float()
    worst = 0.0
    for tree in trees:
        for member, i in enumerate(tree.members):
            nodes = torch.from_numpy(tree.nodes(member, range(len(sequences[i])))).to(device)
            alone = torch.tensor([sequences[i]], device=device)
            plain = backbone(input_ids=alone, attention_mask=torch.ones_like(alone), use_cache=False)
            plain = plain.last_hidden_state[0].float()
            error = (states[nodes] - plain).square().mean(dim=1) / plain.square().mean(dim=1)
            worst = max(worst, float(error.max().sqrt()))
    return worst, _TOLERANCE.get(dtype, _HALF_TOLERANCE)
