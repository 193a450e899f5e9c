"""What roles columns can play, which of them make a layout, and the column names that data sets use. Data only.

A row's responses decide its layout; beside each form of responses stands where its prompt may be. Sources: the column
names of TRL, of LLaMA-Factory's Alpaca and ShareGPT demos, of OpenAI's fine-tuning API, and of the data sets
UltraFeedback, HelpSteer2 and 3, Orca-DPO, Nectar, SHP, Chatbot Arena, PKU-SafeRLHF, WebGPT comparisons, Capybara,
distilabel's, UltraInteract and Stack Exchange preferences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from asr_data.rows.winners import BY_ID, BY_NAME, FIRST_IS_BETTER, Winner
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
    "verdicts",
    "response1",
    "response2",
    "preference",
    "winner",
    "score1",
    "score2",
    "chosen_labels",
    "rejected_labels",
    "completion_labels",
]

LayoutKind: TypeAlias = Literal[
    "preference",
    "preference_implicit_prompt",
    "transcripts",
    "two_responses",
    "two_responses_winner",
    "two_responses_scored",
    "scored_completions",
    "ranked_completions",
    "judged_completions",
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
    frozenset({"prompt", "response1", "response2", "winner"}): "two_responses_winner",
    frozenset({"response1", "response2", "winner"}): "two_responses_winner",
    frozenset({"prompt", "response1", "response2", "score1", "score2"}): "two_responses_scored",
    frozenset({"prompt", "completions", "scores"}): "scored_completions",
    frozenset({"prompt", "completions", "ranks"}): "ranked_completions",
    frozenset({"prompt", "completions", "verdicts"}): "judged_completions",
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
    "question": "prompt",
    "question.full_text": "prompt",
    "input": "prompt",
    "trajectory": "prompt",
    "history": "prompt",
}
"""Columns that hold a prompt, and whether as a text or messages (``prompt``) or as an Alpaca instruction."""


@dataclass(frozen=True, slots=True)
class ResponseColumns:
    """One form in which data sets hold responses.

    Attributes:
        columns: column → role.
        prompts: columns that may hold the prompt; the first that is there does.
        prompt_may_be_inside: whether the prompt may be part of the responses.
        winners: what the values of a winner column mean.
    """

    columns: dict[str, Role]
    prompts: tuple[str, ...] = ()
    prompt_may_be_inside: bool = False
    winners: Mapping[str, Winner] = field(default_factory=dict)


SYSTEM_COLUMNS: Final = ("system", "system_prompt", "system_message")
"""Columns with a system message; the first that is there is read, in every layout."""

_ANY: Final = ("prompt", "instruction", "question")
_NUMBERS: Final[dict[str, Role]] = {"scores": "scores", "ranks": "ranks", "rank": "ranks"}

RESPONSES: Final[tuple[ResponseColumns, ...]] = (
    ResponseColumns(
        {"chosen": "chosen", "rejected": "rejected"},
        ("prompt", "instruction", "conversations", "messages", "question", "trajectory", "input"),
        prompt_may_be_inside=True,
    ),
    ResponseColumns({"chosen_response": "chosen", "rejected_response": "rejected"}, (*_ANY, "input")),
    ResponseColumns({"preferred_output": "chosen", "non_preferred_output": "rejected"}, ("input.messages",)),
    ResponseColumns({"completion": "completion"}, ("prompt",)),
    ResponseColumns({"completion": "completion", "label": "label"}, ("prompt",)),
    ResponseColumns({"response": "completion", "label": "label"}, _ANY),
    ResponseColumns({"output": "completion"}, ("instruction",)),
    ResponseColumns({"output": "completion", "kto_tag": "label"}, ("instruction",)),
    *(
        ResponseColumns({answers: "completions", column: role}, _ANY)
        for answers in ("completions", "responses")
        for column, role in _NUMBERS.items()
    ),
    ResponseColumns({"responses": "completions", "labels": "verdicts"}, _ANY),
    ResponseColumns({"completions.response": "completions", "completions.overall_score": "scores"}, _ANY),
    ResponseColumns({"answers.answer": "completions", "answers.rank": "ranks"}, _ANY),
    ResponseColumns({"answers.text": "completions", "answers.pm_score": "scores"}, _ANY),
    ResponseColumns(
        {"response1": "response1", "response2": "response2", "overall_preference": "preference"}, ("context", "prompt")
    ),
    ResponseColumns(
        {"response_1": "response1", "response_2": "response2", "preference_strength": "preference"}, ("prompt",)
    ),
    ResponseColumns(
        {"human_ref_A": "response1", "human_ref_B": "response2", "labels": "winner"},
        ("history",),
        winners=FIRST_IS_BETTER,
    ),
    ResponseColumns(
        {"response_0": "response1", "response_1": "response2", "better_response_id": "winner"}, _ANY, winners=BY_ID
    ),
    ResponseColumns(
        {"conversation_a": "response1", "conversation_b": "response2", "winner": "winner"},
        prompt_may_be_inside=True,
        winners=BY_NAME,
    ),
    ResponseColumns({"response_a": "response1", "response_b": "response2", "winner": "winner"}, _ANY, winners=BY_NAME),
    ResponseColumns(
        {"response_a": "response1", "response_b": "response2", "winner_model_a": "score1", "winner_model_b": "score2"},
        _ANY,
    ),
    ResponseColumns(
        {"answer_0": "response1", "answer_1": "response2", "score_0": "score1", "score_1": "score2"},
        ("question.full_text", "question"),
    ),
)

_VERDICTS: Final[tuple[dict[str, Role], ...]] = ({}, {"label": "label"}, {"kto_tag": "label"})

CONVERSATIONS: Final[tuple[ResponseColumns, ...]] = tuple(
    ResponseColumns({column: "messages", **verdict}, prompt_may_be_inside=True)
    for column in ("conversations", "messages", "conversation")
    for verdict in _VERDICTS
)
"""Whole conversations, the last message of which is the response; looked for where no column holds responses alone."""
