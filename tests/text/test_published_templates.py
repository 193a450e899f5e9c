"""Where the published chat templates put what the assistant wrote, and what is made of the rest."""

from __future__ import annotations

import copy
from datetime import date
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import pytest

from asr_data.text.align import AlignedResponse, align
from asr_data.text.project import project
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Completion, Row
from tests.text.published import SPECIALS, published
from tests.text.test_align import check_like_trl, row

USER = [{"role": "user", "content": "Rome?"}]
RESULT = {"role": "tool", "content": "sunny"}
CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'


def says(content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def calls(template: str, arguments: Any = None) -> list[dict[str, Any]]:
    """One call in the form that the template takes: Mistral's wants an id, DeepSeek's arguments as JSON text."""
    given = {"city": "Rome"} if arguments is None else arguments
    function = {"name": "weather", "arguments": '{"city": "Rome"}' if template == "deepseek_r1" else given}
    return [{"type": "function", "function": function} | ({"id": "abcdefghi"} if template == "mistral" else {})]


def messages(template: str, scenario: str) -> list[dict[str, Any]]:
    call = calls(template)
    return {
        "content": [says("It is sunny.")],
        "reasoning": [says("It is sunny.", reasoning_content="I know.")],
        "think": [says("<think>\nI know.\n</think>\n\nIt is sunny.")],
        "call": [says(tool_calls=call)],
        "content, call": [says("I look.", tool_calls=call)],
        "reasoning, call": [says(reasoning_content="I need it.", tool_calls=call)],
        "call, result, content": [says(tool_calls=call), RESULT, says("It is sunny.")],
        "turns": [says("Yes."), {"role": "user", "content": "Sure?"}, says("It is sunny.")],
    }[scenario]


@cache
def tokenizer_of(template: str) -> Tokenizer:
    return published(template)


def aligned(template: str, completion: list[dict[str, Any]], **template_kwargs: Any) -> AlignedResponse:
    given = Row(0, {}, USER, (Completion("completion", completion, preferred=True),), template_kwargs)
    return align(given, tokenizer_of(template)).responses[0]


def shown(template: str, response: AlignedResponse) -> str:
    """The tokens' text: «bytes of the response», marks as they are, ⟦ends of turns⟧, {what others wrote}."""

    def form(token: int) -> str:
        if response.closing[token]:
            return "⟦%s⟧"
        if response.end[token] > response.start[token]:
            return "«%s»"
        return "%s" if response.written[token] else "{%s}"

    hf = tokenizer_of(template).hf
    parts = groupby(range(len(response.ids)), form)
    return "".join(how % hf.decode([response.ids[token] for token in tokens]) for how, tokens in parts)


QWEN_CALL = f"<tool_call>\n«{CALL}»\n</tool_call>"
LLAMA_CALL = '{"name": "«weather»", "parameters": «{"city": "Rome"}»}'
MISTRAL_CALL = '[TOOL_CALLS] [{"name": "«weather»", "arguments": «{"city": "Rome"}», "id": "abcdefghi"}]'
R1_CALL = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>«weather»\n```json\n"
    '«{"city": "Rome"}»\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
HARMONY_CALL = ' to=functions.«weather»<|channel|>commentary json<|message|>«{"city": "Rome"}»'
THOUGHT = "<think>\n«I know.»\n</think>\n\n"
NO_THOUGHT = "<think>\n\n</think>\n\n"
WHERE = [
    ("qwen3", "content", NO_THOUGHT + "«It is sunny.»⟦<|im_end|>\n⟧"),
    ("qwen3", "reasoning", THOUGHT + "«It is sunny.»⟦<|im_end|>\n⟧"),
    ("qwen3", "think", THOUGHT + "«It is sunny.»⟦<|im_end|>\n⟧"),
    ("qwen3", "call", NO_THOUGHT + QWEN_CALL + "⟦<|im_end|>\n⟧"),
    ("qwen3", "content, call", NO_THOUGHT + "«I look.»\n" + QWEN_CALL + "⟦<|im_end|>\n⟧"),
    ("qwen3", "reasoning, call", THOUGHT.replace("know", "need it") + QWEN_CALL + "⟦<|im_end|>\n⟧"),
    (
        "qwen3",
        "call, result, content",
        QWEN_CALL + "⟦<|im_end|>⟧{\n<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n}" + NO_THOUGHT + "«It is sunny.»⟦<|im_end|>\n⟧",
    ),
    ("llama31", "content", "«It is sunny.»⟦<|eot_id|>⟧"),
    ("llama31", "reasoning", "«It is sunny.»⟦<|eot_id|>⟧"),
    ("llama31", "call", LLAMA_CALL + "⟦<|eot_id|>⟧"),
    ("llama31", "content, call", LLAMA_CALL + "⟦<|eot_id|>⟧"),
    (
        "llama31",
        "call, result, content",
        LLAMA_CALL + "⟦<|eot_id|>⟧{<|start_header_id|>ipython<|end_header_id|>\n\nsunny<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n}«It is sunny.»⟦<|eot_id|>⟧",
    ),
    ("mistral", "content", " «It is sunny.»⟦</s>⟧"),
    ("mistral", "call", MISTRAL_CALL + "⟦</s>⟧"),
    ("mistral", "content, call", " «I look.»" + MISTRAL_CALL + "⟦</s>⟧"),
    (
        "mistral",
        "call, result, content",
        MISTRAL_CALL + '⟦</s>⟧{[TOOL_RESULTS] {"content": sunny}[/TOOL_RESULTS]} «It is sunny.»⟦</s>⟧',
    ),
    ("gemma", "content", "«It is sunny.»⟦<end_of_turn>\n⟧"),
    ("gemma", "content, call", "«I look.»⟦<end_of_turn>\n⟧"),
    ("gemma", "call", "⟦<end_of_turn>\n⟧"),
    ("deepseek_r1", "content", "«It is sunny.»⟦<｜end▁of▁sentence｜>⟧"),
    ("deepseek_r1", "think", "\n\n«It is sunny.»⟦<｜end▁of▁sentence｜>⟧"),
    ("deepseek_r1", "call", R1_CALL + "⟦<｜end▁of▁sentence｜>⟧"),
    ("deepseek_r1", "content, call", "«I look.»" + R1_CALL + "⟦<｜end▁of▁sentence｜>⟧"),
    (
        "deepseek_r1",
        "call, result, content",
        R1_CALL + "⟦<｜end▁of▁sentence｜>⟧{<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>sunny<｜tool▁output▁end｜>}"
        "<｜tool▁outputs▁end｜>«It is sunny.»⟦<｜end▁of▁sentence｜>⟧",
    ),
    ("harmony", "content", "<|channel|>final<|message|>«It is sunny.»⟦<|return|>⟧"),
    (
        "harmony",
        "reasoning",
        "<|channel|>analysis<|message|>«I know.»<|end|><|start|>assistant<|channel|>final<|message|>"
        "«It is sunny.»⟦<|return|>⟧",
    ),
    ("harmony", "call", HARMONY_CALL + "⟦<|call|>⟧"),
    (
        "harmony",
        "reasoning, call",
        "<|channel|>analysis<|message|>«I need it.»<|end|><|start|>assistant" + HARMONY_CALL + "⟦<|call|>⟧",
    ),
    (
        "harmony",
        "call, result, content",
        HARMONY_CALL
        + '⟦<|call|>⟧{<|start|>functions.weather to=assistant<|channel|>commentary<|message|>"sunny"<|end|>'
        "<|start|>assistant}<|channel|>final<|message|>«It is sunny.»⟦<|return|>⟧",
    ),
]


@pytest.mark.parametrize(("template", "scenario", "wanted"), WHERE)
def test_what_is_text_what_a_mark_and_what_ends_a_turn(template: str, scenario: str, wanted: str) -> None:
    response = aligned(template, messages(template, scenario))
    assert shown(template, response) == wanted
    assert (np.diff(response.start) >= 0).all()


@pytest.mark.parametrize(
    ("template", "scenario", "missing"),
    [
        ("llama31", "reasoning", ["I know."]),
        ("llama31", "content, call", ["I look."]),
        ("gemma", "call", [CALL]),
        ("deepseek_r1", "think", ["I know."]),
        ("qwen3", "reasoning, call", []),
        ("harmony", "reasoning", []),
    ],
)
def test_what_a_template_leaves_out_is_said(template: str, scenario: str, missing: list[str]) -> None:
    response = aligned(template, messages(template, scenario))
    raw = response.text.encode()
    assert [raw[start:end].decode() for start, end in response.missing] == missing


@pytest.mark.parametrize("scenario", ["content", "reasoning", "think", "call", "call, result, content", "turns"])
@pytest.mark.parametrize("template", SPECIALS)
@pytest.mark.filterwarnings("ignore:.*tokenized prompt is not a prefix:UserWarning")
def test_ids_are_those_that_trl_makes(template: str, scenario: str) -> None:
    given = row(USER, messages(template, scenario), messages(template, "content, call"))
    check_like_trl(copy.deepcopy(given), tokenizer_of(template))


def test_a_built_in_tool_of_llama_ends_with_the_message_and_not_with_the_turn() -> None:
    searched = [says(tool_calls=[{"function": {"name": "brave_search", "arguments": {"query": 'a "b"'}}}])]
    response = aligned("llama31", searched, builtin_tools=["brave_search"])
    wanted = '<|python_tag|>«brave_search».call(«query»="«a »"«b»"")⟦<|eom_id|>⟧'
    assert shown("llama31", response) == wanted
    raw = response.text.encode()
    covered = [raw[a:b] for a, b in zip(response.start, response.end, strict=True) if b > a]
    assert b"".join(covered) == b"brave_searchquerya b"


def test_several_calls_in_one_message_are_found_in_order() -> None:
    both = [says(tool_calls=calls("qwen3") + calls("qwen3", {"city": "Oslo", "days": 3}))]
    oslo = CALL.replace('"Rome"', '"Oslo", "days": 3')
    found = shown("qwen3", aligned("qwen3", both))
    assert found == f"{NO_THOUGHT}{QWEN_CALL}\n<tool_call>\n«{oslo}»\n</tool_call>⟦<|im_end|>\n⟧"


def test_arguments_that_are_json_text_stand_as_they_are() -> None:
    given = [says(tool_calls=calls("qwen3", '{"city":"Rom\\u0065"}'))]
    assert '«{"name": "weather", "arguments": {"city":"Rom\\u0065"}}»' in shown("qwen3", aligned("qwen3", given))


@pytest.mark.parametrize("form", ["value", "increment"])
def test_text_without_a_reward_leaves_its_marks_unknown_and_no_more(form: Any) -> None:
    # As a scorer of contents leaves it: the reasoning and the call are unknown, the content has 1.
    response = aligned("qwen3", [says("I look.", reasoning_content="I know.", tool_calls=calls("qwen3"))])
    text = response.text
    first, last = (len(text[:at].encode()) for at in (text.index("I look."), text.index("I look.") + 7))
    end = np.array([first, last, len(text.encode())], np.int32)
    rewards = ByteRewards(end, np.array([np.nan, 7.0, np.nan], np.float32), np.zeros(0, np.int32))
    values = project(rewards, response.start, response.end, form, response.takes)
    known = ~np.isnan(values)
    decoded = tokenizer_of("qwen3").hf.decode([i for i, own in zip(response.ids, known, strict=True) if own])
    assert decoded == "I look."
    assert values[known].sum() == pytest.approx(7.0 if form == "increment" else 49.0)


def test_marks_take_the_reward_of_the_text_that_they_open() -> None:
    response = aligned("qwen3", [says("I look.", tool_calls=calls("qwen3"))])
    border = len(response.text[: response.text.index("\n<tool_call>")].encode())
    end = np.array([border, len(response.text.encode())], np.int32)
    rewards = ByteRewards(end, np.array([1.0, -1.0], np.float32), np.zeros(0, np.int32))
    values = project(rewards, response.start, response.end, "value", response.takes)
    hf = tokenizer_of("qwen3").hf
    good = hf.decode([i for i, value in zip(response.ids, values, strict=True) if value == 1])
    assert good == f"{NO_THOUGHT}I look."


def test_a_field_that_nobody_knows_has_no_bytes_and_no_reward() -> None:
    tokenizer = tokenizer_of("gemma")
    before = tokenizer.hf.chat_template
    tokenizer.hf.chat_template = before.replace("| trim + '", "| trim + (message.sources or '') + '")
    try:
        response = aligned("gemma", [says("Sunny.", sources=" [Times]")])
    finally:
        tokenizer.hf.chat_template = before
    assert shown("gemma", response) == "«Sunny.» [Times]⟦<end_of_turn>\n⟧"
    rewards = ByteRewards(np.array([6], np.int32), np.array([1.0], np.float32), np.zeros(0, np.int32))
    values = project(rewards, response.start, response.end, "value", response.takes)
    assert np.isnan(values[6:14]).all()
    assert (values[[0, 5, 14, 15]] == 1).all()


def test_a_fixed_date_is_what_the_template_prints() -> None:
    tokenizer = tokenizer_of("llama31")
    tokenizer.date = date(2024, 2, 29)
    try:
        prompt = align(row(USER, [says("a")]), tokenizer).prompt_ids
    finally:
        tokenizer.date = None
    assert "Today Date: 29 Feb 2024\n" in tokenizer.hf.decode(prompt)
