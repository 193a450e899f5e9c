from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asr_data.training.examples import (
    Label,
    as_messages,
    byte_offsets,
    group_of,
    labels_from_characters,
    response_text,
)


def test_group_is_the_first_user_turn_whatever_its_spacing_and_case() -> None:
    question = [{"role": "user", "content": "How are you?"}]
    talk = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": " how  are\nyou? "},
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "And now?"},
    ]
    assert group_of("How are you?") == group_of(question) == group_of(talk)
    assert group_of("How are you?") != group_of("Who are you?")
    # sha256sum of "how are you?": fixed for ever, or the figures of a seed would move
    assert group_of("how are you?") == "f0b380c58db9fc81"


def test_group_without_a_user_is_all_text() -> None:
    assert group_of([{"role": "system", "content": "a"}, {"role": "system", "content": "b"}]) == group_of("a\nb")


def test_messages_and_text() -> None:
    assert as_messages("hi", "user") == [{"role": "user", "content": "hi"}]
    turns = [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]
    assert as_messages(turns, "user") == turns
    assert response_text(turns) == "ac"
    assert response_text("ac") == "ac"


def test_byte_offsets_by_hand() -> None:
    # a: 1 byte, é: 2, 中: 3, 😀: 4
    assert byte_offsets("aé中😀", [0, 1, 2, 3, 4]) == [0, 1, 3, 6, 10]
    assert byte_offsets("plain", [5, 0]) == [5, 0]


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.data())
def test_labels_cut_the_same_text_from_the_bytes(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    (label,) = labels_from_characters(text, [(start, end, 0.5)])
    assert text.encode()[label.start : label.end].decode() == text[start:end]


def test_labels_keep_their_targets() -> None:
    assert labels_from_characters("é.", [(0, 1, 0.0), (1, 2, 1.0)]) == (Label(0, 2, 0.0), Label(2, 3, 1.0))
