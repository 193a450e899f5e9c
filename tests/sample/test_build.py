"""The source format of the sample: what it means, and what is refused."""

from __future__ import annotations

import pytest

from tests.sample.build import Pair, Span, marked, read


def test_brackets_become_offsets_in_code_points() -> None:
    text = "🚀 ⟦one⟧ e\u0301t ⟦wrong_fact: two: 2⟧⟦three⟧."
    spans = (Span(2, 5, "arithmetic"), Span(10, 16, "wrong_fact"), Span(16, 21, "arithmetic"))
    assert marked(text, "arithmetic") == ("🚀 one e\u0301t two: 2three.", spans)


@pytest.mark.parametrize("text", ["a ⟦b", "a b⟧", "⟦a ⟦b⟧⟧", "⟦⟧"])
def test_brackets_that_do_not_match_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="do not match"):
        marked(text, "arithmetic")


def test_a_pair_is_read() -> None:
    text = "=== de\n--- system\nKurz.\n--- user\nA?\n\nB?\n--- chosen\nJa.\n--- rejected\n⟦Nein.⟧ Ja.\n--- check\nx\n\n"
    (pair,) = read("code", text)
    prompt = (("system", "Kurz."), ("user", "A?\n\nB?"))
    assert pair == Pair("code", "de", prompt, "Ja.", "Nein. Ja.", (Span(0, 5, "code_bug"),), check="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n=== en\n", "before the first pair"),
        ("=== en\n--- chosen\na\n--- rejected\nb\n", "a prompt, chosen and rejected are needed"),
        ("=== en\n--- user\na\n--- chosen\nb\n", "a prompt, chosen and rejected are needed"),
        ("=== en\n--- user\na\n--- chosen\nb\n--- chosen\nc\n", "'chosen' is unknown or there twice"),
        ("=== en\n--- usr\na\n", "'usr' is unknown or there twice"),
    ],
)
def test_what_is_not_a_pair_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read("facts", text))
