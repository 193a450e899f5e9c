"""Where quotes stand: by hand, in other spellings, in several places, and nowhere."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.critique.locate import Claim, Quotable, locate
from asr_data.critique.normal import clusters


def placed(text: str, *quotes: str) -> list[object]:
    """The words at each place, or why there is none."""
    spans = locate(Quotable(text), [Claim(quote) for quote in quotes])
    return [span if isinstance(span, str) else text[slice(*span)] for span in spans]


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("It is five.", "five", "five"),
        ("It is five.", " five ", "five"),
        ("two\nlines  apart", "two lines apart", "two\nlines  apart"),
        ("two lines", "two\n\t lines", "two lines"),
        ("a no\u00a0break", "no break", "no\u00a0break"),
        ("Cafe\u0301 noir", "Café noir", "Cafe\u0301 noir"),
        ("Café noir", "Cafe\u0301 noir", "Café noir"),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8 is Korea", "한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("the ﬁnal answer", "final answer", "ﬁnal answer"),
        ("ＡＢＣ １２", "ABC 12", "ＡＢＣ １２"),
        ("x² + y", "x2 + y", "x² + y"),
        ("“No”, she said", '"No", she said', "“No”, she said"),
        ("It’s so", "It's so", "It’s so"),
        ("1939–1945 — a war", "1939-1945 - a war", "1939–1945 — a war"),
        ("wait…", "wait...", "wait…"),
        ("zero\u200bwidth and so\u00adft", "zerowidth and soft", "zero\u200bwidth and so\u00adft"),
        ("I \u2764\ufe0f it", "I \u2764 it", "I \u2764\ufe0f it"),
        ("👩\u200d🚀 flies", "👩\u200d🚀 flies", "👩\u200d🚀 flies"),
        ("𝔸 is 𝟙", "𝔸 is 𝟙", "𝔸 is 𝟙"),
        ("he said so", '"he said so"', "he said so"),
        ("he said so", "“he said so”", "he said so"),
        ("is \\frac{1}{2} or \\times", "\frac{1}{2}", "\\frac{1}{2}"),
        ("a \\times b", "a \times b", "a \\times b"),
        ("\\neq 0", "\neq 0", "\\neq 0"),
        # not there
        ("It is five.", "It is six.", None),
        ("It is five.", "it is five", None),
        ("It is five.", "", None),
        ("It is five.", " \n", None),
        ("It is five.", "\u200b", None),
        ("The capital is Sydney.", "The capital … Sydney", None),
        ("Cafe\u0301 noir", "Cafe noir", None),
        ("half is ½", "2", None),
        ("wait…", "wait.", None),
        ("the ﬁnal", "inal", None),
        ("", "a", None),
    ],
)  # fmt: skip
def test_one_quote(text: str, quote: str, found: str | None) -> None:
    assert placed(text, quote) == [found or "not_found"]


def test_offsets_are_code_points() -> None:
    text = "👩\u200d🚀 Cafe\u0301 is five"
    assert locate(Quotable(text), [Claim("Café"), Claim("five")]) == [(4, 9), (13, 17)]
    assert (text[4:9], text[13:17]) == ("Cafe\u0301", "five")


def spans(text: str, *claims: Claim | str) -> list[object]:
    return list(locate(Quotable(text), [Claim(one) if isinstance(one, str) else one for one in claims]))


def test_a_quote_that_stands_twice_is_not_guessed() -> None:
    assert spans("a cat, a dog", "a") == ["ambiguous"]
    assert spans("a cat, a dog", Claim("a", "no such context")) == ["ambiguous"]
    assert spans("a cat, a cat", Claim("a", "a cat")) == ["ambiguous"]
    assert spans("aaa", "aa") == ["ambiguous"]  # overlapping occurrences are two


def test_context_decides() -> None:
    assert spans("a cat, a dog", Claim("a", "a dog")) == [(7, 8)]
    assert spans("a cat, a\ndog", Claim("a", ", a dog")) == [(7, 8)]
    assert spans("it is it", Claim("it", "is it")) == [(6, 8)]


def test_order_decides_between_sure_neighbours() -> None:
    text = "x one x two x three"
    assert spans(text, "one", "x", "two") == [(2, 5), (6, 7), (8, 11)]
    assert spans(text, "x", "one") == [(0, 1), (2, 5)]
    assert spans(text, "two", "x") == [(8, 11), (12, 13)]
    assert spans(text, "one", "x") == [(2, 5), "ambiguous"]
    assert spans(text, "one", "x", "x") == [(2, 5), (6, 7), (12, 13)]


def test_order_says_nothing_where_faults_are_not_in_order() -> None:
    assert spans("x one x two x three", "two", "one", "x") == [(8, 11), (2, 5), "ambiguous"]


def test_as_many_equal_quotes_as_occurrences_are_all_of_them() -> None:
    assert spans("a b a b a", "a", "a", "a") == [(0, 1), (4, 5), (8, 9)]
    assert spans("a b a b a", "a", "a") == ["ambiguous", "ambiguous"]
    assert spans("no no", "no", "no", "no") == ["ambiguous"] * 3


def test_a_word_that_is_everywhere_is_hopeless() -> None:
    assert spans("e " * 10_000, "e", "e") == ["ambiguous", "ambiguous"]


@given(st.text(max_size=40))
def test_clusters_are_the_text(text: str) -> None:
    pieces = list(clusters(text))
    assert "".join(text[start:end] for start, end in pieces) == text
    assert all(start < end for start, end in pieces)


VISIBLE = st.characters(
    codec="utf-8", exclude_categories=("Cc", "Cf"), exclude_characters="".join(map(chr, range(0xFE00, 0xFE10)))
)
"""Characters that cannot be seen are left out at the ends of what is found."""


@given(st.text(VISIBLE, max_size=30), st.data())
def test_a_piece_in_any_form_is_found_where_it_is(text: str, data: st.DataObject) -> None:
    edges = [start for start, _ in clusters(text)] + [len(text)]
    start, end = sorted(data.draw(st.tuples(st.sampled_from(edges), st.sampled_from(edges))))
    piece = text[start:end]
    if not piece.strip():
        return
    found = Quotable(text).occurrences(piece)
    inner = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
    assert inner in found
    for form in ("NFC", "NFD"):
        spelled = unicodedata.normalize(form, piece)
        if spelled != piece and spelled not in text:
            whole = Quotable(text).occurrences(spelled)
            assert any(a <= inner[0] and inner[1] <= b for a, b in whole) or not whole
