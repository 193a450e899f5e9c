from __future__ import annotations

from typing import Any

import pytest

from asr_data.response import contents_text, response_text
from asr_data.view.server.units import as_json, span_of, units_in, units_of


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("It isn't so.", ["It", " ", "isn't", " ", "so", "."]),
        ("a\n\n b", ["a", "\n\n ", "b"]),
        ("日本語だ。Ja", ["日", "本", "語", "だ", "。", "Ja"]),
        ("x_1 = f(2)", ["x_1", " ", "=", " ", "f", "(", "2", ")"]),
        ("Größe 🙂", ["Größe", " ", "🙂"]),
        ("cafe\u0301s e\u0301tait", ["cafe\u0301s", " ", "e\u0301tait"]),
        ("👩🏽\u200d🚀!👍🏽❤\ufe0f", ["👩🏽\u200d🚀", "!", "👍🏽", "❤\ufe0f"]),
        ("🇫🇷🇩🇪", ["🇫🇷", "🇩🇪"]),
        ("हिन्दी में", ["हिन्दी", " ", "में"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("", []),
    ],
)
def test_units(text: str, units: list[str]) -> None:
    found = units_of(text)
    assert [unit.text for unit in found] == units
    assert "".join(units) == text
    assert [text[unit.start : unit.end] for unit in found] == units


def test_reasoning_and_calls_cannot_be_marked() -> None:
    content: Any = [
        {"role": "assistant", "content": "Well so.", "reasoning_content": "Let me think."},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "It is."},
    ]
    units = units_of(content)
    assert "".join(unit.text for unit in units) == response_text(content)
    markable = [unit for unit in units if unit.can_be_marked]
    assert [unit.text for unit in markable] == ["Well", "so", ".", "It", "is", "."]
    contents = contents_text(content)
    assert contents == "Well so.It is."
    assert [contents[unit.start : unit.end] for unit in markable] == ["Well", "so", ".", "It", "is", "."]


def test_units_and_spans() -> None:
    units = units_of("It is not so.")
    assert span_of(units, 1, 5) == (3, 9)  # white space at the ends is left out
    assert span_of(units, 1, 1) is None
    assert units_in(units, 3, 9) == (2, 4)
    assert units_in(units, 4, 5) == (2, 2)
    assert units_in(units, 2, 3) is None


def test_what_is_not_seen_is_written_out() -> None:
    texts = [unit[:2] for unit in as_json(units_of("a\u202eb c"))]
    assert texts == [["a", 1], ["<U+202E>", 1], ["b", 1], [" ", 0], ["c", 1]]


def test_units_know_their_sentence_and_line() -> None:
    units = as_json(units_of("It is 3.14, e.g. so. Well?\n\n- No."))
    found = {(text, sentence, line) for text, can, sentence, line in units if can}
    first = ["It", "is", "3", ".", "14", ",", "e", "g", "so"]
    assert found == {
        *((word, 0, 0) for word in first),
        *((word, 1, 0) for word in ("Well", "?")),
        *((word, 2, 1) for word in ("-", "No", ".")),
    }
    assert units_of("")[:] == []


def test_sentences_of_different_messages_are_different() -> None:
    content: Any = [
        {"role": "assistant", "content": "Well so", "reasoning_content": "Let me think."},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "it is"},
    ]
    numbers = [(unit.text, unit.sentence, unit.line) for unit in units_of(content) if unit.can_be_marked]
    assert numbers == [("Well", 0, 0), ("so", 0, 0), ("it", 1, 1), ("is", 1, 1)]
    assert {unit.sentence for unit in units_of(content) if unit.start == unit.end} == {-1}
