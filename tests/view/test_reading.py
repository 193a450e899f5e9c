from __future__ import annotations

from typing import Any

import pytest

from asr_data.errors import InputError
from asr_data.view.reading import (
    AnnotatedRow,
    first_rows,
    require_showable,
    rows_by_index,
    sampled_rows,
    showable_sample,
)


@pytest.fixture
def annotated(annotate: Any) -> Any:
    """Rows 0, 1, 2 and 4 of five, in two files."""
    return annotate(shard_rows=3)


def test_first_rows(annotated: Any) -> None:
    first = first_rows(annotated, 2)
    assert [(one.position, one.row.index) for one in first] == [(0, 0), (1, 1)]
    assert first[1].row.prompt == [{"role": "user", "content": "Wie spät ist es?"}]
    assert len(first_rows(annotated, 99)) == 4


def test_rows_come_in_the_order_asked_for(annotated: Any) -> None:
    found = rows_by_index(annotated, [4, 0, 4])
    assert [(one.position, one.row.index) for one in found] == [(3, 4), (0, 0), (3, 4)]


def test_sample_is_seeded_and_never_more_than_there_are(annotated: Any) -> None:
    drawn = [one.row.index for one in sampled_rows(annotated, 2, seed=1)]
    assert drawn == [one.row.index for one in sampled_rows(annotated, 2, seed=1)]
    assert len(set(drawn)) == 2
    assert [one.row.index for one in sampled_rows(annotated, 99, seed=1)] == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("row", "message"),
    [(3, "row 3 was rejected: empty_response: rejected is"), (9, "there is no row 9: the input has rows 0 to 4")],
)
def test_row_that_is_not_there(annotated: Any, row: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_by_index(annotated, [row])


def test_a_row_that_is_too_long_for_a_terminal(annotated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = first_rows(annotated, 2)
    require_showable(rows)
    monkeypatch.setattr("asr_data.view.reading.LONGEST_SHOWN", 20)
    with pytest.raises(InputError, match=r"row 0 has [0-9]+ characters, and at most 20 are shown"):
        require_showable(rows)


def test_a_sample_leaves_out_what_is_too_long_and_counts_it(annotated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    everything, none = showable_sample(annotated, 99, seed=1)
    assert ([one.row.index for one in everything], none) == ([0, 1, 2, 4], 0)
    sizes = [size(one) for one in everything]
    monkeypatch.setattr("asr_data.view.reading.LONGEST_SHOWN", max(sizes) - 1)
    found, left_out = showable_sample(annotated, 99, seed=1)
    assert [size(one) for one in found] == [n for n in sizes if n < max(sizes)]
    assert left_out == sizes.count(max(sizes))
    monkeypatch.setattr("asr_data.view.reading.LONGEST_SHOWN", max(sizes))
    monkeypatch.setattr("asr_data.view.reading.MOST_SAMPLED", sum(sizes[:2]))
    found, left_out = showable_sample(annotated, 99, seed=1)
    assert [one.row.index for one in found][:2] == [0, 1]
    assert (sum(map(size, found)) <= sum(sizes[:2]), len(found) + left_out) == (True, 4)


def size(one: AnnotatedRow) -> int:
    """Characters of the texts of messages."""
    texts: list[Any] = [one.row.prompt, *(completion.content for completion in one.row.completions)]
    return sum(len(message["content"]) for messages in texts for message in messages)
