from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import RowRejected
from asr_data.rows.labelled.spans import join_steps, mark_spans
from asr_data.types import Label

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
REWARDS = st.none() | st.sampled_from([0.0, 0.5, 1.0])


def covered(text: str, label: Label) -> str:
    return text.encode()[label.start : label.end].decode()


@given(
    steps=st.lists(st.tuples(TEXTS, REWARDS, st.sampled_from(["+", "-"])), min_size=1, max_size=6),
    separator=st.sampled_from(["\n", "\n\n", "\u2028"]),
)
def test_steps_are_covered_exactly(steps: list[tuple[str, float | None, str]], separator: str) -> None:
    known = [step for step in steps if step[1] is not None]
    if not known:
        with pytest.raises(RowRejected, match="no label"):
            join_steps(steps, separator)
        return
    text, labels = join_steps(steps, separator)
    assert text == separator.join(step for step, _, _ in steps)
    assert [(covered(text, label), label.reward, label.name) for label in labels] == known
    for label in labels:  # the very step, and not a text like it elsewhere
        before = text.encode()[: label.start].decode()
        assert not before or before.endswith(separator)


@given(data=st.data(), text=TEXTS)
def test_marks_decide_each_character(data: st.DataObject, text: str) -> None:
    edges = st.integers(0, len(text))
    marks = [
        (min(a, b), max(a, b), reward, name)
        for a, b, reward, name in data.draw(st.lists(st.tuples(edges, edges, REWARDS, st.sampled_from("xyz"))))
        if a != b
    ]
    # Character by character, by the rule's own words.
    expected: list[float | None] = []
    for position in range(len(text)):
        here = [reward for start, end, reward, _ in marks if start <= position < end]
        known = [reward for reward in here if reward is not None]
        expected.append(min(known) if known else None if here else 1.0)
    # White space of what nobody marked is unknown at its edges, where a mark or the end of the text is.
    marked = {position for start, end, _, _ in marks for position in range(start, end)}
    for positions in (range(len(text)), reversed(range(len(text)))):
        beside = True
        for position in positions:
            beside = position in marked or (beside and text[position].isspace())
            if beside and position not in marked:
                expected[position] = None
    if expected.count(None) == len(text):
        with pytest.raises(RowRejected, match="no label"):
            mark_spans(text, marks)
        return
    got: list[float | None] = [None] * len(text)
    position = 0
    for label in mark_spans(text, marks):
        assert position <= label.start < label.end
        position = label.end
        start = len(text.encode()[: label.start].decode())
        for character in range(start, start + len(covered(text, label))):
            got[character] = label.reward
    assert got == expected


def test_names_of_overlapping_marks() -> None:
    labels = mark_spans("abcdef", [(0, 3, 0.0, "x"), (2, 4, 0.0, "y"), (2, 5, 0.5, "z"), (2, 4, 0.0, "x")])
    assert [(label.start, label.end, label.reward, label.name) for label in labels] == [
        (0, 2, 0.0, "x"),
        (2, 4, 0.0, "x+y"),
        (4, 5, 0.5, "z"),
        (5, 6, 1.0, "correct"),
    ]
