"""Trees are compared with what they must hold: every prefix once, ancestors and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asr_data.scoring.tree import Tree, grow_trees

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=9)


def always(_size: int, _new: int, _length: int) -> bool:
    return True


def ancestors(tree: Tree, node: int) -> list[int]:
    """By the rule that the attention mask is made of."""
    return [j for j in range(len(tree.ids)) if j <= node < tree.end[j]]


def test_the_picture_in_the_module() -> None:
    prompt, a, b, end = [1, 1], [2, 2], [3], [9]
    [tree] = grow_trees([prompt + a + end, prompt + b + end, prompt + b + [4] + end], always)
    assert tree.ids.tolist() == [1, 1, 2, 2, 9, 3, 4, 9, 9]
    assert tree.depth.tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 3]
    assert tree.end.tolist() == [9, 9, 5, 5, 5, 9, 8, 8, 9]
    assert tree.members == (0, 2, 1)
    assert tree.nodes(2, [0, 2, 3]).tolist() == [0, 5, 8]
    assert tree.chains.tolist() == [0, 5, 8]


def test_one_sequence_is_a_chain() -> None:
    [tree] = grow_trees([[5, 6, 7]], always)
    assert tree.chains.tolist() == [0]
    assert (tree.depth.tolist(), tree.end.tolist()) == ([0, 1, 2], [3, 3, 3])


def test_equal_sequences_and_prefixes_cost_nothing() -> None:
    [tree] = grow_trees([[5, 6, 7], [5, 6], [5, 6, 7]], always)
    assert tree.chains.tolist() == [0]
    assert tree.ids.tolist() == [5, 6, 7]
    assert tree.members == (0, 2, 1)
    assert tree.nodes(2, [1]).tolist() == [1]


def test_large_ids_are_in_order_of_number() -> None:
    """256 is above 255, though its lowest byte is 0."""
    trees = list(grow_trees([[256, 1], [255, 1], [65536]], lambda _size, _new, _length: False))
    assert [tree.members for tree in trees] == [(1,), (0,), (2,)]


def test_who_joins_is_asked_with_sizes() -> None:
    asked: list[tuple[int, int, int]] = []

    def fits(size: int, new: int, length: int) -> bool:
        asked.append((size, new, length))
        return size + new <= 4

    trees = list(grow_trees([[1, 2, 3], [1, 2, 4], [1, 2, 5]], fits))
    assert asked == [(3, 1, 3), (4, 1, 3)]
    assert [len(tree.ids) for tree in trees] == [4, 3]


def test_a_response_closed_at_every_sentence_stays_in_one_piece() -> None:
    """The end of turn, 2, sorts before every token of the response."""
    response = [5, 6, 7, 8, 9, 10]
    cut = [[*response[:at], 2] for at in (2, 4, 6)]
    [tree] = grow_trees(cut, always)
    assert tree.ids.tolist() == [*response, 2, 2, 2]
    assert tree.depth.tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 2]
    assert tree.members == (2, 1, 0)
    assert tree.chains.tolist() == [0, 7, 8]


def test_a_limit_does_not_part_what_shares_most() -> None:
    pairs = [[1, a, a, a, b] for a in (2, 3, 4) for b in (8, 9)]
    trees = list(grow_trees(pairs, lambda size, new, _length: size + new <= 10))
    assert [sorted(tree.members) for tree in trees] == [[0, 1], [2, 3], [4, 5]]
    assert [len(tree.ids) for tree in trees] == [6, 6, 6]


@given(SEQUENCES)
def test_a_subtree_begins_with_its_longest_path(sequences: list[list[int]]) -> None:
    [tree] = grow_trees(sequences, always)
    held = [tuple(sequences[i]) for i in tree.members]
    for place, sequence in enumerate(held):
        branch = max((k for k in range(len(sequence)) if any(s[:k] == sequence[:k] for s in held[:place])), default=0)
        if sequence in [s[: len(sequence)] for s in held[:place]]:
            continue  # it has no token of its own
        for later in held[place:]:
            if later[: branch + 1] == sequence[: branch + 1]:
                assert len(later) <= len(sequence)


@given(SEQUENCES, st.integers(1, 40))
def test_any_sequences(sequences: list[list[int]], limit: int) -> None:
    seen: list[int] = []
    for tree in grow_trees(sequences, lambda size, new, _length: size + new <= limit):
        held = [sequences[i] for i in tree.members]
        assert len(tree.ids) == len({tuple(s[:k]) for s in held for k in range(1, len(s) + 1)})
        for member, sequence in enumerate(held):
            nodes = tree.nodes(member, range(len(sequence))).tolist()
            assert tree.ids[nodes].tolist() == sequence
            assert tree.depth[nodes].tolist() == list(range(len(sequence)))
            for depth, node in enumerate(nodes):
                assert ancestors(tree, node) == nodes[: depth + 1]
        broken = [n for n in range(len(tree.ids)) if n == 0 or ancestors(tree, n)[-2:-1] != [n - 1]]
        assert tree.chains.tolist() == broken
        seen += tree.members
    assert sorted(seen) == list(range(len(sequences)))


@given(SEQUENCES)
def test_the_order_of_the_sequences_does_not_matter(sequences: list[list[int]]) -> None:
    [one] = grow_trees(sequences, always)
    [other] = grow_trees(sequences[::-1], always)
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.end, other.end)
