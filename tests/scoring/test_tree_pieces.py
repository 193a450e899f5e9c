"""Pieces of a forest: every pair of node and ancestor is attended to once, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.scoring import tree_pieces
from asr_data.scoring.tree import grow_trees
from asr_data.scoring.tree_pieces import Forest, Piece, cut, pieces

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=9)
CPU = torch.device("cpu")


def always(_size: int, _new: int, _length: int) -> bool:
    return True


def forest_of(*sequences: list[int]) -> Forest:
    return Forest.of(list(grow_trees(sequences, always)))


def key_nodes(piece: Piece, count: int) -> list[int]:
    return piece.pick(torch.arange(count)[None, None, :, None]).flatten().tolist()  # type: ignore[no-any-return]


def attended(piece: Piece, count: int) -> np.ndarray:
    """What the nodes of a piece attend to, bool ``[nodes, count]``, from the piece alone."""
    size = piece.stop - piece.first
    keys = key_nodes(piece, count)
    allowed = np.tri(size, dtype=bool) if piece.mask is None else piece.mask[0, 0].numpy() == 0
    out = np.zeros((size, count), dtype=bool)
    out[:, keys] = allowed
    return out


def by_definition(forest: Forest, window: int | None) -> np.ndarray:
    """Bool ``[nodes, nodes]`` by walking up from each node."""
    count = len(forest.ids)
    out = np.eye(count, dtype=bool)
    for node in range(count):
        at = node
        while forest.depth[at] > 0:
            at = next(j for j in range(at - 1, -1, -1) if forest.depth[j] == forest.depth[at] - 1)
            out[node, at] = window is None or forest.depth[node] - forest.depth[at] < window
    return out


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("call", [0, 4, 10**6])
@pytest.mark.parametrize(("block", "stretches"), [(1, 0), (2, 2), (256, 8)])
@settings(deadline=None, max_examples=40)
@given(lists=SEQUENCES, other=SEQUENCES)
def test_any_forest(
    window: int | None, call: int, block: int, stretches: int, lists: list[list[int]], other: list[list[int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_pieces, "_CALL", call)
        patch.setattr(tree_pieces, "_BLOCK", block)
        patch.setattr(tree_pieces, "_STRETCHES", stretches)
        forest = Forest.of([*grow_trees(lists, always), *grow_trees(other, always)])
        parts = pieces(forest, torch.float32, CPU, window)
    assert [p.first for p in parts] == [0, *(p.stop for p in parts[:-1])]
    assert parts[-1].stop == len(forest.ids)
    found = np.concatenate([attended(piece, len(forest.ids)) for piece in parts])
    np.testing.assert_array_equal(found, by_definition(forest, window))


def test_two_answers_to_one_prompt() -> None:
    prompt = list(range(100, 400))
    forest = forest_of([*prompt, *range(200)], [*prompt, *range(500, 600)])
    longer, shorter = pieces(forest, torch.bfloat16, CPU, None)
    assert (longer.first, longer.stop, longer.keys, longer.mask) == (0, 500, (slice(0, 500),), None)
    assert (shorter.first, shorter.stop) == (500, 600)
    assert shorter.keys == (slice(0, 300), slice(500, 600))
    assert shorter.mask is not None
    assert shorter.mask.dtype == torch.bfloat16
    assert shorter.mask.shape == (1, 1, 100, 400)
    assert set(shorter.mask.unique().tolist()) == {0.0, torch.finfo(torch.bfloat16).min}


def test_branches_of_one_token_share_a_piece() -> None:
    response = list(range(1000, 1300))
    forest = forest_of(*([*response[:at], 2] for at in range(20, 320, 20)))
    assert cut(forest, None) == [(0, 301), (301, 315)]


def test_a_long_branch_is_computed_in_blocks() -> None:
    prompt = list(range(50))
    forest = forest_of([*prompt, *range(100, 1100)], [*prompt, *range(2000, 2600)])
    assert cut(forest, None) == [(0, 1050), (1050, 1306), (1306, 1562), (1562, 1650)]


def test_a_window_leaves_keys_out() -> None:
    forest = forest_of(list(range(600)))
    assert [(p.first, p.stop) for p in pieces(forest, torch.float32, CPU, None)] == [(0, 600)]
    near = pieces(forest, torch.float32, CPU, 10)
    assert [(p.first, p.stop) for p in near] == [(0, 256), (256, 512), (512, 600)]
    assert near[1].keys == (slice(247, 512),)


def test_aligned_pieces_have_blank_keys_behind_the_others() -> None:
    states = torch.arange(1.0, 101)[None, None, :, None]
    piece = Piece(60, 70, (slice(0, 20), slice(60, 70)), torch.zeros(1, 1, 10, 30))
    aligned = piece.aligned()
    assert aligned.pick(states).flatten().tolist() == [*range(1, 21), *range(61, 71), 0, 0]
    assert (aligned.mask[0, 0, :, 30:] == torch.finfo(torch.float32).min).all()
    assert torch.equal(aligned.mask[..., :30], piece.mask)
    picked = Piece(60, 70, torch.arange(40, 70), torch.zeros(1, 1, 10, 30)).aligned()
    assert picked.pick(states).flatten().tolist() == [*range(41, 71), 0, 0]
    causal = Piece(0, 31, (slice(0, 31),), None).aligned()
    assert causal.mask is None
    assert causal.pick(states).flatten().tolist() == [*range(1, 32), 0]
    whole = Piece(0, 32, (slice(0, 32),), None)
    assert whole.aligned().blank == 0
    assert Piece(5, 6, (slice(5, 6),), None).aligned().blank == 0  # without a mask, one node would see the blank ones
