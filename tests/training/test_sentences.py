from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.training.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("It costs 3.50 at example.org today", ["It costs 3.50 at example.org today"]),
        ("A list:\n\n- first\n- second.\n", ["A list:", "- first", "- second."]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("Wait... what?!", ["Wait...", "what?!"]),
        ("Dr. Who", ["Dr.", "Who"]),
        (" \n ", []),
        ("", []),
    ],
)
def test_by_hand(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == expected


@given(st.text(alphabet="ab. !?\n。”", max_size=60))
def test_sentences_are_ordered_stripped_and_leave_out_white_space_alone(text: str) -> None:
    spans = split_sentences(text)
    position = 0
    for start, end in spans:
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip() != ""
        position = end
    assert not text[position:].strip()
