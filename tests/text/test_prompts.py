"""Prompts and tool results need no byte offsets: what a normaliser does to them costs no row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asr_data.text.align import align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Text
from tests.text.test_align import USER, check_like_trl, covered, row, says

DECOMPOSED = "Cafe\u0301 \u2581?"


@pytest.mark.parametrize("kind", ["byte_level_nfc", "nfkc", "metaspace_bpe", "byte_level"])
@pytest.mark.parametrize("prompt", [DECOMPOSED, [{"role": "user", "content": DECOMPOSED}]], ids=["text", "messages"])
def test_a_prompt_that_is_normalised(kind: str, prompt: Text, make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer(kind, "chatml")
    answers: list[Text] = ["Zwölf é.", "No."] if isinstance(prompt, str) else [says("Zwölf é."), says("No.")]
    given = row(prompt, *answers)
    check_like_trl(given, tokenizer)
    first, second = align(given, tokenizer).responses
    assert b"".join(covered(first)).decode() == "Zwölf é."
    assert b"".join(covered(second)) == b"No."


@pytest.mark.parametrize("kind", ["byte_level_nfc", "nfkc"])
def test_a_turn_of_others_that_is_normalised(kind: str, make_tokenizer: Callable[..., Tokenizer]) -> None:
    turns = [*says("One é."), {"role": "user", "content": DECOMPOSED}, *says("Two ö.")]
    tokenizer = make_tokenizer(kind, "chatml")
    check_like_trl(row(USER, turns, says("No")), tokenizer)
    response = align(row(USER, turns), tokenizer).responses[0]
    assert b"".join(covered(response)).decode() == "One é.Two ö."
