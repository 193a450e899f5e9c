from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import RowRejected
from asr_data.rows import Layout, normalise
from asr_data.types import Row

PREFERENCE = Layout(kind="preference", columns={role: role for role in ("prompt", "chosen", "rejected")})
IMPLICIT = Layout(kind="preference_implicit_prompt", columns={"chosen": "chosen", "rejected": "rejected"})
TRANSCRIPTS = Layout(kind="transcripts", columns={"chosen": "chosen", "rejected": "rejected"})
UNPAIRED = Layout(kind="unpaired", columns={role: role for role in ("prompt", "completion", "label")})
COMPLETION = Layout(
    kind="prompt_completion",
    columns={"prompt": "prompt", "completion": "completion"},
    tools_column="tools",
    template_kwargs_column="chat_template_kwargs",
)


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def parts(row: Row) -> tuple[Any, ...]:
    return row.prompt, *(completion.content for completion in row.completions)


def rejection(record: dict[str, Any], layout: Layout) -> str:
    with pytest.raises(RowRejected) as caught:
        normalise(0, record, layout)
    return caught.value.code


def test_preference_of_texts() -> None:
    record = {"prompt": "p", "chosen": " c ", "rejected": "r", "id": 7}
    row = normalise(3, record, PREFERENCE)
    assert (row.index, row.source) == (3, record)
    assert parts(row) == ("p", " c ", "r")
    assert [(c.side, c.preferred) for c in row.completions] == [("chosen", True), ("rejected", False)]


Q, A, B, Q2, A2 = user("q"), assistant("a"), assistant("b"), user("q2"), assistant("a2")


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "expected"),
    [
        ([Q], [A], [B], ([Q], [A], [B])),
        ([Q], A, B, ([Q], [A], [B])),  # a single message
        ([Q], [Q, A], [Q, B], ([Q], [A], [B])),  # the prompt repeated
        ("q", [A], [B], ([Q], [A], [B])),
        ("q", [Q, A], [Q, B], ([Q], [A], [B])),  # UltraFeedback
        ("q", [system("s"), Q, A], [system("s"), Q, B], ([system("s"), Q], [A], [B])),
        ("q", [Q, A, Q2, A2], [Q, A, Q2, B], ([Q, A, Q2], [A2], [B])),
    ],
)
def test_preference_of_messages(prompt: Any, chosen: Any, rejected: Any, expected: tuple[Any, ...]) -> None:
    row = normalise(0, {"prompt": prompt, "chosen": chosen, "rejected": rejected}, PREFERENCE)
    assert parts(row) == expected


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ([Q, A], [Q, B], ([Q], [A], [B])),
        ([Q, A, Q2, A2], [Q, A, Q2, B], ([Q, A, Q2], [A2], [B])),
        ([Q, A, Q2, A2], [Q, B], ([Q], [A, Q2, A2], [B])),  # parts before the last answer
        ([Q, A, Q2, A2], [Q, A], ([Q], [A, Q2, A2], [A])),  # one begins the other: its last message stays
    ],
)
def test_implicit_prompt_is_the_common_beginning(chosen: Any, rejected: Any, expected: tuple[Any, ...]) -> None:
    assert parts(normalise(0, {"chosen": chosen, "rejected": rejected}, IMPLICIT)) == expected


