"""What roles columns can play, which of them make a layout, and the column names that data sets use. Data only.

A row's responses decide its layout; beside each form of responses stands where its prompt may be. Sources: the column
names of TRL, of LLaMA-Factory's Alpaca and ShareGPT demos, of OpenAI's fine-tuning API, and of the data sets
UltraFeedback, HelpSteer2 and HelpSteer3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from asr_data.types import Side

Role: TypeAlias = Literal[
    "prompt",
    "instruction",
    "input",
    "history",
    "system",
    "messages",
    "chosen",
    "rejected",
    "completion",
    "label",
    "completions",
    "scores",
    "ranks",
    "response1",
    "response2",
    "preference",
    "chosen_labels",
    "rejected_labels",
    "completion_labels",
]

LayoutKind: TypeAlias = Literal[
    "preference",
    "preference_implicit_prompt",
    "transcripts",
    "two_responses",
    "scored_completions",
    "ranked_completions",
    "ordered_completions",
    "unpaired",
    "prompt_completion",
    "labelled",
]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
LABEL_ROLES: Final[dict[Side, Role]] = {
    "chosen": "chosen_labels",
    "rejected": "rejected_labels",
    "completion": "completion_labels",
}
OPTIONAL_ROLES: Final[frozenset[Role]] = frozenset({"input", "history", "system", *LABEL_ROLES.values()})
SPAN_COLUMNS: Final[dict[Role, str]] = {role: f"{side}_spans" for side, role in LABEL_ROLES.items()}
"""Columns with error spans of a side, known by their names where they hold objects with ``start`` and ``end``."""
KIND_OF_ROLES: Final[dict[frozenset[Role], LayoutKind]] = {
    frozenset({"prompt", "chosen", "rejected"}): "preference",
    frozenset({"chosen", "rejected"}): "preference_implicit_prompt",
    frozenset({"prompt", "response1", "response2", "preference"}): "two_responses",
    frozenset({"prompt", "completions", "scores"}): "scored_completions",
    frozenset({"prompt", "completions", "ranks"}): "ranked_completions",
    frozenset({"prompt", "completions"}): "ordered_completions",
    frozenset({"prompt", "completion", "label"}): "unpaired",
    frozenset({"messages", "label"}): "unpaired",
    frozenset({"prompt", "completion"}): "prompt_completion",
    frozenset({"messages"}): "prompt_completion",
}
"""Roles that make a layout, optional ones left out; an ``instruction`` stands for the prompt."""

PROMPT_ROLES: Final[dict[str, Role]] = {
    "prompt": "prompt",
    "instruction": "instruction",
    "conversations": "prompt",
    "messages": "prompt",
    "context": "prompt",
    "input.messages": "prompt",
}
"""Columns that hold a prompt, and whether as a text or messages (``prompt``) or as an Alpaca instruction."""


@dataclass(frozen=True, slots=True)
class ResponseColumns:
    """One form in which data sets hold responses.

    Attributes:
        columns: column → role.
        prompts: columns that may hold the prompt; the first that is there does.
        prompt_may_be_inside: whether the prompt may be part of the responses.
    """

    columns: dict[str, Role]
    prompts: tuple[str, ...] = ()
    prompt_may_be_inside: bool = False


_ANY: Final = ("prompt", "instruction")
_NUMBERS: Final[dict[str, Role]] = {"scores": "scores", "ranks": "ranks", "rank": "ranks"}

RESPONSES: Final[tuple[ResponseColumns, ...]] = (
    ResponseColumns(
        {"chosen": "chosen", "rejected": "rejected"}, (*_ANY, "conversations", "messages"), prompt_may_be_inside=True
    ),
    ResponseColumns({"preferred_output": "chosen", "non_preferred_output": "rejected"}, ("input.messages",)),
    ResponseColumns({"completion": "completion"}, ("prompt",)),
    ResponseColumns({"completion": "completion", "label": "label"}, ("prompt",)),
    ResponseColumns({"output": "completion"}, ("instruction",)),
    ResponseColumns({"output": "completion", "kto_tag": "label"}, ("instruction",)),
    *(
        ResponseColumns({answers: "completions", column: role}, _ANY)
        for answers in ("completions", "responses")
        for column, role in _NUMBERS.items()
    ),
    ResponseColumns({"completions.response": "completions", "completions.overall_score": "scores"}, _ANY),
    ResponseColumns(
        {"response1": "response1", "response2": "response2", "overall_preference": "preference"}, ("context", "prompt")
    ),
    ResponseColumns(
        {"response_1": "response1", "response_2": "response2", "preference_strength": "preference"}, ("prompt",)
    ),
)

CONVERSATIONS: Final[tuple[ResponseColumns, ...]] = (
    ResponseColumns({"conversations": "messages"}, prompt_may_be_inside=True),
    ResponseColumns({"conversations": "messages", "label": "label"}, prompt_may_be_inside=True),
    ResponseColumns({"conversations": "messages", "kto_tag": "label"}, prompt_may_be_inside=True),
    ResponseColumns({"messages": "messages"}, prompt_may_be_inside=True),
    ResponseColumns({"messages": "messages", "label": "label"}, prompt_may_be_inside=True),
    ResponseColumns({"messages": "messages", "kto_tag": "label"}, prompt_may_be_inside=True),
)
"""Whole conversations, the last message of which is the response; looked for where no column holds responses alone."""
