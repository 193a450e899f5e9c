from __future__ import annotations

import numpy as np

from asr_data.evaluation.mid_response import mid_response
from asr_data.types import ByteRewards


def rewards(*values: float, reward: float | None = 0.0) -> ByteRewards:
    """Spans of two bytes each, after the end of the prompt."""
    ends = np.arange(0, 2 * len(values), 2, dtype=np.int32)
    return ByteRewards(ends, np.array(values, dtype=np.float32), np.zeros(0, dtype=np.int32), reward)


def test_by_hand() -> None:
    pairs = [
        # Six bytes: the middle one, 3, is in the second span after the prompt's.
        (rewards(9, 0, 2, 0, reward=5), rewards(0, 9, 1, 9, reward=1)),  # right in the middle, right at the end
        (rewards(0, 0, 1, 0, reward=5), rewards(0, 0, 1, 0, reward=1)),  # a tie, right
        (rewards(0, 0, 0, 0, reward=0), rewards(0, 0, 1, 0, reward=1)),  # wrong, wrong
        (rewards(0, 7, reward=5), rewards(0, 6, reward=1)),  # one span
    ]
    found = mid_response(pairs)
    assert found is not None
    assert (found.pairs, found.at_end, found.in_middle) == (4, 0.75, 0.625)
    assert found.low < 0.5 < found.high
    assert "62%" in str(found.warning)
    assert "at the end 75%" in str(found.warning)


def test_no_warning_where_the_middle_says_something() -> None:
    found = mid_response([(rewards(0, 1, reward=1), rewards(0, 0, reward=0))] * 20)
    assert found is not None
    assert (found.in_middle, found.low, found.warning) == (1.0, 1.0, None)


def test_nothing_to_compare() -> None:
    assert mid_response([]) is None
    assert mid_response([(rewards(0, 1, reward=None), rewards(0, 1))]) is None
