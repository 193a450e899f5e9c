"""Tool calls go from the row through the chat template and come out as tokens, whatever form the row has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.text.align import align
from asr_data.types import Row

# Renders what Qwen's and Llama's templates do: the tools first, calls as JSON after the message's content.
TEMPLATE = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] or '' }}"
    "{% for c in m['tool_calls'] or [] %}<call>{{ c['function'] | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = {"name": "add", "arguments": {"a": 1, "b": 2}}
CALLS = [{"type": "function", "function": CALL}]
USER = {"role": "user", "content": "1 + 2?"}
OPENAI = [
    {"role": "assistant", "content": None, "tool_calls": CALLS},
    {"role": "tool", "content": "3"},
]
SHAREGPT = [
    {"from": "human", "value": "1 + 2?"},
    {"from": "function_call", "value": json.dumps(CALL)},
    {"from": "observation", "value": "3"},
]
# Another row, whose call has other arguments: Arrow gives each of the two the keys of both, as nulls.
OTHER_CALLS = [{"type": "function", "function": {"name": "say", "arguments": {"text": "x"}}, "id": "7"}]
OTHER = [USER, {"role": "assistant", "content": None, "tool_calls": OTHER_CALLS}, {"role": "tool", "content": "x"}]


def answer(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


PROMPT_TEXT = (
    "<|im_start|>tools\n"
    '[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]<|im_end|>\n'
    "<|im_start|>user\n1 + 2?<|im_end|>\n"
)
CALL_IN_RESPONSE = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>\n'
CALL_TEXT = (
    "<|im_start|>assistant\n"
    '<call>{"name": "add", "arguments": {"a": 1, "b": 2}}</call><|im_end|>\n'
    "<|im_start|>tool\n3<|im_end|>\n"
)


@pytest.mark.parametrize(
    "rows",
    [
        [  # OpenAI's fine-tuning form
            {
                "input": {"messages": [USER, *OPENAI], "tools": json.dumps(TOOLS)},
                "preferred_output": [answer("Three.")],
                "non_preferred_output": [answer("Four.")],
            },
            {
                "input": {"messages": OTHER, "tools": None},
                "preferred_output": [answer("x")],
                "non_preferred_output": [answer("y")],
            },
        ],
        [  # calls inside the completions
            {
                "prompt": [USER],
                "chosen": [*OPENAI, answer("Three.")],
                "rejected": [*OPENAI, answer("Four.")],
                "tools": TOOLS,
            },
            {"prompt": OTHER, "chosen": [answer("x")], "rejected": [answer("y")], "tools": None},
        ],
        [  # ShareGPT
            {
                "conversations": SHAREGPT,
                "chosen": {"from": "gpt", "value": "Three."},
                "rejected": {"from": "gpt", "value": "Four."},
                "tools": json.dumps(TOOLS),
            }
        ],
    ],
    ids=["openai", "in_completions", "sharegpt"],
)
def test_tool_calls_are_kept(rows: list[dict[str, Any]], make_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_source(path)
    row = next(read_rows(source, detect(source.schema, first_records(source)), 1))[0]
    assert isinstance(row, Row)
    tokenizer = make_tokenizer("byte_level", "chatml")
    before, tokenizer.hf.chat_template = tokenizer.hf.chat_template, TEMPLATE
    try:
        aligned = align(row, tokenizer)
    finally:
        tokenizer.hf.chat_template = before
    for response, text in zip(aligned.responses, ("Three.", "Four."), strict=True):
        whole = tokenizer.hf.decode([*aligned.prompt_ids, *response.ids])
        assert whole == f"{PROMPT_TEXT}{CALL_TEXT}<|im_start|>assistant\n{text}<|im_end|>\n"
        assert response.text.removeprefix(CALL_IN_RESPONSE) == text
        raw = response.text.encode()
        covered = b"".join(raw[s:e] for s, e in zip(response.start, response.end, strict=True))
        called = json.dumps(CALL).encode() if CALL_IN_RESPONSE in response.text else b""
        assert covered == called + text.encode()
