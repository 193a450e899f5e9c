"""Attention of transformers' decoders over the pieces of token trees.

transformers looks up the function that computes attention by a name in the model's settings. :func:`tree_attention`
puts a name of ours there. What the function needs to know of the trees comes with the mask: a tensor of four
dimensions goes through every decoder as it is, to gradient checkpointing's second pass, too. For any other mask it is
what the model had before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from asr_data.scoring.tree_pieces import Forest, Piece, pieces
from asr_data.types import Int64

_NAMES = {"sdpa": "asr_tree_sdpa", "eager": "asr_tree_eager"}
"""Names of ours for what a model may have."""
_UNKNOWN = ("softcap", "position_bias", "s_aux", "cache", "head_mask")
"""Settings of a decoder's attention that :func:`_fused` does not know; a decoder that has them passes them."""
_MOST_GATHERED = 8
"""Keys that are gathered for each chain, by nodes: above these, one-token branches on a long path would fill a GPU."""


class Plan(Protocol):
    """How one kind of layer attends."""

    def attend(self, attention: Attention, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """``[1, heads, nodes, size]``, key and value heads may be fewer → ``[1, nodes, heads, size]``."""
        ...


Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None, "float | None"], Tensor]
"""Of some nodes: query, key, value, mask, scaling → ``[1, nodes, heads, size]``. Without a mask it is causal."""


