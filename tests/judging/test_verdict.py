"""Replies of judges: what is taken for a verdict, and what is not."""

from __future__ import annotations

import json

import pytest

from asr_data.endpoints.replies import MalformedReplyError
from asr_data.judging.verdict import Opinion, Order, read_reply


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


@pytest.mark.parametrize(
    ("judged", "order", "means"),
    [
        ("[A]", "as_given", "first"),
        ("[A]", "swapped", "second"),
        ("A", "as_given", "first"),
        ("Assistant B", "as_given", "second"),
        ("assistant a", "swapped", "second"),
        ("[[B]]", "swapped", "first"),
        ("[Assistant A]", "as_given", "first"),
        ("**[A]**.", "as_given", "first"),
        (["B"], "as_given", "second"),
        ("[C]", "as_given", "tie"),
        ("[[C]]", "swapped", "tie"),
        ("Tie", "swapped", "tie"),
    ],
)
def test_the_form_of_the_paper(judged: object, order: Order, means: str) -> None:
    reply = json.dumps({"judge": judged, "tag": ["Safety"], "reason": "It warns."})
    assert read_reply(reply, order) == Opinion(means, {"safety": means}, "It warns.", ("safety",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", ["[A][B]", "A or B", "D", "", "[]", "neither", None, 1, True, ["A", "B"], [], {"a": 1}]
)
def test_what_the_form_of_the_paper_does_not_mean(value: object) -> None:
    with pytest.raises(MalformedReplyError, match=r'its judge was not "\[A\]", "\[B\]" or "\[C\]"'):
        read_reply(json.dumps({"judge": value}), "as_given")


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        (["Safety", "Accuracy"], ("safety", "accuracy")),
        ("Safety", ("safety",)),
        ("Safety, Accuracy", ("safety", "accuracy")),
        ("[Safety]; help | Tone/Style", ("safety", "helpfulness", "tone", "style")),
        ('["Safety", "Safety"]', ("safety",)),
        (["Tone", 1, None, ["x"], ""], ("tone",)),
        (None, ()),
        (5, ()),
        ({"a": 1}, ()),
        ("x" * 100, ("x" * 60,)),
        ([f"t{number}" for number in range(30)], tuple(f"t{number}" for number in range(20))),
    ],
    ids=repr,
)
def test_tags(tag: object, tags: tuple[str, ...]) -> None:
    for name in ("tag", "tags", "Tag"):
        opinion = read_reply(json.dumps({"judge": "[B]", name: tag}), "as_given")
        assert opinion.tags == tags
        assert opinion.criteria == {tag: "second" for tag in tags if tag in ("safety", "accuracy", "helpfulness")}


def test_both_forms_in_one_reply_have_to_agree() -> None:
    assert read_reply('{"verdict": "A", "judge": "[A]"}', "as_given").verdict == "first"
    with pytest.raises(MalformedReplyError, match="several verdicts that differ"):
        read_reply('{"verdict": "A", "judge": "[B]"}', "as_given")


def test_c_is_a_tie_in_the_form_of_the_paper_alone() -> None:
    with pytest.raises(MalformedReplyError, match="its verdict was not"):
        read_reply('{"verdict": "C"}', "as_given")


def test_a_long_value_takes_no_time() -> None:
    with pytest.raises(MalformedReplyError):
        read_reply(json.dumps({"judge": " [" * 1_000_000 + "x"}), "as_given")
