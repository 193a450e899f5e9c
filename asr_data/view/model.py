"""What a view needs to know about one annotated row, free of file formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from asr_data.errors import InputError
from asr_data.text import response_text
from asr_data.types import Completion, Row, Side, Text


@dataclass(frozen=True, slots=True)
class SegmentView:
    """One segment of a response.

    Attributes:
        text: what it covers; empty for a segment of end tokens or inside one character.
        reward: segment reward ``r_k``; None where it is unknown.
        keep: true when the segment is trained on.
    """

    text: str
    reward: float | None
    keep: bool


@dataclass(frozen=True, slots=True)
class ResponseView:
    """One annotated response.

    Attributes:
        side: the column it came from.
        segments: in order; their texts concatenate to the response text.
        reward: sequence reward ``r_s``; None where nothing is known of the response.
        tokens: number of policy tokens.
        kept_tokens: how many of them are trained on.
        other_messages: messages in the completion that the assistant did not write; never trained on.
    """

    side: Side
    segments: tuple[SegmentView, ...]
    reward: float | None
    tokens: int
    kept_tokens: int
    other_messages: int = 0


@dataclass(frozen=True, slots=True)
class RowView:
    """One annotated row: its input index, prompt, responses and the codes of ``asr_notes``."""

    index: int
    prompt: Text
    responses: tuple[ResponseView, ...]
    notes: tuple[str, ...] = ()

    def only(self, side: Side) -> RowView:
        """The same row with the responses of one side."""
        return replace(self, responses=tuple(one for one in self.responses if one.side == side))


def row_view(row: Row, annotations: Mapping[str, Any], *, prefix: str = "") -> RowView:
    """Join a parsed input row with its annotation columns.

    Args:
        row: the input row in the layout it was annotated in.
        annotations: the added columns of DESIGN §2 for this row, lists as Python lists.
        prefix: what was put before every added column.

    Raises:
        InputError: columns are missing, differ in length, or cut outside the response text.
    """
    notes = annotations.get(f"{prefix}asr_notes") or ()
    responses = tuple(_response_view(row.index, one, annotations, prefix) for one in row.completions)
    return RowView(row.index, row.prompt, responses, tuple(notes))


def cut_segments(
    text: str, starts: Sequence[int], rewards: Sequence[float | None], keeps: Sequence[bool]
) -> tuple[SegmentView, ...]:
    """Cut a response text at code-point offsets ``starts`` (``S_seg_text_start``).

    Raises:
        InputError: lengths differ, the first start is not 0, or starts decrease or leave the text.
    """
    if not len(starts) == len(rewards) == len(keeps):
        raise InputError(
            f"{len(starts)} segment starts, {len(rewards)} rewards and {len(keeps)} decisions: "
            "the three lists must have the same length"
        )
    ends = [*starts[1:], len(text)]
    if starts and (starts[0] != 0 or any(start > end for start, end in zip(starts, ends, strict=True))):
        raise InputError(
            f"segment starts {list(starts)} do not partition a text of {len(text)} code points: "
            "the first must be 0, none may decrease or lie beyond the text"
        )
    return tuple(
        SegmentView(text[start:end], reward, bool(keep))
        for start, end, reward, keep in zip(starts, ends, rewards, keeps, strict=True)
    )


def _response_view(index: int, completion: Completion, annotations: Mapping[str, Any], prefix: str) -> ResponseView:
    side, content = completion.side, completion.content

    def column(name: str) -> Any:
        try:
            return annotations[f"{prefix}{side}_{name}"]
        except KeyError as error:
            raise InputError(f"row {index}: there is no column {prefix}{side}_{name}") from error

    mask = column("mask")
    try:
        segments = cut_segments(
            response_text(content), column("seg_text_start"), column("seg_reward"), column("seg_keep")
        )
    except InputError as error:
        raise InputError(f"row {index}, {side}: {error}") from error
    others = 0 if isinstance(content, str) else sum(not _is_assistant(message) for message in content)
    return ResponseView(side, segments, column("reward"), len(mask), sum(mask), others)


def _is_assistant(message: Mapping[str, Any]) -> bool:
    return bool(message.get("role") == "assistant")
