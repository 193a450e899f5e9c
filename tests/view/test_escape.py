from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.view.escape import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "<U+001B>[31mred"),
        ("a\x00b\x7f\x9b", "a<U+0000>b<U+007F><U+009B>"),
        ("\r\n", "<U+000D>\n"),
        ("user\u202etxt.exe\u2066", "user<U+202E>txt.exe<U+2066>"),
        ("lone \ud800", "lone <U+D800>"),
        ("zero\u200bwidth\ufeff", "zero<U+200B>width<U+FEFF>"),
        ("tag \U000e0041", "tag <U+E0041>"),
        ("tab\tline\n日本 é 👩‍👩‍👧 [red]", "tab\tline\n日本 é 👩‍👩‍👧 [red]"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(codec=None), max_size=40))
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    left = visible(text)
    left.encode()  # lone surrogates cannot be encoded
    assert all(unicodedata.category(c) != "Cc" or c in "\n\t" for c in left)
    directions = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not any(unicodedata.bidirectional(c) in directions for c in left)