@dataclass(frozen=True, slots=True, eq=False)
class InPieces:
    """One call for each piece; on every device."""

    pieces: Sequence[Piece]

    def attend(self, attention: Attention, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """See :class:`Plan`."""
        parts = []
        for piece in self.pieces:
            own = slice(piece.first, piece.stop)
            parts.append(attention(query[:, :, own], piece.pick(key), piece.pick(value), piece.mask, scaling))
        return torch.cat(parts, dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Varlen:
    """One call for all chains, each after the keys of its whole path; for GPUs in half precision.

    Attributes:
        keys: int64 ``[keys]``, the paths one after the other.
        query_ends, key_ends: int32 ``[chains + 1]``.
        most: longest chain and longest path.
        window: see :func:`asr_data.scoring.tree_pieces.pieces`.
    """

    keys: Tensor
    query_ends: Tensor
    key_ends: Tensor
    most: tuple[int, int]
    window: int | None

    def attend(self, attention: Attention, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:  # noqa: ARG002 - a kernel of its own
        """See :class:`Plan`; causal from the end, as queries are the last tokens of their paths."""
        from torch.nn.attention.varlen import varlen_attn

        own, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))
        at, query_ends, key_ends = (x.to(query.device) for x in (self.keys, self.query_ends, self.key_ends))
        longest_chain, longest_path = self.most
        out = varlen_attn(
            own.contiguous(),
            keys.index_select(0, at),
            values.index_select(0, at),
            query_ends,
            key_ends,
            longest_chain,
            longest_path,
            scale=scaling,
            window_size=(-1 if self.window is None else self.window - 1, 0),
            enable_gqa=key.shape[1] != query.shape[1],
        )
        if not isinstance(out, Tensor):
            raise TypeError("attention gave more than was asked for")
        return out[None]


@cache
def takes_paths(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether torch has attention over whole paths for this device and head size, and it is causal from the end."""
    query, key, value = (torch.randn(1, heads, 5, size, device=device, dtype=dtype) for heads in (2, 1, 1))
    ends = (
        torch.tensor([0, 2], device=device, dtype=torch.int32),
        torch.tensor([0, 5], device=device, dtype=torch.int32),
    )
    paths = Varlen(torch.arange(5, device=device), *ends, (2, 5), None)
    mask = torch.zeros(1, 1, 2, 5, device=device, dtype=dtype)
    mask[..., 0, 4] = torch.finfo(dtype).min
    try:
        with torch.no_grad():
            found = paths.attend(_fused, query[:, :, 3:], key, value, None)
            wanted = _fused(query[:, :, 3:], key, value, mask, None)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, ImportError, AttributeError):
        return False
    return bool((found - wanted).abs().max() < 0.05)  # of numbers of size 1; a wrong key changes them by about that


def make_plan(
    forest: Forest, window: int | None, dtype: torch.dtype, device: torch.device, *, fused: bool, size: int = 0
) -> Plan:
    """How layers with this window attend.

    Args:
        forest: the trees.
        window: a token sees only those ancestors that are fewer than this many positions above it.
        dtype: of the model.
        device: where the model begins.
        fused: whether the model uses torch's fused attention, which is causal without a mask.
        size: of a head, for GPUs.
    """
    half = dtype in (torch.bfloat16, torch.float16)
    if fused and half and device.type == "cuda" and takes_paths(device, dtype, size):
        paths = _paths(forest)
        if sum(map(len, paths)) <= _MOST_GATHERED * len(forest.ids):
            return _varlen(forest, paths, window, device)
    own = pieces(forest, dtype, device, window)
    if not fused:
        return InPieces([_masked(piece, dtype, device) for piece in own])
    if device.type == "cpu" and (half or torch.is_autocast_enabled("cpu")):
        own = [piece.aligned() for piece in own]
    return InPieces(own)


def _paths(forest: Forest) -> list[Int64]:
    """Nodes from the root to the end of each chain."""
    last = [*(forest.chains[1:] - 1), len(forest.ids) - 1]
    return [np.append(forest.above(node), node) for node in last]


def _varlen(forest: Forest, paths: Sequence[Int64], window: int | None, device: torch.device) -> Varlen:
    query_ends = [*forest.chains.tolist(), len(forest.ids)]
    key_ends = np.cumsum([0, *map(len, paths)]).tolist()
    return Varlen(
        torch.from_numpy(np.concatenate(paths)).to(device),
        torch.tensor(query_ends, dtype=torch.int32, device=device),
        torch.tensor(key_ends, dtype=torch.int32, device=device),
        (max(b - a for a, b in pairwise(query_ends)), max(map(len, paths))),
        window,
    )


def _masked(piece: Piece, dtype: torch.dtype, device: torch.device) -> Piece:
    """A mask where there is none, for attention that is not causal by itself."""
    if piece.mask is not None:
        return piece
    width = piece.stop - piece.first
    mask = torch.full((width, width), torch.finfo(dtype).min, dtype=dtype, device=device)
    return Piece(piece.first, piece.stop, piece.keys, mask.triu(1)[None, None])


def carriers(plans: Sequence[Plan], device: torch.device) -> list[Tensor]:
    """Masks that carry plans to :func:`_attention`.

    Each has its plan as an attribute, for gradient checkpointing, and its number as the last size, for models over
    several devices: a copy on another device has no attributes. It has no elements, so it is a mask for nothing else.
    """
    masks = []
    for number, plan in enumerate(plans):
        mask = torch.zeros(1, 1, 0, number, device=device)
        mask.asr_plan = plan  # type: ignore[attr-defined] # a tensor takes attributes
        masks.append(mask)
    return masks


_current: ContextVar[Sequence[Plan]] = ContextVar("plans of the pass", default=())


def _carried(mask: Tensor | None) -> Plan | None:
    """The plan that a mask carries, or None for another mask."""
    if mask is None or mask.ndim != 4 or mask.shape[2]:
        return None
    plan: Plan | None = getattr(mask, "asr_plan", None)
    if plan is None and mask.shape[3] < len(_current.get()):
        plan = _current.get()[mask.shape[3]]
    return plan


def is_fused(backbone: nn.Module) -> bool:
    """Whether the model uses torch's fused attention.

    Raises:
        ValueError: it uses attention that trees do not know.
    """
    name = str(_setting(backbone))
    if name in ("sdpa", _NAMES["sdpa"]):
        return True
    if name in ("eager", _NAMES["eager"]):
        return False
    raise ValueError(f"attention {name!r} takes no trees")


def _setting(backbone: nn.Module) -> Any:
    return backbone.config.get_text_config()._attn_implementation  # type: ignore[union-attr, operator] # HF models


def set_tree_attention(backbone: nn.Module) -> None:
    """Let the model look up attention under our name, for good. It stays what it is wherever no trees are given."""
    _register()
    name = _NAMES["sdpa" if is_fused(backbone) else "eager"]
    for module in backbone.modules():
        config = getattr(module, "config", None)
        if config is not None and getattr(config, "_attn_implementation", None) in _NAMES:
            config._attn_implementation = name


@contextmanager
def tree_attention(backbone: nn.Module, plans: Sequence[Plan] = ()) -> Iterator[None]:
    """As :func:`set_tree_attention`, for a pass with these plans."""
    configs = {id(c): c for c in (getattr(m, "config", None) for m in backbone.modules()) if c is not None}
    before = [(config, getattr(config, "_attn_implementation", None)) for config in configs.values()]
    set_tree_attention(backbone)
    token = _current.set(plans)
    try:
        yield
    finally:
        _current.reset(token)
        for config, name in before:
            if name is not None:
                config._attn_implementation = name


def _register() -> None:
    """Make our names known to transformers; masks for them are those of what they stand for."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    for of, name in _NAMES.items():
        if name not in ALL_ATTENTION_FUNCTIONS:
            ALL_ATTENTION_FUNCTIONS.register(name, _attention)
            ALL_MASK_ATTENTION_FUNCTIONS.register(name, ALL_MASK_ATTENTION_FUNCTIONS[of])


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *more: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' interface: ``[batch, heads, time, size]`` → ``[batch, time, heads, size]`` and weights or None."""
    fused = module.config._attn_implementation == _NAMES["sdpa"]  # type: ignore[union-attr] # HF models
    plan = _carried(attention_mask)
    if plan is None:
        own = _fused_of_transformers() if fused else _eager(module)
        return own(module, query, key, value, attention_mask, *more, scaling=scaling, dropout=dropout, **settings)
    if more or dropout:
        raise ValueError("attention over trees has no dropout")
    if fused:
        unknown = [name for name in _UNKNOWN if settings.get(name) is not None]
        if unknown:
            raise ValueError(f"attention with {', '.join(unknown)} takes no trees")
        return plan.attend(_fused, query, key, value, scaling), None
    eager = _eager(module)

    def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
        mask = None if mask is None else mask.to(query.device)
        return eager(module, query, key, value, mask, scaling=scaling, dropout=0.0, **settings)[0]

    return plan.attend(attention, query, key, value, scaling), None


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """torch's kernel for the device."""
    group = query.shape[1] // key.shape[1]
    grouped = group > 1 and (mask is None or query.device.type == "cpu") and not torch.is_grad_enabled()
    if group > 1 and not grouped:  # a fused kernel that takes a mask, or gives gradients, wants as many heads of each
        key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    causal = mask is None and query.shape[2] > 1
    if mask is not None:
        mask = mask.to(query.device, query.dtype)  # a later device's; under autocast
    out = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, scale=scaling, enable_gqa=grouped
    )
    return out.transpose(1, 2)


def _fused_of_transformers() -> Callable[..., Any]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward


def _eager(module: nn.Module) -> Callable[..., Any]:
    """The model family's own function, from the file of its layers."""
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if own is None:
        raise ValueError(f"{type(module).__name__} has attention of its own kind")
    return own
