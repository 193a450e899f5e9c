"""What a prompt column of texts holds, beside responses that are texts.

``plain``: text that goes before the response as it is. ``user``: a user message, since the row has a system message.
``transcript``: turns of Human and Assistant (hh-rlhf, Nectar). ``turns``: the requests of a conversation as a list in
JSON, whose answers are the responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from asr_data.rows.columns import column_value
from asr_data.rows.known_columns import Role
from asr_data.rows.transcripts import starts_as_transcript
from asr_data.rows.turn_lists import is_turn_list

PromptForm: TypeAlias = Literal["plain", "user", "transcript", "turns"]

PROMPT_FORMS: Final[dict[PromptForm, str]] = {
    "plain": "",
    "user": "prompt as a user message",
    "transcript": "prompt as 'Human:'/'Assistant:' turns",
    "turns": "prompt and responses as lists of turns in JSON",
}
"""The forms, in words for the user; the first is what a text is otherwise."""


def prompt_form(
    roles: Mapping[Role, str], text_kinds: Mapping[Role, str], first_records: Sequence[Mapping[str, Any]]
) -> PromptForm:
    """The form of the prompts.

    Args:
        roles: role → column.
        text_kinds: of prompt and responses, whether they hold texts or messages.
        first_records: some records.
    """
    if "prompt" not in roles or set(text_kinds.values()) != {"text"}:
        return "plain"
    if _all_texts(("prompt",), roles, first_records, starts_as_transcript):
        return "transcript"
    if "response1" in roles and _all_texts(("prompt", "response1", "response2"), roles, first_records, is_turn_list):
        return "turns"
    return "user" if "system" in roles else "plain"


def _all_texts(
    wanted: Sequence[Role],
    roles: Mapping[Role, str],
    first_records: Sequence[Mapping[str, Any]],
    holds: Callable[[str], bool],
) -> bool:
    """Whether something holds of all texts in these columns that are not blank, of which there must be some."""
    texts = [column_value(record, roles[role]) for record in first_records for role in wanted]
    written = [text for text in texts if isinstance(text, str) and text.strip()]
    return bool(written) and all(map(holds, written))
