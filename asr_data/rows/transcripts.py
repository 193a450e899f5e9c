"""Transcripts as in hh-rlhf and Nectar: one string of turns, each marked by a blank line and its speaker."""

from __future__ import annotations

import re

from asr_data.errors import RowRejected
from asr_data.types import Message

_MARKER = re.compile(r"\n\n(Human|Assistant):")
_ROLE = {"Human": "user", "Assistant": "assistant"}
_START = "\n\nHuman:"


def starts_as_transcript(text: str) -> bool:
    """Whether the text begins with a marked Human turn."""
    return text.startswith(_START)


def parse_transcript(text: str, column: str) -> list[Message]:
    """The turns as messages.

    A turn's content is what follows its marker, less the one space after it, up to the next marker; other
    white space belongs to the speaker. Turns of one speaker in a row stay apart, as they were written.

    Raises:
        RowRejected: ``wrong_type`` when the text does not begin with a Human turn.
    """
    if not starts_as_transcript(text):
        raise RowRejected("wrong_type", f"column {column!r} does not begin with {_START!r}")
    pieces = _MARKER.split(text)[1:]  # alternating speaker and content
    return [
        {"role": _ROLE[speaker], "content": content.removeprefix(" ")}
        for speaker, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def parse_transcript_prompt(text: str, column: str) -> list[Message]:
    """The turns of a prompt that the assistant is to answer: the empty turn at its end, if any, is left out.

    Raises:
        RowRejected: ``wrong_type`` as for a transcript, ``prompt_mismatch`` where the assistant has begun to answer.
    """
    turns = parse_transcript(text, column)
    if turns[-1]["role"] == "assistant":
        if turns[-1]["content"].strip():
            raise RowRejected("prompt_mismatch", f"column {column!r} ends with a turn by the assistant")
        turns.pop()
    return turns