def trl_extract_prompt(chosen: list[Any], rejected: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """TRL 1.16's ``extract_prompt``, as it stands there, for message lists."""
    for idx in range(min(len(chosen), len(rejected))):
        if chosen[idx] != rejected[idx]:
            break
    return chosen[:idx], chosen[idx:], rejected[idx:]


TURNS = st.lists(st.sampled_from([Q, A, B, Q2]), max_size=4)


@given(shared=TURNS, left=TURNS, right=TURNS)
def test_implicit_prompt_is_trls(shared: list[Any], left: list[Any], right: list[Any]) -> None:
    chosen, rejected = [Q, *shared, *left, A], [Q, *shared, *right, B]
    expected = trl_extract_prompt(chosen, rejected)
    record = {"chosen": chosen, "rejected": rejected}
    if expected[0] and all(completion[0]["role"] == "assistant" for completion in expected[1:]):
        assert parts(normalise(0, record, IMPLICIT)) == expected
    else:
        assert rejection(record, IMPLICIT) == "prompt_mismatch"


def test_transcripts() -> None:
    record = {
        "chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: q2\n\nAssistant: a2",
        "rejected": "\n\nHuman: q\n\nAssistant: a\n\nHuman: q2\n\nAssistant: b",
    }
    assert parts(normalise(0, record, TRANSCRIPTS)) == ([Q, A, Q2], [A2], [B])


@pytest.mark.parametrize(("label", "expected"), [(True, True), (0, False), (1, True), ("False", False), ("1", True)])
def test_unpaired(label: Any, expected: bool) -> None:
    row = normalise(0, {"prompt": "p", "completion": "c", "label": label}, UNPAIRED)
    assert [(c.side, c.content, c.preferred) for c in row.completions] == [("completion", "c", expected)]


def test_prompt_completion_where_the_completion_repeats_a_text_prompt() -> None:
    row = normalise(0, {"prompt": "q", "completion": [Q, A, Q2, A2]}, COMPLETION)
    assert parts(row) == ([Q], [A, Q2, A2])
    assert row.completions[0].preferred is True


def test_nulls_that_arrow_adds_are_dropped_and_all_else_is_kept() -> None:
    call = {"function": {"name": "f", "arguments": {"x": 1, "y": None}}, "id": None}
    tool = {"role": "tool", "content": "1", "tool_calls": None, "name": "f"}
    completion = [assistant(None, tool_calls=[call]), tool, assistant("done", tool_calls=None)]
    row = normalise(0, {"prompt": [{**Q, "tool_calls": None}], "completion": completion}, COMPLETION)
    assert parts(row) == (
        [Q],
        [
            assistant(None, tool_calls=[{"function": {"name": "f", "arguments": {"x": 1}}}]),
            {"role": "tool", "content": "1", "name": "f"},
            assistant("done"),
        ],
    )


@pytest.mark.parametrize("tools", [[{"name": "f", "x": None}], '[{"name": "f"}]'])
def test_template_kwargs(tools: Any) -> None:
    record = {
        "prompt": [Q],
        "completion": [A],
        "tools": tools,
        "chat_template_kwargs": {"think": False, "z": None},
    }
    assert normalise(0, record, COMPLETION).template_kwargs == {"tools": [{"name": "f"}], "think": False}
    assert normalise(0, {"prompt": [Q], "completion": [A], "tools": None}, COMPLETION).template_kwargs == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompt": None}, "missing_column"),
        ({"chosen": None}, "missing_column"),
        ({"prompt": 5}, "wrong_type"),
        ({"prompt": " \n"}, "empty_prompt"),
        ({"chosen": ""}, "empty_response"),
        ({"rejected": " \n"}, "empty_response"),
        ({"rejected": "c"}, "identical_sides"),
        ({"chosen": "a\0b"}, "nul_byte"),
        ({"prompt": "a\0b"}, "nul_byte"),
        ({"chosen": "a\ud800"}, "invalid_unicode"),
        ({"prompt": [Q]}, "wrong_type"),
        ({"chosen": [A]}, "wrong_type"),
    ],
)
def test_bad_texts(change: dict[str, Any], code: str) -> None:
    assert rejection({"prompt": "p", "chosen": "c", "rejected": "r", **change}, PREFERENCE) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompt": []}, "empty_prompt"),
        ({"prompt": ""}, "empty_prompt"),
        ({"prompt": [user(" ")]}, "empty_prompt"),
        ({"prompt": "other", "chosen": [Q, A], "rejected": [Q, B]}, "prompt_mismatch"),
        ({"prompt": "q", "chosen": [Q], "rejected": [Q, B]}, "prompt_mismatch"),
        ({"chosen": []}, "empty_response"),
        ({"chosen": [Q], "rejected": [Q]}, "empty_response"),
        ({"chosen": [assistant("")]}, "empty_response"),
        ({"chosen": [assistant(None, tool_calls=[{"name": "f"}])]}, "empty_response"),
        ({"chosen": [B]}, "identical_sides"),
        ({"chosen": [A, Q2]}, "last_turn_not_assistant"),
        ({"chosen": [Q2, A]}, "prompt_mismatch"),
        ({"chosen": [{"role": None, "content": "a"}]}, "wrong_type"),
        ({"chosen": [assistant(None)]}, "wrong_type"),
        ({"chosen": [{"role": "assistant", "content": [{"type": "text"}]}]}, "wrong_type"),
        ({"chosen": ["a"]}, "wrong_type"),
        ({"chosen": 5}, "wrong_type"),
        ({"chosen": [assistant("a\0")]}, "nul_byte"),
        ({"chosen": [assistant("a", name="\ud800")]}, "invalid_unicode"),
    ],
)
def test_bad_messages(change: dict[str, Any], code: str) -> None:
    assert rejection({"prompt": [Q], "chosen": [A], "rejected": [B], **change}, PREFERENCE) == code


@pytest.mark.parametrize(
    ("chosen", "rejected", "code"),
    [
        ([Q, A], [Q, A], "identical_sides"),
        ([Q, A], [Q2, B], "prompt_mismatch"),
        ([A], [B], "prompt_mismatch"),
        ([Q, A, Q2, A2], [Q, A, Q, A2], "prompt_mismatch"),
        ([Q, A, Q2], [Q, B], "last_turn_not_assistant"),
        ([], [Q, B], "empty_response"),
        ("text", [Q, B], "wrong_type"),
    ],
)
def test_bad_implicit_prompts(chosen: Any, rejected: Any, code: str) -> None:
    assert rejection({"chosen": chosen, "rejected": rejected}, IMPLICIT) == code


def test_bad_transcripts() -> None:
    good = "\n\nHuman: q\n\nAssistant: a"
    assert rejection({"chosen": good, "rejected": "plain"}, TRANSCRIPTS) == "wrong_type"
    assert rejection({"chosen": good, "rejected": ""}, TRANSCRIPTS) == "empty_response"
    assert rejection({"chosen": good, "rejected": "\n\nHuman: q\n\nAssistant:"}, TRANSCRIPTS) == "empty_response"
    assert rejection({"chosen": good, "rejected": "\n\nHuman: q2\n\nAssistant: b"}, TRANSCRIPTS) == "prompt_mismatch"
    assert rejection({"chosen": good, "rejected": 5}, TRANSCRIPTS) == "wrong_type"


def test_bad_extras() -> None:
    record = {"prompt": "p", "completion": "c"}
    assert rejection({**record, "tools": "{"}, COMPLETION) == "invalid_json"
    assert rejection({**record, "chat_template_kwargs": [1]}, COMPLETION) == "wrong_type"
    assert rejection({**record, "label": 2}, UNPAIRED) == "wrong_type"
    assert rejection({**record, "label": 1.0}, UNPAIRED) == "wrong_type"
    assert rejection(record, UNPAIRED) == "missing_column"
