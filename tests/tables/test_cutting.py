from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.tables.cutting import pieces, segment_of_token


def cut(texts: list[str], starts: list[list[int]]) -> list[list[str]]:
    found: list[list[str]] = pieces(
        pa.chunked_array([pa.array(starts, pa.large_list(pa.int32()))]),
        pa.chunked_array([pa.array(texts, pa.string())]),
    ).to_pylist()
    return found


@pytest.mark.parametrize(
    ("texts", "starts", "expected"),
    [
        (["abcd"], [[0, 2]], [["ab", "cd"]]),
        (["aé🙂b", "xyz"], [[0, 1, 2, 3], [1]], [["a", "é", "🙂", "b"], ["yz"]]),
        (["ab", "", "日本"], [[0, 2, 2], [0], [0, 1]], [["ab", "", ""], [""], ["日", "本"]]),
        (["ab"], [[]], [[]]),
        ([], [], []),
    ],
)
def test_pieces_by_hand(texts: list[str], starts: list[list[int]], expected: list[list[str]]) -> None:
    assert cut(texts, starts) == expected


@given(st.lists(st.tuples(st.text(max_size=8), st.lists(st.integers(0, 8), max_size=5)), max_size=5))
def test_pieces_are_what_slices_are(rows: list[tuple[str, list[int]]]) -> None:
    texts = [text for text, _ in rows]
    starts = [sorted(min(at, len(text)) for at in places) for text, places in rows]
    ends = [[*places[1:], len(text)] for text, places in zip(texts, starts, strict=True)]
    slices = [
        [text[a:b] for a, b in zip(places, stops, strict=False)]
        for text, places, stops in zip(texts, starts, ends, strict=True)
    ]
    assert cut(texts, starts) == slices


def test_parts_of_longer_columns() -> None:
    texts = pa.chunked_array([pa.array(["zz", "é1é2", "ab"]).slice(1)])
    starts = pa.chunked_array([pa.array([[0], [0, 2], [1]], pa.list_(pa.int32())).slice(1)])
    assert pieces(starts, texts).to_pylist() == [["é1", "é2"], ["b"]]


def test_segments_of_tokens() -> None:
    starts = pa.chunked_array([pa.array([[0, 2], [0], [0, 1, 3]], pa.list_(pa.int32()))])
    tokens = pa.chunked_array([pa.array([3, 2, 4], pa.int64())])
    assert segment_of_token(starts, tokens).to_pylist() == [[0, 0, 1], [0, 0], [0, 1, 1, 2]]
