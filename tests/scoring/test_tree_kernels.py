"""Attention over pieces and over whole paths against one softmax over the whole forest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from asr_data.scoring.tree import Tree, grow_trees
from asr_data.scoring.tree_attention import tree_states
from asr_data.scoring.tree_kernels import InPieces, Varlen, make_plan, set_tree_attention, takes_paths, tree_attention
from asr_data.scoring.tree_pieces import Forest

HEADS, GROUPS, SIZE = 4, 2, 8


def trees() -> list[Tree]:
    rng = np.random.default_rng(3)
    ids = rng.integers(1, 64, 200).tolist()
    sequences = [ids[:90], ids[:40] + ids[100:130], [*ids[:40], 1], [*ids[:60], 1], ids[130:150]]
    return list(grow_trees(sequences, lambda *_: True))


def allowed(forest: Forest, window: int | None) -> Tensor:
    node = np.arange(len(forest.ids))
    out = (node[None, :] <= node[:, None]) & (node[:, None] < forest.end[None, :])
    if window is not None:
        out &= forest.depth[:, None] - forest.depth[None, :] < window
    return torch.from_numpy(out)


def whole(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Plain softmax over everything: ``[1, nodes, heads, size]``."""
    key, value = (x.repeat_interleave(HEADS // GROUPS, dim=1) for x in (key, value))
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


def random_states(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, HEADS, count, SIZE, generator=generator)
    key, value = (torch.randn(1, GROUPS, count, SIZE, generator=generator) for _ in range(2))
    return query, key, value


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("window", [None, 7, 1000])
def test_in_pieces(window: int | None, gradients: bool) -> None:
    from asr_data.scoring.tree_kernels import _fused

    forest = Forest.of(trees())
    states = random_states(len(forest.ids))
    plan = make_plan(forest, window, torch.float32, torch.device("cpu"), fused=True)
    assert isinstance(plan, InPieces)
    with torch.set_grad_enabled(gradients):
        found = plan.attend(_fused, *states, 0.3)
    torch.testing.assert_close(found, whole(*states, allowed(forest, window), 0.3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("window", [None, 7])
def test_half_precision_on_a_cpu_has_numbers_of_keys_that_its_kernels_like(
    window: int | None, gradients: bool, autocast: bool
) -> None:
    from asr_data.scoring.tree_kernels import _fused

    forest = Forest.of(trees())
    half = [x.to(torch.bfloat16).requires_grad_(gradients) for x in random_states(len(forest.ids))]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model = torch.float32 if autocast else torch.bfloat16
        plan = make_plan(forest, window, model, torch.device("cpu"), fused=True)
        assert isinstance(plan, InPieces)
        assert {piece.pick(half[1]).shape[2] % 32 for piece in plan.pieces} == {0}
        found = plan.attend(_fused, *half, 0.3)
    exact = [x.detach().double().requires_grad_(gradients) for x in half]
    wanted = whole(*exact, allowed(forest, window), 0.3)
    torch.testing.assert_close(found.double(), wanted, atol=0.02, rtol=0.02)
    if gradients:
        weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).double()
        (found.double() * weights).sum().backward()
        (wanted * weights).sum().backward()
        for own, other in zip(half, exact, strict=True):
            torch.testing.assert_close(own.grad.double(), other.grad, atol=0.1, rtol=0.05)


@torch.inference_mode()
def test_what_overflows_in_one_tree_stays_there() -> None:
    from asr_data.scoring.tree_kernels import _fused

    other = list(grow_trees([[5, *range(6, 30)], [5, *range(31, 40)]], lambda *_: True))
    forest = Forest.of([*trees(), *other])
    states = [x.to(torch.bfloat16) for x in random_states(len(forest.ids))]
    plan = make_plan(forest, None, torch.bfloat16, torch.device("cpu"), fused=True)
    before = plan.attend(_fused, *states, 0.3)
    last = sum(len(tree.ids) for tree in trees())
    for x in states:
        x[:, :, last:] = float("nan")
    torch.testing.assert_close(plan.attend(_fused, *states, 0.3)[:, :last], before[:, :last], atol=0, rtol=0)


def varlen_by_hand(
    query: Tensor, key: Tensor, value: Tensor, query_ends: Tensor, key_ends: Tensor, *most: int, **settings: Any
) -> Tensor:
    """What torch documents for ``varlen_attn``: each sequence by itself, causal and windowed from its end."""
    out = torch.empty_like(query)
    q, k = query_ends.tolist(), key_ends.tolist()
    assert most == (max(np.diff(q)), max(np.diff(k)))
    left, right = settings["window_size"]
    assert right == 0
    assert settings["enable_gqa"]
    for i in range(len(q) - 1):
        own, path = slice(q[i], q[i + 1]), slice(k[i], k[i + 1])
        at = torch.arange(own.stop - own.start)[:, None] + (path.stop - path.start) - (own.stop - own.start)
        key_at = torch.arange(path.stop - path.start)[None, :]
        mask = (key_at <= at) & ((key_at >= at - left) if left >= 0 else torch.tensor(True))
        states = (x.transpose(0, 1)[None] for x in (query[own], key[path], value[path]))
        out[own] = whole(*states, mask, settings["scale"])[0]
    return out


@pytest.mark.parametrize("window", [None, 7])
def test_over_whole_paths(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel needs a GPU; what it is given does not."""
    from asr_data.scoring.tree_kernels import _fused, _paths, _varlen

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_by_hand)
    forest = Forest.of(trees())
    plan = _varlen(forest, _paths(forest), window, torch.device("cpu"))
    assert isinstance(plan, Varlen)
    states = random_states(len(forest.ids))
    found = plan.attend(_fused, *states, 0.3)
    torch.testing.assert_close(found, whole(*states, allowed(forest, window), 0.3), atol=1e-5, rtol=1e-5)


def two_of_five(query: Tensor, key: Tensor, value: Tensor, *, from_end: bool) -> Tensor:
    """What a device might do with two queries after five keys."""
    own = query.transpose(0, 1)[None].float()
    keys, values = (x.transpose(0, 1)[None].float().repeat_interleave(2, dim=1) for x in (key, value))
    at = torch.arange(2)[:, None] + (3 if from_end else 0)
    scores = (own @ keys.transpose(2, 3) / own.shape[-1] ** 0.5).masked_fill(torch.arange(5)[None] > at, float("-inf"))
    return (scores.softmax(-1) @ values).transpose(1, 2)[0].to(query.dtype)


@pytest.mark.parametrize("from_end", [True, False])
def test_a_device_that_counts_from_the_beginning_computes_in_pieces(
    from_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernel(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        return two_of_five(query, key, value, from_end=from_end)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    torch.manual_seed(0)
    assert takes_paths.__wrapped__(torch.device("cpu"), torch.bfloat16, 64) is from_end


def test_a_device_without_such_attention() -> None:
    assert not takes_paths(torch.device("cpu"), torch.bfloat16, 64)


def decoder(attention: str) -> Any:
    config = AutoConfig.for_model(
        "llama", vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return AutoModel.from_config(config, dtype=torch.float32, attn_implementation=attention).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_is_as_before_afterwards(attention: str) -> None:
    model = decoder(attention)
    with tree_attention(model):
        assert model.config._attn_implementation == f"asr_tree_{attention}"
    assert model.config._attn_implementation == attention


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.inference_mode()
def test_a_model_whose_attention_is_set_for_good_is_the_same_without_trees(attention: str) -> None:
    model = decoder(attention)
    ids = torch.arange(1, 25).reshape(2, 12)
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    before = model(input_ids=ids, attention_mask=mask).last_hidden_state
    set_tree_attention(model)
    after = model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(after[mask.bool()], before[mask.bool()], atol=0, rtol=0)
    assert tree_states(model, trees()).shape == (len(Forest.of(trees()).ids), 32)


@torch.inference_mode()
def test_a_copy_of_the_mask_on_another_device_still_has_its_plan() -> None:
    """As accelerate's hooks make one where a layer is elsewhere."""
    model = decoder("sdpa")
    expected = tree_states(model, trees())

    def moved(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return given, {k: v.clone() if isinstance(v, Tensor) else v for k, v in named.items()}

    for layer in model.layers:
        layer.register_forward_pre_hook(moved, with_kwargs=True)
    torch.testing.assert_close(tree_states(model, trees()), expected, atol=0, rtol=0)


@torch.inference_mode()
def test_a_mask_without_its_plan_is_an_error() -> None:
    model = decoder("sdpa")
    set_tree_attention(model)
    with pytest.raises(RuntimeError):
        model(input_ids=torch.arange(1, 9)[None], attention_mask=torch.zeros(1, 1, 0, 0))


def test_attention_that_trees_do_not_know() -> None:
    model = decoder("sdpa")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="'flash_attention_2' takes no trees"), tree_attention(model):
        pass


@torch.inference_mode()
def test_key_and_value_heads_are_not_copied_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[tuple[int, int]] = []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Tensor, key: Tensor, *rest: Any, **settings: Any) -> Tensor:
        heads.append((query.shape[1], key.shape[1]))
        return kernel(query, key, *rest, **settings)

    monkeypatch.setattr("asr_data.scoring.tree_kernels.scaled_dot_product_attention", watched)
    model = decoder("sdpa")
    model.config.num_key_value_heads = 2
    grouped = AutoModel.from_config(model.config).eval()
    tree_states(grouped, trees())
    assert set(heads) == {(4, 2)}
