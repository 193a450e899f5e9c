"""Ancestor-only attention in a transformers decoder, and the check that a decoder supports it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr_data.model_cache import remember, was_found
from asr_data.scoring.spread import execution_device
from asr_data.scoring.tree import Tree, grow_trees
from asr_data.types import Int64

logger = logging.getLogger(__name__)

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_TOLERANCE = 0.1
"""Share of the hidden states' size by which tree and plain may differ. Rounding alone gives about 1e-6 and 0.02; a
token that sees a wrong one, or none, differs by about its own size."""


def tree_inputs(rows: Sequence[Sequence[Tree]], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Trees side by side as int64 ``[rows, width]`` ids, depths and ends; padding is a tree of its own each."""
    shape = (len(rows), width)
    ids, depth = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    end = np.broadcast_to(np.arange(1, width + 1), shape).copy()
    for r, row in enumerate(rows):
        at = 0
        for tree in row:
            span = slice(at, at + len(tree.ids))
            ids[r, span], depth[r, span], end[r, span] = tree.ids, tree.depth, tree.end + at
            at = span.stop
    return torch.from_numpy(ids), torch.from_numpy(depth), torch.from_numpy(end)


def tree_mask(depth: Tensor, end: Tensor, dtype: torch.dtype, window: int | None = None) -> Tensor:
    """What is added to attention scores: 0 for ancestors and self, the least number elsewhere.

    Args:
        depth, end: int64 ``[rows, width]``.
        dtype: of the model.
        window: a token sees only those ancestors that are fewer than this many positions above it.

    Returns:
        ``[rows, 1, width, width]``.
    """
    position = torch.arange(depth.shape[1], device=depth.device)
    allowed = (position[None, None, :] <= position[None, :, None]) & (position[None, :, None] < end[:, None, :])
    if window is not None:
        allowed &= depth[:, :, None] - depth[:, None, :] < window
    mask = torch.zeros(allowed.shape, dtype=dtype, device=depth.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


_ALIGNED = {"cuda": 16}
"""Rows as wide as a multiple of these: a mask of another width is copied in every layer."""


def tree_states(backbone: nn.Module, rows: Sequence[Sequence[Tree]]) -> Tensor:
    """Hidden states ``[rows, width, hidden]`` of trees side by side."""
    dtype, device = next(backbone.parameters()).dtype, execution_device(backbone)
    aligned = _ALIGNED.get(device.type, 1)
    width = -(-max(sum(len(tree.ids) for tree in row) for row in rows) // aligned) * aligned
    ids, depth, end = (x.to(device) for x in tree_inputs(rows, width))
    if all(len(row) == 1 and row[0].is_chain for row in rows):
        # Padding stands behind what is read and causal attention never looks there: no mask, the fastest kernel.
        return backbone(input_ids=ids, use_cache=False).last_hidden_state
    mask = _masks(backbone, depth, end, dtype)
    with _grouped_heads(device):
        return backbone(input_ids=ids, attention_mask=mask, position_ids=depth, use_cache=False).last_hidden_state


def read_places(rows: Sequence[Sequence[Tree]], width: int, read: Sequence[Sequence[int]]) -> dict[int, Int64]:
    """Where to read the states of trees side by side, once flattened to ``[rows × width, hidden]``.

    Args:
        rows: the trees.
        width: of the states, which may be more than the longest row has.
        read: positions to read of each sequence, by its number.

    Returns:
        Int64 ``[len(read[i])]`` for each sequence i of the trees.
    """
    places = {}
    for r, row in enumerate(rows):
        first = r * width
        for tree in row:
            for member, i in enumerate(tree.members):
                places[i] = first + tree.nodes(member, read[i])
            first += len(tree.ids)
    return places


@contextmanager
def _grouped_heads(device: torch.device) -> Iterator[None]:
    """Keeps transformers from copying key and value heads for each query head.

    It does so wherever there is a mask, for the sake of CUDA's kernels. On a CPU the same numbers come out without.
    """
    name = "TRANSFORMERS_SDPA_FORCE_GQA"
    if device.type != "cpu" or name in os.environ or not torch.is_inference_mode_enabled():
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]


def _masks(backbone: nn.Module, depth: Tensor, end: Tensor, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """One mask, or one for each type of layer where a decoder has several."""
    windows = _windows(backbone.config)
    masks = {kind: tree_mask(depth, end, dtype, window) for kind, window in windows.items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _windows(config: Any) -> dict[str, int | None]:
    """Type of layer → its sliding window."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None) or ["full_attention" if window is None else "sliding_attention"]
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}


_CHECK = 1
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
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
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
    states = tree_states(backbone, [trees])[0].float()
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
