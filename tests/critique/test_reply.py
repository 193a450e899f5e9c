"""Replies of critics: what can be read, and what is of no use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asr_data.critique import reply as replies
from asr_data.critique.reply import MOST_FAULTS, Severity, read_faults, read_quotes
from asr_data.endpoints.replies import MalformedReplyError

FAULT = {"quote": "five", "context": "", "kind": "Fact", "severity": "Major", "reason": "It is four."}


def Claimed(quote: str, context: str, kind: str, severity: Severity | None, reason: str) -> replies.Claimed:
    return replies.Claimed(quote, context, kind, severity, reason, quote)


READ = Claimed("five", "", "fact", "major", "It is four.")


def read(reply: str) -> tuple[Claimed, ...]:
    return read_faults(reply, lambda text: text.replace("secret", "***"))


def of(*faults: Any, **more: Any) -> str:
    return json.dumps({"faults": list(faults), **more})


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (of(FAULT), (READ,)),
        (of(), ()),
        (f"Here:\n```json\n{of(FAULT)}\n```", (READ,)),
        (f"<think>{of()} no, wait</think>{of(FAULT)}", (READ,)),
        (of(FAULT) + of(FAULT), (READ,)),
        (of(FAULT).replace('"faults"', '" Faults "'), (READ,)),
        (of({"quote": "five"}), (Claimed("five", "", "other", None, ""),)),
        (of({**FAULT, "kind": None, "type": "two + one"}), (Claimed("five", "", "two_one", "major", "It is four."),)),
        (of({"quote": "a", "kind": "two words + one"}), (Claimed("a", "", "two_words_one", None, ""),)),
        (of({"quote": "a", "severity": "HIGH"}), (Claimed("a", "", "other", "critical", ""),)),
        (of({"quote": "a", "severity": 3, "context": 4, "reason": ["x"]}), (Claimed("a", "", "other", None, ""),)),
        (of({"quote": "a", "kind": "secret", "reason": "a secret"}), (Claimed("a", "", "other", None, "a ***"),)),
        ('{"faults": [{"quote": "\\( x \\)", "kind": "m"}]}', (Claimed("\\( x \\)", "", "m", None, ""),)),
        ('{"faults": [{"quote": "two\nlines", "kind": "m"}]}', (Claimed("two\nlines", "", "m", None, ""),)),
    ],
)  # fmt: skip
def test_what_can_be_read(reply: str, found: tuple[Claimed, ...]) -> None:
    assert read(reply) == found


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "no JSON object with faults"),
        ("I cannot review this.", "no JSON object with faults"),
        ("[]", "no JSON object with faults"),
        ('{"faults": [', "no JSON object with faults"),
        ('{"errors": []}', "no JSON object with faults"),
        ('{"faults": null}', "its faults were not a list"),
        ('{"faults": "none"}', "its faults were not a list"),
        ('{"faults": ["five"]}', "a fault in it had no quote"),
        ('{"faults": [{"kind": "fact"}]}', "a fault in it had no quote"),
        ('{"faults": [{"quote": null}]}', "a fault in it had no quote"),
        (of() + of(FAULT), "several lists of faults that differ"),
        (of(*[FAULT] * (MOST_FAULTS + 1)), "more than 500 faults"),
        ("{" * 100_000, "no JSON object with faults"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_of_no_use(reply: str, problem: str) -> None:
    with pytest.raises(MalformedReplyError, match=problem) as caught:
        read(reply)
    assert "five" not in str(caught.value)


@pytest.mark.parametrize("reply", ["", '{"quotes": ["a"]}', '{"quotes": ["a", null]}', '{"quotes": ["a", "b", "c"]}'])
def test_quotes_are_as_many_texts_as_were_asked_for(reply: str) -> None:
    with pytest.raises(MalformedReplyError):
        read_quotes(2, reply, str)
    assert read_quotes(2, '{"quotes": ["a", ""]}', str) == ("a", "")


def test_a_quote_is_kept_without_secrets() -> None:
    (found,) = read(of({"quote": "a secret"}))
    assert (found.quote, found.shown) == ("a secret", "a ***")
