"""What a view needs to know about one annotated row, free of file formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_data.errors import InputError, RowRejected
from asr_data.response import RESPONSE_TEXT, code_points, recorded_text, response_text
from asr_data.storage import AnnotatedDirectory
from asr_data.types import Completion, Float64, Row, Side, Text
from asr_data.view.decisions import UNDECIDED, Decision, decisions
from asr_data.view.gold import FAULTY_BELOW
from asr_data.view.reading import AnnotatedRow

if TYPE_CHECKING:
    from asr_data.evaluation.gold import GoldReader, Labels


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
class GoldSpan:
    """What a gold label says of code points ``[start, end)`` of the response text."""

    start: int
    end: int
    reward: float
    name: str

    @property
    def faulty(self) -> bool:
        """Whether it marks a fault."""
        return self.reward < FAULTY_BELOW


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
        decision: what its segments were compared with.
        gold: spans with a gold label, in order, without overlap.
        token_reward: reward of each policy token; None where it is unknown.
        weights: weight of each policy token; None where rows have none.
    """

    side: Side
    segments: tuple[SegmentView, ...]
    reward: float | None
    tokens: int
    kept_tokens: int
    other_messages: int = 0
    decision: Decision = UNDECIDED
    gold: tuple[GoldSpan, ...] = ()
    token_reward: tuple[float | None, ...] = ()
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class RowView:
    """One annotated row: its input index, prompt, responses and the codes of ``asr_notes``.

    ``gold_error`` says why its gold labels cannot be shown, ``pair`` which pair of the input row it is, where that is
    several.
    """

    index: int
    prompt: Text
    responses: tuple[ResponseView, ...]
    notes: tuple[str, ...] = ()
    gold_error: str | None = None
    pair: int | None = None

    @property
    def name(self) -> str:
        """``row 3``, or ``row 3, pair 1``."""
        return f"row {self.index:,}" + ("" if self.pair is None else f", pair {self.pair}")

    def only(self, side: Side) -> RowView:
        """The same row with the responses of one side."""
        return replace(self, responses=tuple(one for one in self.responses if one.side == side))


def row_views(
    annotated: AnnotatedDirectory,
    rows: Sequence[AnnotatedRow],
    gold: GoldReader | None = None,
    baselines: Float64 | None = None,
) -> list[RowView]:
    """These rows with what decided over them, and gold labels where there is a reader of them.

    ``baselines`` is as for :func:`asr_data.view.decisions.decisions`.

    Raises:
        InputError: see :func:`row_view`.
    """
    decided = decisions(annotated, rows, baselines)
    prefix, text = annotated.manifest.prefix, annotated.manifest.plan.response_text
    return [
        with_gold(row_view(one.row, one.columns, prefix=prefix, decided=decision, recorded=text), one.row, gold)
        for one, decision in zip(rows, decided, strict=True)
    ]


def row_view(
    row: Row,
    annotations: Mapping[str, Any],
    *,
    prefix: str = "",
    decided: Mapping[Side, Decision] | None = None,
    recorded: str | None = RESPONSE_TEXT,
) -> RowView:
    """Join a parsed input row with its annotation columns.

    Args:
        row: the input row in the layout it was annotated in.
        annotations: the added columns of DESIGN §2 for this row, lists as Python lists.
        prefix: what was put before every added column.
        decided: what decided over each response, where it is known.
        recorded: what the plan of the run that made the columns says of its response texts.

    Raises:
        InputError: columns are missing, differ in length, or cut outside the response text.
    """
    notes = annotations.get(f"{prefix}asr_notes") or ()
    responses = tuple(_response_view(row.index, one, annotations, prefix, recorded) for one in row.completions)
    known = decided or {}
    responses = tuple(replace(one, decision=known.get(one.side, UNDECIDED)) for one in responses)
    return RowView(row.index, row.prompt, responses, tuple(notes), pair=row.pair)


def with_gold(view: RowView, row: Row, gold: GoldReader | None) -> RowView:
    """The view with the row's gold labels; with the reason where they cannot be read."""
    if gold is None:
        return view
    try:
        labels = gold(row)
    except RowRejected as error:
        return replace(view, gold_error=f"{error.code}: {error.message}")
    texts = {one.side: response_text(one.content) for one in row.completions}
    responses = tuple(
        replace(one, gold=gold_spans(texts[one.side], labels.get(one.side, ()))) for one in view.responses
    )
    return replace(view, responses=responses)


def gold_spans(text: str, labels: Labels) -> tuple[GoldSpan, ...]:
    """Labels over the bytes of a text as spans of its code points."""
    byte = np.array([(label.start, label.end) for label in labels], dtype=np.int32).reshape(-1, 2)
    spans = code_points(text, byte.ravel()).reshape(-1, 2).tolist()
    return tuple(
        GoldSpan(start, end, label.reward, label.name) for (start, end), label in zip(spans, labels, strict=True)
    )


def cut_at_gold(text: str, start: int, gold: Iterable[GoldSpan]) -> list[tuple[str, GoldSpan | None]]:
    """Cut a stretch of a response text, which begins at code point ``start``, at the boundaries of gold spans."""
    pieces: list[tuple[str, GoldSpan | None]] = []
    position, end = start, start + len(text)
    for span in gold:
        first, last = max(span.start, position), min(span.end, end)
        if first < last:
            if position < first:
                pieces.append((text[position - start : first - start], None))
            pieces.append((text[first - start : last - start], span))
            position = last
    if position < end or not pieces:
        pieces.append((text[position - start :], None))
    return pieces


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


def _response_view(
    index: int, completion: Completion, annotations: Mapping[str, Any], prefix: str, recorded: str | None
) -> ResponseView:
    side, content = completion.side, completion.content
    text = recorded_text(content, recorded)

    def column(name: str) -> Any:
        try:
            return annotations[f"{prefix}{side}_{name}"]
        except KeyError as error:
            raise InputError(f"row {index}: there is no column {prefix}{side}_{name}") from error

    mask = column("mask")
    starts = list(column("seg_text_start"))
    if starts and starts[0] > 0:
        starts[0] = 0  # what the template leaves out before the first token is shown with it
    try:
        segments = cut_segments(text, starts, column("seg_reward"), column("seg_keep"))
    except InputError as error:
        raise InputError(f"row {index}, {side}: {error}") from error
    others = 0 if isinstance(content, str) else sum(not _is_assistant(message) for message in content)
    rewards = tuple(column("token_reward"))
    weights = annotations.get(f"{prefix}{side}_weight")
    return ResponseView(
        side,
        segments,
        column("reward"),
        len(mask),
        sum(mask),
        others,
        token_reward=rewards,
        weights=None if weights is None else tuple(weights),
    )


def _is_assistant(message: Mapping[str, Any]) -> bool:
    return bool(message.get("role") == "assistant")
