from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.boundaries import BoundaryKind, boundary_kinds, line_spans, sentence_spans, step_starts

LETTERS = {"i": "INSIDE_WORD", "w": "WORD", "c": "CLAUSE", "s": "SENTENCE", "l": "LINE"}


def layout(tokens):
    starts = np.cumsum([0, *(len(token) for token in tokens)])[:-1].astype(np.int32)
    return "".join(tokens), starts


@pytest.mark.parametrize(
    ("tokens", "kinds"),
    [
        (["The", " cat", "s", " sat", ".", " It", " slept"], "lwiwisw"),
        (["Yes", ",", " he", " said", ":", " no", ";", " well"], "licwicic"),
        (["A dog", ".", "\n", "It", "\n\nNew", " line", "\n", "\n", "Last"], "liillwiil"),
        (["Pi", " is", " 3", ".", "14", ",", " at", " 10", ":", "30"], "lwwiiicwii"),
        (["see", " e", ".", "g", ".", " this", ".", " J", ".", " Smith"], "lwiiiwisiw"),
        (["1", ".", " Boil", "\n", "2", ".", " Eat", " 1", ".", " Go"], "liwiliwwis"),
        (["He", " said", ' "', "no", '."', " Then", " (", "why", "?", ")", " So"], "lwwiiswwiis"),
        (["“", "No", ".”", " She", " left", "!", "]", " ok"], "lwiswiis"),
        (["end", ". ", "Then", "... ", "what"], "lisis"),
        (["他", "说", "：", "“", "好", "。", "”", "然后", "，", "走", "！", "好"], "lwicwiisicis"),
        (["مرحبا", "؟", " نعم", "،", " لا"], "lisic".replace(" ", "")),
        (["नमस्ते", "।", " कैसे"], "lis"),
        (["don", "'t", " a", "-", "b"], "liwii"),
        (["hi", " ", " there"], "liw"),
    ],
)
def test_kinds(tokens, kinds):
    text, starts = layout(tokens)
    found = boundary_kinds(text, starts)
    assert found.dtype == np.int8
    assert [BoundaryKind(int(kind)).name for kind in found] == [LETTERS[kind] for kind in kinds]


def test_several_tokens_of_one_character():
    # "ab. 😀c" with the emoji in two tokens, the first with the space, and an end token without text.
    text = "ab. 😀c"
    starts = np.array([0, 2, 3, 4, 5, 6], dtype=np.int32)
    assert boundary_kinds(text, starts).tolist() == [4, 0, 0, 3, 0, 0]
    assert boundary_kinds(text, np.array([0, 2, 4, 4, 5], dtype=np.int32)).tolist() == [4, 0, 3, 0, 0]
    assert boundary_kinds(text, np.array([0, 3, 3], dtype=np.int32)).tolist() == [4, 3, 0]


def test_odd_texts():
    assert boundary_kinds("", np.array([0], dtype=np.int32)).tolist() == [4]
    assert boundary_kinds("", np.empty(0, dtype=np.int32)).tolist() == []
    assert boundary_kinds("\ud800\ud800. x\x00", np.array([0, 2, 3], dtype=np.int32)).tolist() == [4, 0, 3]


def test_step_starts():
    text, starts = layout(["The", " cat", ",", " no", ".", " It", "\n", "New"])
    assert step_starts(text, starts).tolist() == [True, False, False, False, False, True, False, True]


def test_cuts_by_hand():
    text = "Dr. Who said: \u201cGo!\u201d Then he left\n\n  3.14 is pi"
    assert [text[start:end] for start, end in sentence_spans(text)] == [
        "Dr. ",
        "Who said: \u201cGo!\u201d ",
        "Then he left\n\n  ",
        "3.14 is pi",
    ]
    assert [text[start:end] for start, end in line_spans(text)] == [
        "Dr. Who said: “Go!” Then he left\n\n  ",
        "3.14 is pi",
    ]
    assert sentence_spans("走。好！") == [(0, 2), (2, 4)]
    assert sentence_spans(" \n ") == line_spans("") == []


@given(st.text(alphabet="a1. \n\r!é。”", max_size=12))
def test_cuts_are_the_whole_text(text):
    for cut in (line_spans(text), sentence_spans(text)):
        pieces = [text[start:end] for start, end in cut]
        assert "".join(pieces) == (text if text.strip() else "")
        assert all(piece.strip() for piece in pieces)
        assert all(not piece[0].isspace() for piece in pieces[1:])


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("1. Boil water.\n2. Add rice.", ["1. Boil water.\n", "2. Add rice."]),
        ("By e.g. J. Smith. Next", ["By e.g. J. Smith. ", "Next"]),
        ('He said "no." Then he left.', ['He said "no." ', "Then he left."]),
        ("Wait... what?!  So", ["Wait... ", "what?!  ", "So"]),
        ("  A list:\r\n- first\r\n- second.\n", ["  A list:\r\n", "- first\r\n", "- second.\n"]),
        ("ok\u2028next", ["ok\u2028", "next"]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("مرحبا؟ نعم", ["مرحبا؟ ", "نعم"]),
    ],
)
def test_sentences_by_hand(text, sentences):
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


@given(st.text(alphabet="ab1. \n!,。", max_size=20))
def test_sentences_are_the_steps_of_the_segmenter(text):
    steps = np.flatnonzero(step_starts(text, np.arange(len(text), dtype=np.int32)))
    found = [start for start, _ in sentence_spans(text)]
    head = len(text) - len(text.lstrip())
    assert found == ([0, *(int(step) for step in steps if step > head)] if text.strip() else [])
