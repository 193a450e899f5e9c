from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import RowRejected
from asr_data.rows import Layout, labelled, normalise
from asr_data.types import Completion, Label, Row

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
        ([Q], "a", "b", ([Q], [A], [B])),
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


def test_blank_tools_are_none() -> None:
    record = {"prompt": [Q], "completion": [A], "tools": " "}
    assert normalise(0, record, COMPLETION).template_kwargs == {}


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
        ({"prompt": [Q], "chosen": [A]}, "wrong_type"),
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
        ({"chosen": [assistant(None, tool_calls=[{"arguments": {}}])]}, "wrong_type"),
        ({"chosen": [assistant(None, tool_calls="f")]}, "wrong_type"),
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


def layout(kind: str, **columns: str) -> Layout:
    return Layout.model_validate({"kind": kind, "columns": columns})


SCORED = layout("scored_completions", prompt="prompt", completions="answers.text", scores="answers.score")
RANKED = layout("ranked_completions", prompt="prompt", completions="completions", ranks="ranks")
TWO = layout("two_responses", prompt="context", response1="r1", response2="r2", preference="p")
ORDERED = layout("ordered_completions", instruction="instruction", completions="output")
ALPACA = layout(
    "preference",
    instruction="instruction",
    input="input",
    history="history",
    system="system",
    chosen="chosen",
    rejected="rejected",
)
CONVERSATION = layout("unpaired", messages="messages", label="label", system="system")


@pytest.mark.parametrize(
    ("scores", "chosen", "rejected"),
    [([2, 5.0, 1, 3], "y", "z"), ([1, 5, 5, 1], "y", "x"), ([0, 0, -1, 0], "x", "z")],
)
def test_the_best_and_the_worst_make_the_pair(scores: list[float], chosen: str, rejected: str) -> None:
    answers = [{"text": text, "score": score} for text, score in zip("xyzw", scores, strict=True)]
    assert parts(normalise(0, {"prompt": "p", "answers": answers}, SCORED)) == ("p", chosen, rejected)


def test_the_lowest_rank_is_the_best() -> None:
    row = normalise(0, {"prompt": [Q], "completions": [[A], [B], [A2]], "ranks": [2, 1, 3]}, RANKED)
    assert parts(row) == ([Q], [B], [A2])


@pytest.mark.parametrize(
    ("completions", "ranks", "code"),
    [
        (["x", "y"], [1, 1], "no_preference"),
        (["x"], [1], "no_preference"),
        ([], [], "no_preference"),
        (["x", "y"], [1], "wrong_type"),
        (["x", "y"], [1, None], "missing_column"),
        (["x", "y"], [1, float("nan")], "wrong_type"),
        (["x", "y"], [1, True], "wrong_type"),
        (["x", "y"], 1, "wrong_type"),
        (["x", "y"], None, "missing_column"),
        (["x", None], [1, 2], "wrong_type"),
        ("xy", [1, 2], "wrong_type"),
        (["x", "x"], [1, 2], "identical_sides"),
        (["x", ""], [1, 2], "empty_response"),
    ],
)
def test_bad_completions(completions: Any, ranks: Any, code: str) -> None:
    assert rejection({"prompt": "p", "completions": completions, "ranks": ranks}, RANKED) == code


@pytest.mark.parametrize(("preference", "expected"), [(-3, ([A], [B])), (1, ([B], [A])), (0.5, ([B], [A]))])
def test_two_responses(preference: float, expected: tuple[Any, ...]) -> None:
    record = {"context": [Q], "r1": "a", "r2": "b", "p": preference}
    assert parts(normalise(0, record, TWO)) == ([Q], *expected)
    assert rejection({**record, "p": 0}, TWO) == "no_preference"
    assert rejection({**record, "p": None}, TWO) == "missing_column"
    assert rejection({**record, "p": "1"}, TWO) == "wrong_type"


def test_two_completions_in_order() -> None:
    assert parts(normalise(0, {"instruction": "q", "output": ["a", "b"]}, ORDERED)) == ([Q], [A], [B])
    assert rejection({"instruction": "q", "output": ["a", "b", "c"]}, ORDERED) == "wrong_type"
    assert rejection({"instruction": "q", "output": ["a"]}, ORDERED) == "wrong_type"


def test_alpaca() -> None:
    record = {"instruction": "q", "input": "", "history": None, "system": None, "chosen": "a", "rejected": "b"}
    assert parts(normalise(0, record, ALPACA)) == ([Q], [A], [B])
    whole = {**record, "input": "in", "history": [["q2", "a2"]], "system": "s"}
    assert parts(normalise(0, whole, ALPACA)) == ([system("s"), Q2, A2, user("q\nin")], [A], [B])
    assert parts(normalise(0, {**record, "instruction": "", "input": "in"}, ALPACA)) == ([user("in")], [A], [B])
    for change, code in [
        ({"instruction": "", "history": [["q2", "a2"]]}, "empty_prompt"),
        ({"instruction": None}, "missing_column"),
        ({"instruction": 5}, "wrong_type"),
        ({"input": 5}, "wrong_type"),
        ({"history": [["q2"]]}, "wrong_type"),
        ({"history": [["q2", None]]}, "wrong_type"),
        ({"system": "s\0"}, "nul_byte"),
    ]:
        assert rejection({**record, **change}, ALPACA) == code


