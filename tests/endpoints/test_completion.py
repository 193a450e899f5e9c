"""Answers of servers: what is a chat completion, and what is taken from one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asr_data.endpoints.completion import NO_COMPLETION, Completed, read_completion


def body(message: Any = None, usage: Any = None, **choice: Any) -> bytes:
    message = {"role": "assistant", "content": "Hi."} if message is None else message
    return json.dumps({"choices": [{"message": message, **choice}], "usage": usage}).encode()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Hi."}, "Hi."),
        ({"content": ""}, ""),
        ({}, ""),
        ({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i."}]}, "Hi."),
        ({"content": "Hi.", "reasoning_content": "Hm."}, "Hi."),
    ],
)
def test_the_reply(message: Any, text: str) -> None:
    assert read_completion(body(message)) == Completed(text)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2}, (3, 2)),
        ({"prompt_tokens": 3}, (3, 0)),
        ({"prompt_tokens": None, "completion_tokens": 2.0}, (0, 2)),
        ({"prompt_tokens": -1, "completion_tokens": 1.5}, (0, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": "many"}, (0, 0)),
        ("many", (0, 0)),
        ([1, 2], (0, 0)),
        (None, (0, 0)),
    ],
)
def test_a_reply_is_not_lost_for_its_token_counts(usage: Any, counts: tuple[int, int]) -> None:
    assert read_completion(body(usage=usage)) == Completed("Hi.", *counts)


@pytest.mark.parametrize(("reason", "problem"), [("length", "it was cut off"), ("stop", None), (None, None), (7, None)])
def test_why_it_ended(reason: Any, problem: str | None) -> None:
    found = read_completion(body(finish_reason=reason)).problem
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [null]}',
        b'{"choices": "A"}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": "A"}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": {"verdict": "A"}}}]}',
        b'{"error": {"message": "no"}}',
        b"[" * 100_000,
        b"data: {}\n\n",
    ],
    ids=lambda answer: answer[:40],
)
def test_what_is_no_completion(answer: bytes) -> None:
    assert read_completion(answer) == Completed(problem=NO_COMPLETION)


@pytest.mark.parametrize(
    ("message", "reason", "problem", "reply"),
    [
        ({"content": None, "refusal": "I cannot."}, "stop", "the model refused to answer", "I cannot."),
        ({"content": "", "refusal": "I cannot."}, None, "the model refused to answer", "I cannot."),
        ({"content": ""}, "content_filter", "it was withheld by a filter of contents", ""),
    ],
)
def test_a_refusal_is_known_as_such(message: Any, reason: str | None, problem: str, reply: str) -> None:
    assert read_completion(body(message, finish_reason=reason)) == Completed(reply, problem=problem, is_refused=True)


@pytest.mark.parametrize("refusal", [None, "", 7, ["no"]])
def test_a_refusal_that_is_none(refusal: Any) -> None:
    assert read_completion(body({"content": "Hi.", "refusal": refusal})) == Completed("Hi.")
