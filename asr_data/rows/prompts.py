"""Where the prompt ends and the completions begin.

The prompt of a pair without a prompt column is what both conversations begin with, message by message, as
TRL's ``extract_prompt`` finds it; unlike there, what remains must begin and end with the assistant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from asr_data.errors import RowRejected
from asr_data.rows.messages import has_text
from asr_data.types import Message, Side, Text

Sides: TypeAlias = dict[Side, Text]


def extract_prompt(sides: Sides) -> tuple[list[Message], Sides]:
    """The prompt that two conversations share, and what is left of each.

    As in TRL, the last message of the shorter one is never part of the prompt.
    """
    chosen, rejected = (_as_messages(sides[side]) for side in ("chosen", "rejected"))
    if not chosen or not rejected:
        raise RowRejected("empty_response", "a conversation has no messages")
    if chosen == rejected:
        raise RowRejected("identical_sides", "the two conversations are the same")
    longest = min(len(chosen), len(rejected)) - 1
    shared = next((at for at in range(longest) if chosen[at] != rejected[at]), longest)
    if shared == 0:
        raise RowRejected("prompt_mismatch", "the two conversations do not begin with the same message")
    left: Sides = {"chosen": chosen[shared:], "rejected": rejected[shared:]}
    for side, messages in left.items():
        role = messages[0]["role"]  # type: ignore[index]
        if role != "assistant":
            raise RowRejected(
                "prompt_mismatch",
                f"the conversations diverge at message {shared}, which in {side} is by {role}, not by the assistant",
            )
    return chosen[:shared], left


def separate(prompt: Text, sides: Sides) -> tuple[Text, Sides]:
    """Prompt and completions of the same kind, where the completions may repeat the prompt.

    A completion of messages may begin with the prompt's messages, and so may one whose prompt is a text that
    is its first user message (UltraFeedback) or its last one (Capybara). A text prompt of completions that begin with
    the assistant is a user message, and a text response to a prompt of messages is the assistant's message.
    """
    if all(isinstance(content, str) for content in sides.values()):
        return prompt, sides if isinstance(prompt, str) else _by_assistant(sides)
    conversations = {side: _as_messages(content) for side, content in sides.items()}
    if not all(conversations.values()):
        raise RowRejected("empty_response", "a response has no messages")
    if isinstance(prompt, str):
        if all(messages[0]["role"] == "assistant" for messages in conversations.values()):
            return [{"role": "user", "content": prompt}] if prompt.strip() else [], {**conversations}
        for side, messages in conversations.items():
            if prompt not in [messages[at]["content"] for at in _first_and_last_request(messages)]:
                message = f"neither the first nor the last user message of {side} is the prompt"
                raise RowRejected("prompt_mismatch", message)
        if len(conversations) == 2:
            return extract_prompt({**conversations})
        messages = next(iter(conversations.values()))
        prompt = messages[: 1 + _place_of(prompt, messages)]
    known = list(prompt)
    if known and all(messages[: len(known)] == known for messages in conversations.values()):
        conversations = {side: messages[len(known) :] for side, messages in conversations.items()}
    for side, messages in conversations.items():
        if not messages:
            raise RowRejected("empty_response", f"{side} holds nothing but the prompt")
        if messages[0]["role"] != "assistant":
            raise RowRejected("prompt_mismatch", f"{side} begins with {messages[0]['role']}, not with the assistant")
    return known, {**conversations}


def _as_messages(content: Text) -> list[Message]:
    if isinstance(content, str):
        raise RowRejected("wrong_type", "a response is a text where messages are needed")
    return list(content)


def _first_and_last_request(messages: Sequence[Message]) -> list[int]:
    """Places of the first and of the last user message."""
    requests = [at for at, message in enumerate(messages) if message["role"] == "user"]
    return [requests[0], requests[-1]] if requests else []


def _place_of(prompt: str, messages: Sequence[Message]) -> int:
    """Where the prompt stands: as the first user message, or else as the last one."""
    return next(at for at in _first_and_last_request(messages) if messages[at]["content"] == prompt)


def last_message(messages: Sequence[Message]) -> tuple[list[Message], Sides]:
    """A conversation whose last message is the completion."""
    if not messages:
        raise RowRejected("empty_response", "the conversation has no messages")
    return list(messages[:-1]), {"completion": list(messages[-1:])}


def with_system(prompt: Text, sides: Sides, system: str) -> tuple[Text, Sides]:
    """The same as messages, with a system message first; unchanged where ``system`` is blank."""
    if not system.strip():
        return prompt, sides
    if not has_text(prompt):
        raise RowRejected("empty_prompt", "there is nothing but a system message before the response")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    elif messages[0]["content"] != system:
        raise RowRejected("prompt_mismatch", "the conversation begins with a system message other than the row's")
    return messages, _by_assistant(sides)


def _by_assistant(sides: Sides) -> Sides:
    """Texts as messages of the assistant."""
    return {
        side: [{"role": "assistant", "content": content}] if isinstance(content, str) else content
        for side, content in sides.items()
    }
