from __future__ import annotations

import pytest

from asr_data.errors import RowRejected
from asr_data.rows.transcripts import parse_transcript


def test_turns_in_order_with_their_white_space() -> None:
    text = "\n\nHuman: Hi\nthere \n\nAssistant:  Yes: Human: no mark\n\nHuman:\n\nAssistant:"
    assert parse_transcript(text, "chosen") == [
        {"role": "user", "content": "Hi\nthere "},
        {"role": "assistant", "content": " Yes: Human: no mark"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
    ]


@pytest.mark.parametrize("text", ["plain", "System.\n\nHuman: a\n\nAssistant: b", "\n\nAssistant: b"])
def test_what_does_not_begin_with_the_human(text: str) -> None:
    with pytest.raises(RowRejected, match="'chosen' does not begin") as caught:
        parse_transcript(text, "chosen")
    assert caught.value.code == "wrong_type"