def test_a_conversation_ends_with_its_completion() -> None:
    record = {"messages": [Q, A, Q2, A2], "label": True, "system": ""}
    row = normalise(0, record, CONVERSATION)
    assert (parts(row), row.completions[0].preferred) == (([Q, A, Q2], [A2]), True)
    assert parts(normalise(0, {**record, "system": "s"}, CONVERSATION))[0] == [system("s"), Q, A, Q2]
    repeated = {**record, "messages": [system("s"), Q, A], "system": "s"}
    assert parts(normalise(0, repeated, CONVERSATION))[0] == [system("s"), Q]
    assert rejection({**repeated, "system": "other"}, CONVERSATION) == "prompt_mismatch"
    for messages, code in [
        ([Q, A, Q2], "last_turn_not_assistant"),
        ([A], "empty_prompt"),
        ([], "empty_response"),
        (None, "missing_column"),
        ("text", "wrong_type"),
    ]:
        assert rejection({**record, "messages": messages}, CONVERSATION) == code
    assert rejection({**record, "messages": [A], "system": "s"}, CONVERSATION) == "empty_prompt"


def test_texts_become_messages_beside_a_system_message() -> None:
    texts = layout("preference", prompt="prompt", chosen="chosen", rejected="rejected", system="system")
    record = {"prompt": "q", "chosen": "a", "rejected": "b", "system": "s"}
    assert parts(normalise(0, record, texts)) == ([system("s"), Q], [A], [B])
    assert parts(normalise(0, {**record, "system": " "}, texts)) == ("q", "a", "b")
    assert rejection({**record, "prompt": ""}, texts) == "empty_prompt"


def said(speaker: Any, value: Any) -> dict[str, Any]:
    return {"from": speaker, "value": value}


def test_sharegpt_messages() -> None:
    call = '{"name": "f", "arguments": {"x": 1}}'
    conversation = [
        said("system", "s"),
        {**said("human", "q"), "role": None},
        said("function_call", call),
        said("observation", "1"),
        said("gpt", "a"),
        said("user", "q2"),
        said("function_call", f"[{call}, {call}]"),
        said("tool", "2"),
    ]
    record = {"prompt": conversation, "chosen": said("assistant", "a2"), "rejected": [said("gpt", "b")]}
    function = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert parts(normalise(0, record, PREFERENCE)) == (
        [
            system("s"),
            Q,
            assistant(None, tool_calls=[function]),
            {"role": "tool", "content": "1"},
            A,
            Q2,
            assistant(None, tool_calls=[function, function]),
            {"role": "tool", "content": "2"},
        ],
        [A2],
        [B],
    )


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (said("bot", "a"), "wrong_type"),
        (said(["gpt"], "a"), "wrong_type"),
        (said("gpt", None), "wrong_type"),
        (said("gpt", 5), "wrong_type"),
        (said("function_call", "{"), "invalid_json"),
        (said("function_call", "[]"), "wrong_type"),
        (said("function_call", '{"arguments": {}}'), "wrong_type"),
        (said("function_call", "5"), "wrong_type"),
    ],
)
def test_bad_sharegpt_messages(message: dict[str, Any], code: str) -> None:
    assert rejection({"prompt": [Q], "chosen": [message, A], "rejected": [B]}, PREFERENCE) == code


def test_labels_of_a_column() -> None:
    marked = Layout(
        kind="preference",
        columns={"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "rejected_labels": "marks"},
        label_units={"rejected_labels": "scores"},
    )
    row = normalise(0, {"prompt": "p", "chosen": "c", "rejected": "One. Two.", "marks": [True, None]}, marked)
    assert [completion.labels for completion in row.completions] == [None, (Label(0, 5, 1.0, "true"),)]
    assert rejection({"prompt": "p", "chosen": "c", "rejected": "One.", "marks": [1, 2]}, marked) == "label_mismatch"


def test_a_format_with_labels_is_read_by_its_own_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    completion = Completion("completion", "c", preferred=False, labels=(Label(0, 1, 1.0),))

    def read(record: Mapping[str, Any]) -> tuple[str, tuple[Completion, ...]]:
        return record["question"], (completion,)

    made_up = labelled.LabelledFormat("made-up", "", "", ("completion",), lambda *_: True, read)
    monkeypatch.setattr(labelled, "FORMATS", {"made-up": made_up})
    by_format = Layout(kind="labelled", columns={}, format="made-up")
    row = normalise(4, {"question": "q"}, by_format)
    assert (row.index, row.prompt, row.completions) == (4, "q", (completion,))
    assert rejection({"question": ""}, by_format) == "empty_prompt"


def test_bad_extras() -> None:
    record = {"prompt": "p", "completion": "c"}
    assert rejection({**record, "tools": "{"}, COMPLETION) == "invalid_json"
    assert rejection({**record, "chat_template_kwargs": [1]}, COMPLETION) == "wrong_type"
    assert rejection({**record, "label": 2}, UNPAIRED) == "wrong_type"
    assert rejection({**record, "label": 1.0}, UNPAIRED) == "wrong_type"
    assert rejection(record, UNPAIRED) == "missing_column"
