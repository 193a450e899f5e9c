"""The response text by hand: which bytes are whose, and how labels and rewards of contents move into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asr_data.response import (
    RESPONSE_TEXT,
    bytes_of_contents,
    contents_text,
    labels_in_response,
    recorded_text,
    response_parts,
    response_text,
    rewards_in_response,
    stored_rewards,
    without,
)
from asr_data.types import ByteRewards, Label

CALL = [{"type": "function", "function": {"name": "say", "arguments": {"text": "é"}}}]
MESSAGES: list[dict[str, Any]] = [
    {"role": "assistant", "content": "Look.", "reasoning_content": "Hm", "tool_calls": CALL},
    {"role": "tool", "content": "done"},
    {"role": "assistant", "content": "É."},
]
TEXT = '<think>\nHm\n</think>\n\nLook.\n<tool_call>\n{"name": "say", "arguments": {"text": "é"}}\n</tool_call>\nÉ.'
LOOK = TEXT.index("Look.")
LAST = len(TEXT[: TEXT.index("É.")].encode())


def rewards(ends: list[int], values: list[float], steps: list[int] | None = None) -> ByteRewards:
    return ByteRewards(np.array(ends, np.int32), np.array(values, np.float32), np.array(steps or [], np.int32))


def test_reasoning_content_and_calls_in_one_form() -> None:
    assert response_text(MESSAGES) == TEXT
    assert contents_text(MESSAGES) == "Look.É."
    text, parts = response_parts(MESSAGES)
    assert [(part.kind, part.message, text[part.start : part.end]) for part in parts] == [
        ("reasoning", 0, "Hm"),
        ("content", 0, "Look."),
        ("call", 0, '{"name": "say", "arguments": {"text": "é"}}'),
        ("content", 2, "É."),
    ]
    assert text[slice(*parts[2].name)] == "say"
    assert text[slice(*parts[2].arguments)] == '{"text": "é"}'


@pytest.mark.parametrize("content", ["plain", [{"role": "assistant", "content": "plain"}]])
def test_contents_alone_are_what_they_are(content: Any) -> None:
    assert response_text(content) == contents_text(content) == "plain"


def test_the_first_name_of_reasoning_counts() -> None:
    message = {"role": "assistant", "content": "a", "reasoning": "2", "thinking": "1"}
    assert response_text([message]) == "<think>\n1\n</think>\n\na"


def test_calls_of_the_message_alone_and_arguments_as_text() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    assert response_text([message]) == '<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call>\n'


def test_earlier_outputs_keep_their_text() -> None:
    assert recorded_text(MESSAGES, None) == "Look.É."
    assert recorded_text(MESSAGES, RESPONSE_TEXT) == TEXT


def test_labels_of_contents_move_and_are_cut_where_something_else_stands() -> None:
    moved = labels_in_response([Label(0, 2, 1.0), Label(3, 8, 0.0)], MESSAGES)
    assert [(one.start, one.end, one.reward) for one in moved] == [
        (LOOK, LOOK + 2, 1.0),
        (LOOK + 3, LOOK + 5, 0.0),
        (LAST, LAST + 3, 0.0),
    ]


def test_rewards_of_contents_leave_the_rest_unknown() -> None:
    found = rewards_in_response(rewards([0, 4, 7, 8], [9.0, 1.0, 2.0, 3.0], [4, 8]), MESSAGES)
    assert found.span_end.tolist() == [0, LOOK, LOOK + 4, LOOK + 5, LAST, LAST + 2, LAST + 3]
    np.testing.assert_array_equal(found.span_reward, np.array([9, np.nan, 1, 2, np.nan, 2, 3], np.float32))
    assert found.step_end.tolist() == [LOOK + 4, LAST + 3]
    assert stored_rewards(found, MESSAGES) is found
    again = stored_rewards(rewards([4, 8], [1.0, 2.0]), MESSAGES)  # as an earlier output has them
    assert again.span_end.tolist() == [LOOK, LOOK + 4, LOOK + 5, LAST, LAST + 3]


def test_stretches_made_unknown() -> None:
    found = without(rewards([0, 4, 10], [5.0, 1.0, 2.0]), [(2, 6)])
    assert found.span_end.tolist() == [0, 2, 4, 6, 10]
    np.testing.assert_array_equal(found.span_reward, np.array([5, 1, np.nan, np.nan, 2], np.float32))


def test_bytes_among_the_contents() -> None:
    edges = np.array([0, LOOK, LOOK + 3, LAST, LAST + 3], np.int32)
    assert bytes_of_contents(edges, MESSAGES).tolist() == [0, 0, 3, 5, 8]
