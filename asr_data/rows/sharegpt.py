"""Messages in the ShareGPT form, ``{"from": "human", "value": "…"}``, as messages with role and content.

A function call is JSON text, one ``{"name": …, "arguments": …}`` or a list of them, and becomes the ``tool_calls`` of
an assistant message, the form that chat templates know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from asr_data.errors import RowRejected

_ROLE_OF: Final[dict[str, str]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "observation": "tool",
    "tool": "tool",
}
_FUNCTION_CALL: Final = "function_call"


def parse_sharegpt(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    """One message.

    Args:
        item: the message, nulls left out.
        place: column and number, for messages of errors.

    Raises:
        RowRejected: ``wrong_type`` for an unknown speaker or a value that is not a text, ``invalid_json`` for a
            function call that cannot be parsed.
    """
    speaker, value = item.get("from"), item.get("value")
    if not isinstance(speaker, str) or speaker not in {*_ROLE_OF, _FUNCTION_CALL}:
        known = ", ".join([*_ROLE_OF, _FUNCTION_CALL])
        raise RowRejected("wrong_type", f"{place} is from {speaker!r}; known are {known}")
    if not isinstance(value, str):
        raise RowRejected("wrong_type", f"{place} has no value, or one that is not a text")
    if speaker == _FUNCTION_CALL:
        return {"role": "assistant", "content": None, "tool_calls": _tool_calls(value, place)}
    return {"role": _ROLE_OF[speaker], "content": value}


def _tool_calls(text: str, place: str) -> list[dict[str, Any]]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowRejected("invalid_json", f"{place} is a function call and not valid JSON: {error}") from error
    calls = parsed if isinstance(parsed, list) else [parsed]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise RowRejected("wrong_type", f"{place} is a function call without a name")
    return [{"type": "function", "function": call} for call in calls]
