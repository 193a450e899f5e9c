"""Words that two answers share, by hand: ``_`` marks the words that the other answer lacks."""

from __future__ import annotations

import numpy as np
import pytest

from asr_data.text.shared_words import shared_words
from asr_data.types import WordUnit


def marked(first: str, second: str, unit: WordUnit = "auto") -> tuple[list[str], list[str]]:
    out: list[list[str]] = []
    for text, words in zip((first, second), shared_words(first, second, unit), strict=True):
        ends = words.end.tolist()
        assert "".join(text[a:b] for a, b in zip([0, *ends], ends, strict=False)) == text[: ends[-1] if ends else 0]
        out.append(
            [("" if s else "_") + text[a:b] for a, b, s in zip([0, *ends], ends, words.shared.tolist(), strict=False)]
        )
    return out[0], out[1]


def words_of(text: str, unit: WordUnit = "auto") -> list[str]:
    return marked(text, text, unit)[0]


def test_other_words_and_case() -> None:
    assert marked("The cat sat.", "A DOG, the CAT! ") == (
        ["The", " cat", "_ sat", "_."],
        ["_A", "_ DOG", "_,", " the", " CAT", "_! "],
    )


def test_moved_sentences_are_shared() -> None:
    first, second = "First do this. Then do that thing.", "Then do that thing. First do this."
    found = marked(first, second)
    assert not [word for side in found for word in side if word.startswith("_")]


def test_a_moved_word_or_two_are_not() -> None:
    """Two words make no block: a subsequence keeps ``tea and``, or ``milk``, never both."""
    found = marked("tea and milk", "milk tea and")
    assert found == (["tea", " and", "_ milk"], ["_milk", " tea", " and"])


def test_a_block_said_twice_is_shared_once() -> None:
    """The end is common, so that the subsequence has the last of the three."""
    first, second = marked("x no way out. y no way out.", "z no way out.")
    assert first == ["_x", "_ no", "_ way", "_ out", "_.", "_ y", " no", " way", " out", "."]
    assert second == ["_z", " no", " way", " out", "."]


def test_a_block_moved_into_both_copies() -> None:
    """The other answer has it once, at a place that nothing else is matched with: both copies have been moved there."""
    first, _ = marked("a b c 1 2 3 4 5 a b c", "1 2 3 4 5 x", "auto")
    assert first == ["_a", "_ b", "_ c", " 1", " 2", " 3", " 4", " 5", "_ a", "_ b", "_ c"]
    _, second = marked("1 2 3 4 5 a b c 6 7 8 9", "a b c 1 2 3 4 5 6 7 8 9 a b c")
    assert second == ["a", " b", " c", " 1", " 2", " 3", " 4", " 5", " 6", " 7", " 8", " 9", " a", " b", " c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't pay 3.14, it’s 1,000.", ["Don't", " pay", " 3.14", ",", " it’s", " 1,000", "."]),
        ("'tis x=-2.", ["'", "tis", " x", "=", "-", "2", "."]),
        ("the dogs' 5. No", ["the", " dogs", "'", " 5", ".", " No"]),
        ("京都は。ラーメン", ["京", "都", "は", "。", "ラ", "ー", "メ", "ン"]),
        ("ที่นี่ GPU3", ["ที่", "นี่", " GPU3"]),
        ("안녕 하세요", ["안녕", " 하세요"]),
        ("हिन्दी में", ["हिन्दी", " में"]),
        ("👨‍👩‍👧 👍🏽!", ["👨‍👩‍👧", " 👍🏽", "!"]),
        ("a\u0301b \u0301", ["a\u0301b", " \u0301"]),
        ("  one \n two\n", ["  one", " \n two\n"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_forms_of_one_character_are_equal() -> None:
    assert marked("Cafe\u0301", "CAF\u00c9") == (["Cafe\u0301"], ["CAF\u00c9"])
    assert marked("x² ½", "x2 1") == (["_x²", "_ ½"], ["_x2", "_ 1"])


def test_code_between_fences_is_tokens_that_mind_their_case() -> None:
    first = "Use it:\n```python\nif a_b <= 2.5e3: X += y->z\n```\nIf"
    assert words_of(first)[2:] == [
        ":", "\n`", "`", "`", "python", "\nif", " a_b", " <=", " 2.5e3", ":", " X", " +=", " y", "->", "z",
        "\n`", "`", "`", "\nIf",
    ]  # fmt: skip
    second = first.replace("X", "x").replace("<=", "<").replace("\nIf", "\nIF")
    assert [word for word in marked(first, second)[0] if word.startswith("_")] == ["_ <=", "_ X"]


def test_a_fence_that_is_not_closed_and_one_that_tildes_close() -> None:
    assert words_of("~~~\na_b\n~~~\na_b\n```\nc_d") == [
        "~", "~", "~", "\na_b", "\n~", "~", "~", "\na", "_", "b", "\n`", "`", "`", "\nc_d",
    ]  # fmt: skip


def test_units() -> None:
    assert words_of("ab c_d", "character") == ["a", "b", " c", "_", "d"]
    assert words_of("ab c_d != E", "code") == ["ab", " c_d", " !=", " E"]
    assert marked("E", "e", "code") == (["_E"], ["_e"])


@pytest.mark.parametrize("text", ["", " \n "])
def test_text_without_words(text: str) -> None:
    nothing, word = shared_words(text, "word")
    assert (nothing.end.tolist(), nothing.shared.tolist()) == ([], [])
    assert (word.end.tolist(), word.shared.tolist()) == ([4], [False])


def test_a_hundred_thousand_words() -> None:
    """A table of this size would have 10 thousand million cells: 10 GB as bytes."""
    numbers = np.random.default_rng(0).integers(0, 20_000, (2, 100_000))
    first, second = (" ".join(map(str, row)) for row in numbers.tolist())
    found = shared_words(first, f"{second} {first[:3000]}")
    assert [words.end.size for words in found] == [100_000, 100_000 + len(first[:3000].split())]
    assert all(0 < words.shared.mean() < 0.2 for words in found)
