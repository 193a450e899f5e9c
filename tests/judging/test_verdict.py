"""Replies of judges: what is taken for a verdict, and what is not."""

from __future__ import annotations

import pytest

from asr_data.judging.verdict import MalformedReplyError, Opinion, read_reply


@pytest.mark.parametrize(
    ("said", "order", "means"),
    [
        ("A", "as_given", "first"),
        ("B", "as_given", "second"),
        ("A", "swapped", "second"),
        ("B", "swapped", "first"),
        ("tie", "as_given", "tie"),
        ("tie", "swapped", "tie"),
        (" b ", "as_given", "second"),
        ("TIE", "swapped", "tie"),
    ],
)
def test_letters_become_columns(said: str, order: str, means: str) -> None:
    assert read_reply(f'{{"verdict": "{said}"}}', order).verdict == means  # type: ignore[arg-type]


def test_all_that_is_said() -> None:
    reply = '{"reason": "B is false.", "safety": "tie", "accuracy": "A", "helpfulness": "B", "verdict": "A"}'
    criteria = {"safety": "tie", "accuracy": "second", "helpfulness": "first"}
    assert read_reply(reply, "swapped") == Opinion("second", criteria, "B is false.")


@pytest.mark.parametrize(
    "reply",
    [
        'Here it is:\n```json\n{"verdict": "A"}\n```\nI hope this helps.',
        '<think>{not json} {"draft": 1}</think>{"verdict": "A", "reason": "{\\"verdict\\": \\"B\\"}"}',
        '{"verdict": "A"} and once more {"verdict": "A"}',
        '{"verdict": "A", "safety": "C", "accuracy": 1, "reason": null}',
        '{{"verdict": "A"}',
    ],
)
def test_a_verdict_is_found(reply: str) -> None:
    opinion = read_reply(reply, "as_given")
    assert (opinion.verdict, opinion.criteria) == ("first", {})


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "no JSON object"),
        ("A", "no JSON object"),
        ('"verdict": "A"', "no JSON object"),
        ('{"verdict": "A"', "no JSON object"),
        ('{"answer": {"verdict": "A"}}', "no JSON object"),
        ("[" * 100_000 + '{"a":' * 5_000, "no JSON object"),
        ('{"verdict": "both"}', "was not"),
        ('{"verdict": null}', "was not"),
        ('{"verdict": ["A"]}', "was not"),
        ('{"verdict": "A"} or {"verdict": "B"}', "several verdicts that differ"),
    ],
    ids=lambda text: text[:40],
)
def test_no_verdict_is_made_up(reply: str, problem: str) -> None:
    with pytest.raises(MalformedReplyError, match=problem):
        read_reply(reply, "as_given")
