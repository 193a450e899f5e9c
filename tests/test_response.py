from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.response import byte_offsets, code_points, response_text


def test_the_assistant_s_contents_in_order() -> None:
    turns = [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "c"},
    ]
    assert response_text(turns) == "ac"
    assert response_text("ac") == "ac"
    assert response_text([]) == ""


def test_byte_offsets_by_hand() -> None:
    # a: 1 byte, é: 2, 中: 3, 😀: 4
    assert byte_offsets("aé中😀").tolist() == [0, 1, 3, 6, 10]
    assert byte_offsets("").tolist() == [0]
    with pytest.raises(UnicodeEncodeError):
        byte_offsets("\ud800")


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_bytes_and_code_points_are_each_other_s_inverse(text: str) -> None:
    byte = byte_offsets(text)
    for position in range(len(text) + 1):
        assert byte[position] == len(text[:position].encode())
    assert code_points(text, byte.astype(np.int32)).tolist() == list(range(len(text) + 1))
