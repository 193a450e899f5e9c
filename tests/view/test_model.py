from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import InputError
from asr_data.types import Completion, Label, Row
from asr_data.view.model import GoldSpan, SegmentView, cut_at_gold, cut_segments, gold_spans, row_view

ANNOTATIONS = {
    "chosen_mask": [True, True, False],
    "chosen_token_reward": [0.5, 0.5, -1.0],
    "chosen_seg_text_start": [0, 2],
    "chosen_seg_reward": [0.5, -1.0],
    "chosen_seg_keep": [True, False],
    "chosen_reward": 0.25,
    "asr_notes": ["truncated"],
}


def test_offsets_count_code_points() -> None:
    found = cut_segments("é👍日本", [0, 2], [1.0, 2.0], [True, False])
    assert found == (SegmentView("é👍", 1.0, True), SegmentView("日本", 2.0, False))


def test_segments_without_text() -> None:
    texts = [part.text for part in cut_segments("ab", [0, 1, 1, 2], [0.0] * 4, [True] * 4)]
    assert texts == ["a", "", "b", ""]


@given(st.text(), st.data())
def test_segments_partition_the_text(text: str, data: st.DataObject) -> None:
    more = data.draw(st.lists(st.integers(0, len(text))))
    starts = [0, *sorted(more)]
    found = cut_segments(text, starts, [0.0] * len(starts), [True] * len(starts))
    assert "".join(part.text for part in found) == text


@pytest.mark.parametrize("starts", [[1], [0, 3], [0, 2, 1]])
def test_starts_that_do_not_partition(starts: list[int]) -> None:
    with pytest.raises(InputError, match="do not partition a text of 2 code points"):
        cut_segments("ab", starts, [0.0] * len(starts), [True] * len(starts))


def test_lists_of_different_length() -> None:
    with pytest.raises(InputError, match="1 segment starts, 2 rewards and 1 decisions"):
        cut_segments("ab", [0], [0.0, 1.0], [True])


def test_row_of_messages_shows_what_the_assistant_wrote() -> None:
    content = [
        {"role": "assistant", "content": "ab"},
        {"role": "tool", "content": "IGNORED"},
        {"role": "assistant", "content": "cd"},
    ]
    view = row_view(Row(7, {}, [], (Completion("chosen", content, True),)), ANNOTATIONS)
    (response,) = view.responses
    assert [part.text for part in response.segments] == ["ab", "cd"]
    assert (response.other_messages, response.tokens, response.kept_tokens) == (1, 3, 2)
    assert (view.index, view.notes, response.reward) == (7, ("truncated",), 0.25)


def test_unknown_rewards() -> None:
    annotations = ANNOTATIONS | {"chosen_seg_reward": [None, -1.0], "chosen_reward": None}
    (response,) = row_view(Row(7, {}, "p", (Completion("chosen", "abcd", True),)), annotations).responses
    assert (response.reward, [part.reward for part in response.segments]) == (None, [None, -1.0])


def test_prefix() -> None:
    annotations = {f"x_{name}": value for name, value in ANNOTATIONS.items()}
    row = Row(7, {}, "p", (Completion("chosen", "abcd", True),))
    assert row_view(row, annotations, prefix="x_").responses[0].segments[1].text == "cd"
    with pytest.raises(InputError, match="row 7: there is no column chosen_mask"):
        row_view(row, annotations)


def test_only_one_side() -> None:
    annotations = ANNOTATIONS | {k.replace("chosen", "rejected"): v for k, v in ANNOTATIONS.items()}
    both = (Completion("chosen", "abcd", True), Completion("rejected", "abcd", False))
    view = row_view(Row(0, {}, "p", both), annotations)
    assert [one.side for one in view.only("rejected").responses] == ["rejected"]


def test_gold_labels_count_bytes_and_spans_count_characters() -> None:
    labels = (Label(0, 2, 0.0, "é"), Label(3, 10, 1.0, "rest"))
    assert gold_spans("éa👍日", labels) == (GoldSpan(0, 1, 0.0, "é"), GoldSpan(2, 4, 1.0, "rest"))
    assert gold_spans("text", ()) == ()


def test_only_a_label_below_one_half_is_a_fault() -> None:
    assert [GoldSpan(0, 1, reward, "").faulty for reward in (-1.0, 0.49, 0.5, 1.0)] == [True, True, False, False]


def test_a_stretch_is_cut_at_gold() -> None:
    one, two = GoldSpan(1, 3, 0.0, "one"), GoldSpan(5, 9, 0.0, "two")
    text = "abcdefghij"
    assert cut_at_gold(text[0:4], 0, (one, two)) == [("a", None), ("bc", one), ("d", None)]
    assert cut_at_gold(text[2:6], 2, (one, two)) == [("c", one), ("de", None), ("f", two)]
    assert cut_at_gold(text[6:8], 6, (one, two)) == [("gh", two)]
    assert cut_at_gold(text[3:5], 3, (one, two)) == [("de", None)]
    assert cut_at_gold("", 4, (one, two)) == [("", None)]


@given(st.text(max_size=20), st.lists(st.integers(0, 20), min_size=4, max_size=4), st.integers(0, 20))
def test_pieces_are_the_text(text: str, borders: list[int], cut: int) -> None:
    a, b, c, d = sorted(borders)
    gold = (GoldSpan(a, b, 0.0, ""), GoldSpan(c, d, 0.0, ""))
    pieces = cut_at_gold(text[:cut], 0, gold) + cut_at_gold(text[cut:], min(cut, len(text)), gold)
    assert "".join(piece for piece, _ in pieces) == text
    marked = [place for place in range(len(text)) if any(span.start <= place < span.end for span in gold)]
    found = [span is not None for piece, span in pieces for _ in piece]
    assert [place for place, faulty in enumerate(found) if faulty] == marked
